//! Stores a file that may be too large for the memory: in parts, as its bytes arrive. Nothing appears under its key
//! before the last part is there and the file is known to be whole.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use object_store::path::Path;
use object_store::{MultipartUpload, PutMultipartOptions, PutOptions};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{CHECKSUM_CHARS, Storage, StoreError, bounded, place};
use crate::job::image::FetchError;
use crate::job::media::{Media, MediaFormat, MediaReader};
use crate::job::{FileKind, JobId, StoredMedia};

/// The least that S3 accepts of every part but the last, and R2 wants all of one size.
const PART_BYTES: usize = 5 * 1024 * 1024;
/// How many parts may be in memory, of all files together. A file whose part has gone out waits for the next one
/// behind the others, so all of them get on.
pub(super) const PARTS_MAX: usize = 3;

/// The memory for parts, of all files together. It is used again and again: where parts were given back to the system
/// and taken anew, the process kept several times as much.
#[derive(Debug)]
pub(super) struct Parts {
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<BytesMut>>,
}

/// One part, to be filled.
struct Part {
    bytes: BytesMut,
    parts: Arc<Parts>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Default for Parts {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(PARTS_MAX)), idle: Mutex::default() }
    }
}

impl Parts {
    /// Waits until one is free.
    async fn part(self: &Arc<Self>) -> Part {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let idle = self.idle().pop();
        let bytes = idle.unwrap_or_else(|| BytesMut::with_capacity(PART_BYTES));
        Part { bytes, parts: Arc::clone(self), _permit: permit }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<BytesMut>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn free(&self) -> usize {
        self.permits.available_permits()
    }
}

impl Part {
    /// The memory that has gone out. Nothing else holds it any more, unless the store was too slow and still sends it.
    fn take_back(&mut self, bytes: Bytes) {
        self.bytes = bytes.try_into_mut().unwrap_or_default();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() >= PART_BYTES {
            bytes.clear();
            self.parts.idle().push(bytes);
        }
    }
}

/// Why a file isn't stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaFault {
    /// The file is at fault, or the way to it.
    File(FetchError),
    Store(StoreError),
}

/// A file on its way into the store. When it is dropped before its end, what has been stored of it is removed.
pub struct MediaUpload {
    storage: Storage,
    job: JobId,
    kind: FileKind,
    index: u32,
    /// Names the object before its digest is known.
    name: String,
    reader: MediaReader,
    /// What has come and hasn't gone out.
    part: Option<Part>,
    upload: Option<Box<dyn MultipartUpload>>,
}

impl From<FetchError> for MediaFault {
    fn from(error: FetchError) -> Self {
        Self::File(error)
    }
}

impl From<StoreError> for MediaFault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Storage {
    /// Begins to store a video or a sound of this job. `identity` is what is known of the bytes before they come: the
    /// same file gets the same key, however often it is stored, and other bytes get another one.
    #[must_use]
    pub fn begin_media(&self, job: &JobId, kind: FileKind, index: u32, identity: &str) -> MediaUpload {
        let name = hex::encode(Sha256::digest(identity)).chars().take(CHECKSUM_CHARS).collect();
        MediaUpload {
            storage: self.clone(),
            job: job.clone(),
            kind,
            index,
            name,
            reader: MediaReader::new(kind),
            part: None,
            upload: None,
        }
    }
}

impl MediaUpload {
    /// Takes the next bytes. It waits while other files have all the memory, and for the store.
    ///
    /// # Errors
    ///
    /// The bytes are not those of a file of this kind, or any fault of the store.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), MediaFault> {
        self.reader.read(bytes)?;
        while !bytes.is_empty() {
            let part = match &mut self.part {
                Some(part) => part,
                none => none.insert(self.storage.parts.part().await),
            };
            let here = PART_BYTES.saturating_sub(part.bytes.len()).min(bytes.len());
            let (now, later) = bytes.split_at(here);
            part.bytes.extend_from_slice(now);
            bytes = later;
            if part.bytes.len() >= PART_BYTES
                && let Some(format) = self.reader.format()
            {
                self.send_part(&self.key(format), format).await?;
            }
        }
        Ok(())
    }

    /// After the last bytes. Once it has returned, the file is durable (except in a folder without `fsync`).
    ///
    /// # Errors
    ///
    /// The file isn't whole, or any fault of the store; nothing is under its key then.
    pub async fn finish(mut self) -> Result<StoredMedia, MediaFault> {
        let media = std::mem::replace(&mut self.reader, MediaReader::new(self.kind)).finish()?;
        let key = self.key(media.format);
        if self.upload.is_none() {
            let mut part = self.part.take();
            let bytes =
                part.as_mut().map(|part| std::mem::take(&mut part.bytes).freeze()).unwrap_or_default();
            let options = PutOptions {
                attributes: self.storage.attributes(media.format.content_type()),
                ..PutOptions::default()
            };
            let put = self.storage.objects.put_opts(&key, bytes.clone().into(), options);
            let put = bounded(&format!("can't store {key}"), put).await;
            self.storage.probing.put(bytes.len(), put.as_ref().err());
            if let Some(part) = &mut part {
                part.take_back(bytes);
            }
            put?;
        } else {
            self.send_part(&key, media.format).await?;
        }
        if let Some(upload) = &mut self.upload {
            bounded(&format!("can't store {key}"), upload.complete()).await?;
        }
        self.upload = None;
        Ok(self.stored(&key, media)?)
    }

    /// Sends what is in memory as a part of the object, and makes room for others.
    async fn send_part(&mut self, key: &Path, format: MediaFormat) -> Result<(), StoreError> {
        let Some(mut part) = self.part.take().filter(|part| !part.bytes.is_empty()) else { return Ok(()) };
        let what = format!("can't store {key}");
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => {
                let attributes = self.storage.attributes(format.content_type());
                let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
                let begun = bounded(&what, self.storage.objects.put_multipart_opts(key, options)).await;
                self.storage.probing.put(part.bytes.len(), begun.as_ref().err());
                none.insert(begun?)
            }
        };
        let bytes = std::mem::take(&mut part.bytes).freeze();
        let sent = bounded(&what, upload.put_part(bytes.clone().into())).await;
        self.storage.probing.put(bytes.len(), sent.as_ref().err());
        part.take_back(bytes);
        sent
    }

    fn key(&self, format: MediaFormat) -> Path {
        let name = format!("{}-{}.{}", self.index, self.name, format.extension());
        self.storage.key([self.kind.plural(), self.job.as_str(), &name])
    }

    fn stored(&self, key: &Path, media: Media) -> Result<StoredMedia, StoreError> {
        let Media { format, bytes, size, duration_ms, sha256 } = media;
        Ok(StoredMedia {
            index: self.index,
            location: self.storage.place.location(key)?,
            url: self.storage.public_url.as_ref().map(|base| place::public_url(base, key)),
            content_type: format.content_type().to_owned(),
            bytes,
            width: size.map(|(width, _)| width),
            height: size.map(|(_, height)| height),
            duration_ms,
            sha256,
        })
    }
}

impl Drop for MediaUpload {
    fn drop(&mut self) {
        // What is left behind if the process ends first is for the store's own rules.
        if let (Some(mut upload), Ok(runtime)) = (self.upload.take(), Handle::try_current()) {
            runtime.spawn(async move { upload.abort().await });
        }
    }
}

impl std::fmt::Debug for MediaUpload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaUpload")
            .field("job", &self.job)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
