//! `--out`: copies the files of finished jobs from the store into a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::job::event::{EventView, FileView};
use crate::storage::Storage;

/// Copies at once.
const AT_ONCE: usize = 8;

/// The copies under way.
pub(super) struct FileCopies {
    storage: Storage,
    folder: PathBuf,
    places: Arc<Semaphore>,
    under_way: JoinSet<Result<(), String>>,
    copied: usize,
    failed: usize,
}

impl FileCopies {
    /// # Errors
    ///
    /// The folder can't be created.
    pub(super) fn new(storage: Storage, folder: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self {
            storage,
            folder: folder.to_owned(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            under_way: JoinSet::new(),
            copied: 0,
            failed: 0,
        })
    }

    /// Begins to copy the files of an event.
    pub(super) fn begin(&mut self, view: &EventView) {
        for (_, file) in view.files() {
            let path = self.folder.join(file_name(&view.job_id, file));
            let (storage, places) = (self.storage.clone(), Arc::clone(&self.places));
            let location = file.location.clone();
            self.under_way.spawn(async move {
                let _place = places.acquire().await;
                copy(&storage, &location, &path).await
            });
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Waits for the next copy to end; never returns while none is under way. `Some` says why it failed.
    pub(super) async fn next(&mut self) -> Option<String> {
        let Some(ended) = self.under_way.join_next().await else { return std::future::pending().await };
        match ended.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(()) => {
                self.copied += 1;
                None
            }
            Err(message) => {
                self.failed += 1;
                Some(message)
            }
        }
    }

    pub(super) fn copied(&self) -> usize {
        self.copied
    }

    pub(super) fn failed(&self) -> usize {
        self.failed
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Copies one file chunk by chunk; it never appears half written under its name.
async fn copy(storage: &Storage, location: &str, path: &Path) -> Result<(), String> {
    let shown = path.file_name().unwrap_or_default().display();
    let unread = |error| {
        format!(
            "{shown} was not copied: {error}; is storage.url (COMET_WORKER__STORAGE__URL) that of the workers?"
        )
    };
    let unwritten = |error| format!("{} can't be written: {error}", path.display());
    let mut chunks = storage.stream(location).await.map_err(unread)?;
    let mut staging = path.as_os_str().to_owned();
    staging.push(".part");
    let mut file = tokio::fs::File::create(&staging).await.map_err(unwritten)?;
    while let Some(chunk) = chunks.next().await {
        file.write_all(&chunk.map_err(unread)?).await.map_err(unwritten)?;
    }
    file.flush().await.map_err(unwritten)?;
    tokio::fs::rename(&staging, path).await.map_err(unwritten)
}

/// `<job_id>-<index>.<ext>`, whatever the event says, because the event came from outside.
fn file_name(job: &str, file: &FileView) -> String {
    let extension = file.location.rsplit_once('.').map_or("", |(_, extension)| extension);
    let plain = (1..=5).contains(&extension.len()) && extension.bytes().all(|b| b.is_ascii_alphanumeric());
    let job = job.replace(['/', '\\', '\0'], "_");
    format!("{job}-{}.{}", file.index, if plain { extension } else { "bin" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_stay_in_their_folder() {
        for (job, index, location, name) in [
            ("order-1", 0, "file:///images/order-1/0-1f.png", "order-1-0.png"),
            ("order-1", 3, "s3://b/x/3-1f.jpeg", "order-1-3.jpeg"),
            ("..", 0, "s3://b.c/x", "..-0.bin"),
            ("../../etc/x", 0, "memory:///a.b/..", ".._.._etc_x-0.bin"),
        ] {
            let file = FileView { index, location: location.to_owned(), url: None, bytes: 1 };
            assert_eq!(file_name(job, &file), name);
        }
    }
}
