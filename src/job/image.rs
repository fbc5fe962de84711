//! An image: what its bytes are, and what may come instead of an image.

mod sniff;
pub mod trouble;

use std::fmt;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use sniff::Sniffed;
pub(in crate::job) use sniff::foreign;
use trouble::Trouble;

/// A checked image.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// The bytes as they were received, including those after the image's own end.
    pub bytes: Bytes,
    /// `image/png`, `image/jpeg` or `image/webp`, recognized by the bytes.
    pub content_type: &'static str,
    /// `png`, `jpg` or `webp`.
    pub extension: &'static str,
    pub width: u32,
    pub height: u32,
    /// SHA-256 of the bytes, in lower-case hex.
    pub sha256: String,
}

impl Image {
    /// # Errors
    ///
    /// The error says why these bytes are not a whole image that we store.
    pub fn of(bytes: Bytes) -> Result<Self, FetchError> {
        let digest = Sha256::digest(&bytes);
        Self::with_digest(bytes, digest.as_slice())
    }

    /// Takes the digest of these bytes, which was computed while they arrived.
    pub(crate) fn with_digest(bytes: Bytes, digest: &[u8]) -> Result<Self, FetchError> {
        let Sniffed { content_type, extension, width, height } = sniff::sniff(&bytes)?;
        Ok(Self { bytes, content_type, extension, width, height, sha256: hex::encode(digest) })
    }
}

impl fmt::Debug for Image {
    /// Shows everything but the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("bytes", &self.bytes.len())
            .field("content_type", &self.content_type)
            .field("width", &self.width)
            .field("height", &self.height)
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}

/// Why there is no image. The message names host and path, but never the signed query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FetchError {
    pub trouble: Trouble,
    /// A message for a person.
    pub message: String,
}

impl FetchError {
    #[must_use]
    pub fn new(trouble: Trouble, message: impl Into<String>) -> Self {
        Self { trouble, message: message.into() }
    }
}
