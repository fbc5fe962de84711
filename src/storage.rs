//! The store of the results: a folder, or a bucket of S3, Google Cloud or Azure.
//!
//! Keys are made from the job's data (`<prefix>/images/<job id>/<index>-<checksum>.<extension>`; `videos`, `audios`),
//! so storing a file again stores the same object. An object never appears half written under its key: the stores guarantee that, and
//! for a folder a staging file and a rename do. Every fault here is a fault of one of our own services. It is never a
//! job's outcome, and the caller always retries.

mod credentials;
mod error;
mod folder;
mod media;
mod open;
mod place;
mod probe;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStore, ObjectStoreExt, PutOptions};
use url::Url;

use crate::job::image::Image;
use crate::job::{JobId, StoredImage};
use crate::net::tls;
pub use error::{StoreError, StoreErrorKind};
pub use media::{MediaFault, MediaUpload};
use place::Place;
pub use probe::Probed;
use probe::Probing;

/// The longest duration of a single operation, including object_store's own retries.
pub(crate) const OPERATION_TIMEOUT: Duration = Duration::from_secs(45);

/// The number of characters of the checksum in a key, enough to tell two images of one index apart.
const CHECKSUM_CHARS: usize = 16;

/// The configuration of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorageOptions {
    /// `file:PATH` (relative to the working directory; created if missing), `memory:`,
    /// `s3://bucket[/prefix]`, `gs://bucket[/prefix]`, `az://container[/prefix]`. Credentials come
    /// from the usual variables (`AWS_…`, `GOOGLE_…`, `AZURE_…`) or the machine's role.
    pub url: String,
    /// A folder within the store, appended to the one in `url`; may be empty.
    pub prefix: String,
    /// Folder only: a stored image survives a loss of power.
    pub fsync: bool,
    /// S3 and Azure only: another server than the cloud's own. It is reached by plain http if the URL says so.
    pub endpoint: Option<Url>,
    /// S3 only.
    pub region: Option<String>,
    /// S3 only: the bucket is in the path instead of the host name.
    pub path_style: bool,
    /// The base URL by which others can fetch the store's keys; fills `url` of the events.
    pub public_url: Option<Url>,
    /// The certificates that are trusted beside the system's.
    pub certificates: tls::Files,
}

/// An open store.
#[derive(Debug, Clone)]
pub struct Storage {
    objects: Arc<dyn ObjectStore>,
    place: Place,
    prefix: Path,
    /// Becomes false when the folder refuses attributes.
    takes_attributes: bool,
    public_url: Option<Url>,
    /// Folder only.
    root: Option<Arc<folder::Root>>,
    probing: Arc<Probing>,
    parts: Arc<media::Parts>,
    warnings: Vec<String>,
}

impl Storage {
    /// Opens the store; creates it if it is a folder. It contacts no server; [`Self::probe`] does.
    ///
    /// # Errors
    ///
    /// Says which option can't be used, and why.
    pub fn open(options: &StorageOptions) -> Result<Self, StoreError> {
        open::open(options)
    }

    /// Wraps a store that was made elsewhere and lives no longer than this process. Its locations are those of
    /// `memory:`.
    #[must_use]
    pub fn around(objects: Arc<dyn ObjectStore>) -> Self {
        Self {
            objects,
            place: Place::Memory,
            prefix: Path::default(),
            takes_attributes: true,
            public_url: None,
            root: None,
            probing: Arc::default(),
            parts: Arc::default(),
            warnings: Vec::new(),
        }
    }

    /// Surprises in the environment's variables, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Marks the store: an object with this key and content identifies it, and nothing is written to another store.
    /// This matters for a folder, whose path may lead to another folder at any moment.
    pub(crate) fn marked_by(&self, key: &Path, content: &str) {
        if let Some(root) = &self.root {
            root.marked_by(key, content);
        }
    }

    /// Stores an image under its key. It may be repeated: the same image gets the same key and the same result. Once
    /// it has returned, the image is durable (except in a folder without `fsync`).
    ///
    /// # Errors
    ///
    /// Any fault of the store, within 45 seconds; the image may be there or not.
    pub async fn put_image(&self, job: &JobId, index: u32, image: &Image) -> Result<StoredImage, StoreError> {
        let checksum: String = image.sha256.chars().take(CHECKSUM_CHARS).collect();
        let name = format!("{index}-{checksum}.{}", image.extension);
        let key = self.key(["images", job.as_str(), &name]);
        let options = PutOptions { attributes: self.attributes(image.content_type), ..PutOptions::default() };
        let put = self.objects.put_opts(&key, image.bytes.clone().into(), options);
        let put = bounded(&format!("can't store {key}"), put).await;
        self.probing.put(image.bytes.len(), put.as_ref().err());
        put?;
        Ok(StoredImage {
            index,
            location: self.place.location(&key)?,
            url: self.public_url.as_ref().map(|base| place::public_url(base, &key)),
            content_type: image.content_type.to_owned(),
            bytes: u64::try_from(image.bytes.len()).unwrap_or(u64::MAX),
            width: image.width,
            height: image.height,
            sha256: image.sha256.clone(),
        })
    }

    fn attributes(&self, content_type: &'static str) -> Attributes {
        let all = [(Attribute::ContentType, content_type)];
        all.into_iter().filter(|_| self.takes_attributes).collect()
    }

    /// Returns the bytes of an object by its location, as [`StoredImage`] and the events have it.
    ///
    /// # Errors
    ///
    /// A location outside of this store and its prefix, or any fault of the store.
    pub async fn read(&self, location: &str) -> Result<Bytes, StoreError> {
        let key = self.own_key(location)?;
        self.get(&format!("can't read {key}"), &key).await
    }

    /// Likewise, chunk by chunk.
    ///
    /// # Errors
    ///
    /// As [`Self::read`]; the chunks may end with one too.
    pub async fn stream(
        &self,
        location: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, StoreError>> + use<>, StoreError> {
        let key = self.own_key(location)?;
        let what = format!("can't read {key}");
        let chunks = bounded(&what, self.objects.get(&key)).await?.into_stream();
        Ok(chunks.map(move |chunk| chunk.map_err(|error| StoreError::of(&what, &error))))
    }

    fn own_key(&self, location: &str) -> Result<Path, StoreError> {
        let outside = || StoreError::plain(format!("{location} is not in this store"));
        let key = self.place.key(location).ok_or_else(outside)?;
        if key.prefix_matches(&self.prefix) { Ok(key) } else { Err(outside()) }
    }

    /// The key of these path segments under this store's prefix. Each segment stays one segment: `.`, `..` and
    /// characters that stores don't accept are percent-encoded.
    #[must_use]
    pub fn key<'a>(&'a self, segments: impl IntoIterator<Item = &'a str>) -> Path {
        self.prefix.parts().chain(segments.into_iter().map(Into::into)).collect()
    }

    /// The underlying store, for objects other than images (the receipts), under keys by [`Self::key`].
    #[must_use]
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    async fn get(&self, what: &str, key: &Path) -> Result<Bytes, StoreError> {
        bounded(what, async { self.objects.get(key).await?.bytes().await }).await
    }

    /// The bytes of an object; `None` if there is no such object. `what` is what can't be done otherwise, for the error.
    pub(crate) async fn find(&self, what: &str, key: &Path) -> Result<Option<Bytes>, StoreError> {
        let finding = async { self.objects.get(key).await?.bytes().await };
        bounded(what, async { unless_absent(finding.await) }).await
    }

    /// Likewise, with when the store has written it, in Unix milliseconds.
    pub(crate) async fn find_dated(
        &self,
        what: &str,
        key: &Path,
    ) -> Result<Option<(Bytes, i64)>, StoreError> {
        let finding = async {
            let found = self.objects.get(key).await?;
            let written_ms = found.meta.last_modified.timestamp_millis();
            Ok((found.bytes().await?, written_ms))
        };
        bounded(what, async { unless_absent(finding.await) }).await
    }
}

/// `None` if the object isn't there.
pub(crate) fn unless_absent<T>(result: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives an operation [`OPERATION_TIMEOUT`]; `what` is what can't be done otherwise, for the error.
pub(crate) async fn bounded<T>(
    what: &str,
    operation: impl Future<Output = object_store::Result<T>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(OPERATION_TIMEOUT, operation).await {
        Ok(result) => result.map_err(|error| StoreError::of(what, &error)),
        Err(_) => Err(StoreError::late(what, OPERATION_TIMEOUT)),
    }
}

#[cfg(test)]
mod tests;
