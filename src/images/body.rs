//! The body of an answer, which becomes an image chunk by chunk.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderValue};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{Body, Limits, at, broken};
use crate::job::FileKind;
use crate::job::image::trouble::Trouble;
use crate::job::image::{FetchError, Image};

/// The most memory that is reserved for an image before its bytes arrive.
const AT_ONCE_BYTES_MAX: u64 = 64 * 1024;

/// An answer of a server, of which the headers have arrived.
pub(super) struct Answer {
    url: Url,
    response: Response,
    limits: Limits,
    /// `None` if the server hasn't announced a length.
    announced: Option<u64>,
    /// The bytes that have come.
    received: u64,
    bytes: BytesMut,
    digest: Sha256,
}

impl Answer {
    /// # Errors
    ///
    /// The server announces more bytes than the file may have.
    pub(super) fn new(url: &Url, response: Response, limits: Limits) -> Result<Self, FetchError> {
        let announced = response.content_length();
        if announced.is_some_and(|length| length > limits.max_bytes) {
            return Err(too_large(url, limits.max_bytes));
        }
        if is_a_part(&response) {
            return Err(at(url, Trouble::Cut, "a part came that was not asked for"));
        }
        // Only this much is reserved at first, whatever the server announces.
        let expected = match limits.kind {
            FileKind::Image => announced.unwrap_or_default().min(AT_ONCE_BYTES_MAX),
            FileKind::Video | FileKind::Audio => 0,
        };
        let bytes = BytesMut::with_capacity(usize::try_from(expected).unwrap_or_default());
        let (url, digest) = (url.clone(), Sha256::new());
        Ok(Self { url, response, limits, announced, received: 0, bytes, digest })
    }
}

#[async_trait]
impl Body for Answer {
    async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        let Limits { max_bytes, timeout, silence, .. } = self.limits;
        let next = match timeout_at(self.limits.next(), self.response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| broken(&self.url, &error))?,
            Err(_elapsed) => {
                let what = if Instant::now() < self.limits.until {
                    format!("no byte for {silence:?}")
                } else {
                    format!("not done in {timeout:?}")
                };
                return Err(at(&self.url, Trouble::Slow, what));
            }
        };
        let Some(chunk) = next else {
            let is_cut = self.announced.is_some_and(|length| length != self.received);
            return if is_cut {
                Err(at(&self.url, Trouble::Cut, "the body was cut short"))
            } else {
                Ok(None)
            };
        };
        self.received = self.received.saturating_add(length_of(&chunk));
        if self.received > max_bytes {
            return Err(too_large(&self.url, max_bytes));
        }
        Ok(Some(chunk))
    }

    fn identity(&self) -> String {
        let tag = self.response.headers().get(ETAG).map(HeaderValue::as_bytes).unwrap_or_default();
        let length = self.announced.unwrap_or_default();
        format!("{} {length} {}", self.url.path(), String::from_utf8_lossy(tag))
    }

    fn located(&self, error: FetchError) -> FetchError {
        at(&self.url, error.trouble, error.message)
    }

    fn take(&mut self, chunk: Bytes) {
        self.bytes.extend_from_slice(&chunk);
        self.digest.update(&chunk);
    }

    fn image(self: Box<Self>) -> Result<Image, FetchError> {
        let Self { url, bytes, digest, .. } = *self;
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

    fn identity(&self) -> String {
        self.url.path().to_owned()
    }

    fn take(&mut self, _: Bytes) {}

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

/// Whether the host says that these bytes are not all of the file.
fn is_a_part(response: &Response) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let Some((range, all)) = range.and_then(|range| range.strip_prefix("bytes ")?.split_once('/')) else {
        return false;
    };
    let last = all.parse::<u64>().ok().and_then(|all| all.checked_sub(1));
    let is_all = last.is_some_and(|last| range == format!("0-{last}"));
    !is_all && (all != "*" || !range.starts_with("0-"))
}

fn too_large(url: &Url, max_bytes: u64) -> FetchError {
    at(url, Trouble::TooLarge, format!("more than {max_bytes} bytes"))
}

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
