//! The ends of lately, read from the receipts: what is counted again after Redis has lost its data.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;

use super::Receipts;
use super::sweep::folders;
use crate::job::receipt::ReceiptName;
use crate::storage::{StoreError, bounded};

/// Receipts that are read at the same time.
const READERS: usize = 32;

impl Receipts {
    /// The folders of receipts, at most 256.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn folders(&self) -> Result<Vec<Path>, StoreError> {
        folders(&self.storage).await
    }

    /// The terminal events in one folder whose receipts were written at or after `since_ms` (Unix milliseconds, by the
    /// store's clock).
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn ended_since(&self, folder: &Path, since_ms: i64) -> Result<Vec<Bytes>, StoreError> {
        let mut listing = self.storage.objects().list(Some(folder));
        let mut young = Vec::new();
        while let Some(object) = bounded(&format!("can't list {folder}"), listing.try_next()).await? {
            let name = object.location.filename().and_then(|name| name.rsplit_once('.'));
            let name = name.and_then(|(_, name)| ReceiptName::parse(name));
            let is_end = matches!(name, Some(ReceiptName::Result | ReceiptName::Correction));
            if is_end && object.last_modified.timestamp_millis() >= since_ms {
                young.push(object.location);
            }
        }
        let mut reading =
            stream::iter(young).map(|key| async move { self.read(&key).await }).buffer_unordered(READERS);
        let mut events = Vec::new();
        while let Some(read) = reading.next().await {
            events.extend(read?);
        }
        Ok(events)
    }
}
