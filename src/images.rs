//! From a result URL to the bytes of an image that is what it says it is.
//!
//! The URL comes from outside, the server behind it is a stranger: [`guard`] says where we go, the
//! loop here bounds what we take, and `sniff` says what it is. Design section 7.

pub mod guard;
mod sniff;

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response};
use sha2::{Digest, Sha256};
use url::Url;

use crate::redact::{bounded, for_people};
use guard::{Forbidden, Guard, GuardedResolver, Reach};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Most that is set aside for an image before its bytes come.
const AT_ONCE_BYTES_MAX: u64 = 64 * 1024;

/// Longest part of a URL's path that is told to people, in characters.
const PATH_CHARS_MAX: usize = 80;

/// Gets images. The downloader does it over HTTPS; tests have a double.
#[async_trait]
pub trait Images: Send + Sync {
    async fn fetch(&self, url: &Url) -> Result<Image, FetchError>;
}

/// An image, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    pub bytes: Bytes,
    /// By the bytes: `image/png`, `image/jpeg` or `image/webp`.
    pub content_type: &'static str,
    /// `png`, `jpg` or `webp`.
    pub extension: &'static str,
    pub width: u32,
    pub height: u32,
    /// Of the bytes, in lower-case hex.
    pub sha256: String,
}

impl Image {
    /// # Errors
    ///
    /// Says why these bytes are not an image that we take.
    pub fn of(bytes: Bytes) -> Result<Self, String> {
        let digest = Sha256::digest(&bytes);
        Self::with_digest(bytes, digest.as_slice())
    }

    fn with_digest(bytes: Bytes, digest: &[u8]) -> Result<Self, String> {
        let sniff::Sniffed { content_type, extension, width, height } = sniff::sniff(&bytes)?;
        Ok(Self { bytes, content_type, extension, width, height, sha256: hex::encode(digest) })
    }
}

impl fmt::Debug for Image {
    /// Without the bytes.
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

/// Why there is no image. Messages name host and path, never the signed query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The URL is spent (400, 401, 403, 404, 410): ask the provider for a fresh one.
    #[error("{0}")]
    Gone(String),
    /// Not an image, too large, or an address that we don't go to: no use to try again.
    #[error("{0}")]
    Invalid(String),
    /// 5xx, 429, timeout, reset, cut short: try again.
    #[error("{0}")]
    Again(String),
}

/// The bounds of one download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownloadRules {
    /// Private addresses, and plain http to them.
    pub allow_private_hosts: bool,
    /// Of the image.
    pub max_bytes: u64,
    /// From the first lookup to the last byte, redirects included.
    pub timeout: Duration,
    pub max_redirects: u32,
}

/// Downloads over HTTPS, behind the [`guard`].
#[derive(Debug)]
pub struct Downloader {
    rules: DownloadRules,
    guard: Guard,
    /// For https; its resolver lets pass what [`Guard::reach`] says of https.
    secure: Client,
    /// For http to private hosts; its resolver lets pass nothing else.
    plain: Client,
}

/// What one request of the chain gave.
enum Hop {
    Image(Image),
    Redirect(Url),
}

impl Downloader {
    /// # Errors
    ///
    /// Says why this system can't have an HTTPS client.
    pub fn new(rules: DownloadRules) -> Result<Self, String> {
        let secure = if rules.allow_private_hosts { Reach::Anywhere } else { Reach::Public };
        Ok(Self {
            rules,
            guard: Guard { allow_private_hosts: rules.allow_private_hosts },
            secure: built(client().dns_resolver(GuardedResolver(secure)))?,
            plain: built(client().dns_resolver(GuardedResolver(Reach::Private)))?,
        })
    }

    async fn follow(&self, url: &Url) -> Result<Image, FetchError> {
        let mut url = url.clone();
        for _ in 0..=self.rules.max_redirects {
            match self.hop(&url).await? {
                Hop::Image(image) => return Ok(image),
                Hop::Redirect(next) => url = next,
            }
        }
        Err(FetchError::Invalid(format!("{}: more than {} redirects", place(&url), self.rules.max_redirects)))
    }

    async fn hop(&self, url: &Url) -> Result<Hop, FetchError> {
        let forbidden = |error: Forbidden| FetchError::Invalid(format!("{}: {error}", place(url)));
        let client = match self.guard.reach(url).map_err(forbidden)? {
            Reach::Public | Reach::Anywhere => &self.secure,
            Reach::Private => &self.plain,
        };
        let response = client.get(url.clone()).send().await.map_err(|error| broken(url, &error))?;
        let status = response.status().as_u16();
        let said = || format!("{}: HTTP {status}", place(url));
        match status {
            200 => self.read(url, response).await.map(Hop::Image),
            301 | 302 | 303 | 307 | 308 => match next_url(url, &response) {
                Some(next) => Ok(Hop::Redirect(next)),
                None => Err(FetchError::Invalid(format!("{} without a usable location", said()))),
            },
            // Stores answer an expired signature with 400, 401 or 403.
            400 | 401 | 403 | 404 | 410 => Err(FetchError::Gone(said())),
            201..=299 | 408 | 425 | 429 | 500..=599 => Err(FetchError::Again(said())),
            _ => Err(FetchError::Invalid(said())),
        }
    }

    async fn read(&self, url: &Url, mut response: Response) -> Result<Image, FetchError> {
        let max_bytes = self.rules.max_bytes;
        let too_large = || FetchError::Invalid(format!("{}: more than {max_bytes} bytes", place(url)));
        let announced = response.content_length();
        if announced.is_some_and(|length| length > max_bytes) {
            return Err(too_large());
        }
        // So much at first, whatever a stranger announces.
        let expected = announced.unwrap_or_default().min(AT_ONCE_BYTES_MAX);
        let mut bytes = BytesMut::with_capacity(usize::try_from(expected).unwrap_or_default());
        let mut digest = Sha256::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(url, &error))? {
            bytes.extend_from_slice(&chunk);
            if length_of(&bytes) > max_bytes {
                return Err(too_large());
            }
            digest.update(&chunk);
        }
        if announced.is_some_and(|length| length != length_of(&bytes)) {
            return Err(FetchError::Again(format!("{}: the body was cut short", place(url))));
        }
        Image::with_digest(bytes.freeze(), digest.finalize().as_slice())
            .map_err(|fault| FetchError::Invalid(format!("{}: {fault}", place(url))))
    }
}

#[async_trait]
impl Images for Downloader {
    async fn fetch(&self, url: &Url) -> Result<Image, FetchError> {
        match tokio::time::timeout(self.rules.timeout, self.follow(url)).await {
            Ok(result) => result,
            Err(_elapsed) => {
                Err(FetchError::Again(format!("{}: not done in {:?}", place(url), self.rules.timeout)))
            }
        }
    }
}

/// No redirects of its own, no proxy, no cookies, no credentials, no decompression. Whoever builds it adds the
/// resolver.
fn client() -> ClientBuilder {
    let headers: HeaderMap = [
        (ACCEPT, HeaderValue::from_static("image/png, image/jpeg, image/webp")),
        (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
    ]
    .into_iter()
    .collect();
    Client::builder()
        .user_agent(concat!("comet-worker/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(Duration::from_secs(20))
        // What download.max_at_once lets through by default; fewer would open a connection for every tenth image.
        .pool_max_idle_per_host(16)
}

fn built(client: ClientBuilder) -> Result<Client, String> {
    client.build().map_err(|error| for_people(&format!("no HTTPS client: {error}")))
}

fn next_url(url: &Url, response: &Response) -> Option<Url> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    url.join(location).ok()
}

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Host and path, for people.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    for_people(&format!("{host}{port}{}", bounded(url.path(), PATH_CHARS_MAX)))
}

/// An exchange that broke: forbidden by the resolver, or else a fault that may pass.
fn broken(url: &Url, error: &reqwest::Error) -> FetchError {
    let mut text = place(url);
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(forbidden) = inner.downcast_ref::<Forbidden>() {
            return FetchError::Invalid(format!("{}: {forbidden}", place(url)));
        }
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    FetchError::Again(for_people(&text))
}

#[cfg(test)]
mod hops_tests;
#[cfg(test)]
mod tests;
