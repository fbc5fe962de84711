//! A folder as the store. object_store handles the files; this module adds two things that it lacks.
//!
//! **It is still the same folder.** If a mount vanishes, the path leads to the disk underneath, and a file that is
//! written there is lost for all other workers: an image that can't be found, or a gate that is open once more. So
//! once the path leads to another folder, nothing is written and no object is reported as absent. The exception is a
//! folder that has the store's marker, such as a network file system that was mounted again.
//!
//! **An object is created only if it is absent, also without hard links.** object_store makes a staged file visible
//! by a hard link, which fails if its name is taken. If the file system has no hard links (FAT, exFAT, many of CIFS
//! and FUSE), a rename that replaces nothing does the same: a visible file is complete, and one of many creates wins.
//! More file systems have an exclusive `open`, but then the file would be visible before it is complete, and half of
//! a sealed outcome is useless.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Write as _};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::error::{Gone, NoExclusiveCreate};

const STORE: &str = "folder";

/// Identifies a folder itself, not its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

/// A file within the folder that says which store it is.
#[derive(Debug, Clone)]
struct Marker {
    path: PathBuf,
    content: String,
}

#[derive(Debug)]
pub(super) struct Folder {
    inner: LocalFileSystem,
    root: Arc<Root>,
    fsync: bool,
}

#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    identity: Identity,
    marker: Option<Marker>,
}

impl Folder {
    /// Opens the folder. `root` exists, is absolute and has no symbolic links.
    ///
    /// # Errors
    ///
    /// object_store's.
    pub(super) fn open(root: &FilePath, fsync: bool) -> Result<Self> {
        // With it, file and directory are on the disk before a put returns (0.14.2, local.rs).
        let inner = LocalFileSystem::new_with_prefix(root)?.with_fsync(fsync);
        let identity = std::fs::metadata(root).map(|metadata| identity(&metadata)).map_err(failed)?;
        let known = Mutex::new(Known { identity, marker: None });
        Ok(Self { inner, root: Arc::new(Root { path: root.to_owned(), known }), fsync })
    }

    pub(super) fn root(&self) -> &Arc<Root> {
        &self.root
    }

    async fn look_at_root(&self) -> Result<()> {
        let root = Arc::clone(&self.root);
        blocking(move || root.look()).await
    }
}

impl Root {
    /// From now on, a folder at this path is the store if it has this file with this content.
    pub(super) fn marked_by(&self, key: &Path, content: &str) {
        let marker = Marker { path: self.path.join(key.as_ref()), content: content.to_owned() };
        self.known().marker = Some(marker);
    }

    /// # Errors
    ///
    /// The path doesn't lead to the folder any more.
    fn look(&self) -> Result<()> {
        let found = std::fs::metadata(&self.path);
        let mut known = self.known();
        match found {
            // The system may reuse the number of a deleted folder, perhaps for a file.
            Ok(found) if found.is_dir() && identity(&found) == known.identity => Ok(()),
            Ok(found) if known.marker.as_ref().is_some_and(Marker::is_there) => {
                known.identity = identity(&found);
                Ok(())
            }
            Ok(_) => Err(self.gone("another folder is at")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.gone("there is nothing at")),
            Err(error) => Err(failed(error)),
        }
    }

    fn gone(&self, what: &str) -> Error {
        let path = self.path.display();
        let words = format!("the folder is gone, as where a mount has vanished: {what} {path} now");
        Error::Generic { store: STORE, source: Box::new(Gone(words)) }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Marker {
    fn is_there(&self) -> bool {
        std::fs::read_to_string(&self.path).is_ok_and(|content| content == self.content)
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt as _;
    Identity { device: metadata.dev(), inode: metadata.ino() }
}

/// Here only the absence of the folder is noticed.
#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {
    Identity { device: 0, inode: 0 }
}

fn failed(error: io::Error) -> Error {
    Error::Generic { store: STORE, source: Box::new(error) }
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(act).await.unwrap_or_else(|error| Err(failed(io::Error::other(error))))
}

/// Writes a staged file beside its place, and gives it its name only if the name is free.
fn create(wanted: &FilePath, body: &PutPayload, fsync: bool) -> Result<()> {
    let parent = wanted.parent().unwrap_or(wanted);
    if !parent.exists() {
        super::open::create_folder(parent, fsync).map_err(failed)?;
    }
    // object_store takes a name with digits behind a "#" for a staged file, and lists no such files.
    let staged = PathBuf::from(format!("{}#{}", wanted.display(), uuid::Uuid::new_v4().as_u64_pair().0));
    let published = stage(&staged, body, fsync).map_err(failed).and_then(|()| publish(&staged, wanted));
    if published.is_err() {
        // The file may not exist.
        let _ = std::fs::remove_file(&staged);
    }
    published?;
    if fsync && cfg!(unix) {
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    Ok(())
}

fn stage(staged: &FilePath, body: &PutPayload, fsync: bool) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(staged)?;
    for part in body {
        file.write_all(part)?;
    }
    if fsync { file.sync_all() } else { Ok(()) }
}

fn publish(staged: &FilePath, wanted: &FilePath) -> Result<()> {
    let taken = |source: io::Error| Error::AlreadyExists {
        path: wanted.display().to_string(),
        source: Box::new(source),
    };
    match std::fs::hard_link(staged, wanted) {
        Ok(()) => {
            // A staged file that stays is never listed.
            let _ = std::fs::remove_file(staged);
            return Ok(());
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(taken(error)),
        Err(error) if !has_no_such_call(&error) => return Err(failed(error)),
        Err(_) => {}
    }
    match rename_to_free_name(staged, wanted) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(taken(error)),
        Err(error) if has_no_such_call(&error) => {
            Err(Error::Generic { store: STORE, source: Box::new(NoExclusiveCreate(error)) })
        }
        Err(error) => Err(failed(error)),
    }
}

/// The errors by which file systems say that they don't know a call; EPERM is Linux's error for those without hard
/// links.
fn has_no_such_call(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let said = [Errno::PERM, Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTTY, Errno::INVAL];
    said.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
        || error.kind() == io::ErrorKind::Unsupported
}

#[cfg(target_os = "linux")]
fn rename_to_free_name(staged: &FilePath, wanted: &FilePath) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, staged, CWD, wanted, RenameFlags::NOREPLACE).map_err(io::Error::from)
}

#[cfg(not(target_os = "linux"))]
fn rename_to_free_name(_: &FilePath, _: &FilePath) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folder {}", self.root.path.display())
    }
}

#[async_trait]
impl ObjectStore for Folder {
    async fn put_opts(&self, key: &Path, body: PutPayload, options: PutOptions) -> Result<PutResult> {
        if options.mode != PutMode::Create {
            self.look_at_root().await?;
            return self.inner.put_opts(key, body, options).await;
        }
        let (root, wanted, fsync) = (Arc::clone(&self.root), self.inner.path_to_filesystem(key)?, self.fsync);
        blocking(move || {
            root.look()?;
            create(&wanted, &body, fsync)
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        let found = self.inner.get_opts(key, options).await;
        if found.is_err() {
            self.look_at_root().await?;
        }
        found
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.look_at_root().await?;
        self.inner.put_multipart_opts(key, options).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests;
