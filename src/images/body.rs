//! The body of an answer, which becomes an image chunk by chunk.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Bytes, BytesMut};
use reqwest::Response;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{Body, at, broken};
use crate::job::image::trouble::Trouble;
use crate::job::image::{FetchError, Image};

/// The most memory that is reserved for an image before its bytes arrive.
const AT_ONCE_BYTES_MAX: u64 = 64 * 1024;

/// An answer of a server, of which the headers have arrived.
pub(super) struct Answer {
    url: Url,
    response: Response,
    max_bytes: u64,
    /// `None` if the server hasn't announced a length.
    announced: Option<u64>,
    until: Instant,
    timeout: Duration,
    bytes: BytesMut,
    digest: Sha256,
}

impl Answer {
    /// `until` is the end of `timeout`, which began with the first request.
    ///
    /// # Errors
    ///
    /// The server announces more than `max_bytes`.
    pub(super) fn new(
        url: &Url,
        response: Response,
        max_bytes: u64,
        until: Instant,
        timeout: Duration,
    ) -> Result<Self, FetchError> {
        let announced = response.content_length();
        if announced.is_some_and(|length| length > max_bytes) {
            return Err(too_large(url, max_bytes));
        }
        // Only this much is reserved at first, whatever the server announces.
        let expected = announced.unwrap_or_default().min(AT_ONCE_BYTES_MAX);
        let bytes = BytesMut::with_capacity(usize::try_from(expected).unwrap_or_default());
        let (url, digest) = (url.clone(), Sha256::new());
        Ok(Self { url, response, max_bytes, announced, until, timeout, bytes, digest })
    }
}

#[async_trait]
impl Body for Answer {
    async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        match timeout_at(self.until, self.response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| broken(&self.url, &error)),
            Err(_elapsed) => Err(at(&self.url, Trouble::Slow, format!("not done in {:?}", self.timeout))),
        }
    }

    fn take(&mut self, chunk: Bytes) -> Result<(), FetchError> {
        self.bytes.extend_from_slice(&chunk);
        if length_of(&self.bytes) > self.max_bytes {
            return Err(too_large(&self.url, self.max_bytes));
        }
        self.digest.update(&chunk);
        Ok(())
    }

    fn image(self: Box<Self>) -> Result<Image, FetchError> {
        let Self { url, announced, bytes, digest, .. } = *self;
        if announced.is_some_and(|length| length != length_of(&bytes)) {
            return Err(at(&url, Trouble::Cut, "the body was cut short"));
        }
        Image::with_digest(bytes.freeze(), digest.finalize().as_slice())
            .map_err(|error| at(&url, error.trouble, error.message))
    }
}

/// An image that the provider has put into its reply: `data:image/…;base64,…`.
pub(super) struct Inline {
    pub(super) url: Url,
    pub(super) max_bytes: u64,
}

#[async_trait]
impl Body for Inline {
    async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        Ok(None)
    }

    fn take(&mut self, _: Bytes) -> Result<(), FetchError> {
        Ok(())
    }

    fn image(self: Box<Self>) -> Result<Image, FetchError> {
        let Self { url, max_bytes } = *self;
        let no_image = |trouble, what: &str| FetchError::new(trouble, format!("the data: URL {what}"));
        let text = url.path().split_once(";base64,").map(|(_, text)| text.trim_end_matches('='));
        let text = text.ok_or_else(|| no_image(Trouble::BadUrl, "has no base64"))?;
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| no_image(Trouble::Cut, "is no whole base64"))?;
        if length_of(&bytes) > max_bytes {
            return Err(no_image(Trouble::TooLarge, &format!("has more than {max_bytes} bytes")));
        }
        Image::of(bytes.into()).map_err(|error| no_image(error.trouble, &format!("is {}", error.message)))
    }
}

fn too_large(url: &Url, max_bytes: u64) -> FetchError {
    at(url, Trouble::TooLarge, format!("more than {max_bytes} bytes"))
}

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
