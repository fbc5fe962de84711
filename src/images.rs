//! Turns a result URL into the bytes of a file that is complete and has the format that it claims. An image is held
//! whole; a video or a sound only passes through.
//!
//! The URL comes from outside, and the server behind it can't be trusted. [`guard`] decides which hosts may be
//! reached, `body` bounds what is read, and [`image`](crate::job::image) and [`media`](crate::job::media) decide what it
//! is, and whose fault a failure is. See docs/operations.md, "What is downloaded".

mod body;
pub mod guard;

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Proxy, Response};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::job::FileKind;
use crate::job::image::trouble::Trouble;
use crate::job::image::{FetchError, Image};
use crate::net::tls;
use crate::redact::{bounded, for_people};
use body::{Answer, Inline};
use guard::{Forbidden, Guard, GuardedResolver, Reach, Unresolved};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest part of a URL's path that is shown to people, in characters.
const PATH_CHARS_MAX: usize = 80;

/// Fetches the files of results. The downloader does it over HTTPS; tests have a double.
#[async_trait]
pub trait Images: Send + Sync {
    /// Asks for the file. Returns when its bytes begin to arrive; so far none of them is in memory.
    ///
    /// # Errors
    ///
    /// There is no file at this place, or no way there.
    async fn open(&self, url: &Url, kind: FileKind) -> Result<Box<dyn Body>, FetchError>;

    /// Fetches the whole image.
    ///
    /// # Errors
    ///
    /// As [`Self::open`] and [`Body`].
    async fn fetch(&self, url: &Url) -> Result<Image, FetchError> {
        let mut body = self.open(url, FileKind::Image).await?;
        while let Some(chunk) = body.chunk().await? {
            body.take(chunk);
        }
        body.image()
    }
}

/// The bytes of one file, as they arrive. Only [`Self::chunk`] waits; an image that is too much for this process
/// ends it in [`Self::take`] or [`Self::image`].
#[async_trait]
pub trait Body: Send {
    /// Waits for the next bytes; `None` after the last ones.
    ///
    /// # Errors
    ///
    /// The bytes stop coming, or are too many.
    async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError>;

    /// What the host says of the bytes before they come, in one text: another text means other bytes, as far as
    /// anything but their digest can tell.
    fn identity(&self) -> String;

    /// The error of bytes that are no such file, with the place that they come from.
    fn located(&self, error: FetchError) -> FetchError {
        error
    }

    /// Adds the bytes to the image.
    fn take(&mut self, chunk: Bytes);

    /// The image, after the last bytes.
    ///
    /// # Errors
    ///
    /// They are not a whole image.
    fn image(self: Box<Self>) -> Result<Image, FetchError>;
}

/// Says why there is no image at this place.
fn at(url: &Url, trouble: Trouble, what: impl fmt::Display) -> FetchError {
    FetchError::new(trouble, format!("{}: {what}", place(url)))
}

/// The bounds of one download, and the route to its host.
#[derive(Debug, Clone)]
pub struct DownloadRules {
    pub guard: Guard,
    pub image: Bounds,
    /// Of a video or a sound.
    pub media: Bounds,
    /// The longest wait for the answer with a video or a sound, and for its next byte.
    pub silence: Duration,
    pub max_redirects: u32,
    /// `http://[user:password@]host:port`; empty for a direct connection. The environment's proxies are not used.
    pub proxy: SecretString,
    pub user_agent: String,
    /// The certificates that are trusted beside the system's.
    pub certificates: tls::Files,
}

/// The bounds of one file.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub max_bytes: u64,
    /// From the first lookup to the last byte, redirects included.
    pub timeout: Duration,
}

impl DownloadRules {
    fn bounds(&self, kind: FileKind) -> Bounds {
        match kind {
            FileKind::Image => self.image,
            FileKind::Video | FileKind::Audio => self.media,
        }
    }
}

/// One download.
#[derive(Debug, Clone, Copy)]
struct Limits {
    kind: FileKind,
    max_bytes: u64,
    timeout: Duration,
    /// The end of `timeout`, which began with the first lookup.
    until: Instant,
    silence: Duration,
}

impl Limits {
    /// When the next byte must be there.
    fn next(&self) -> Instant {
        self.until.min(Instant::now() + self.silence)
    }
}

/// Downloads over HTTPS, behind the [`guard`].
#[derive(Debug)]
pub struct Downloader {
    rules: DownloadRules,
    /// The client for https. Its resolver lets pass what [`Guard::reach`] allows for https.
    secure: Client,
    /// The client for http to private hosts. Its resolver lets pass nothing else.
    plain: Client,
}

/// The result of one request of the chain.
enum Hop {
    Answer(Box<Answer>),
    Redirect(Url),
}

impl Downloader {
    /// # Errors
    ///
    /// Says why this system can't have an HTTPS client, or what is wrong with the proxy.
    pub fn new(rules: DownloadRules) -> Result<Self, String> {
        let guard = &rules.guard;
        let secure = if guard.allow_private_hosts { Reach::Anywhere } else { Reach::Public };
        let proxy = rules.proxy.expose_secret();
        let issuers = rules.certificates.for_http()?;
        let client = |reach| {
            let client = client(&rules.user_agent).tls_certs_merge(issuers.clone());
            if proxy.is_empty() {
                return built(client.dns_resolver(GuardedResolver { guard: guard.clone(), reach }));
            }
            // The proxy resolves the names of hosts, and the guard doesn't check the proxy's own name. The error's
            // text could contain its login, so it is left out.
            let proxy =
                Proxy::all(proxy).map_err(|_| "the proxy must be an http:// URL with a host".to_owned());
            built(client.proxy(proxy?))
        };
        let (secure, plain) = (client(secure)?, client(Reach::Private)?);
        Ok(Self { rules, secure, plain })
    }

    async fn follow(&self, url: &Url, limits: Limits) -> Result<Box<Answer>, FetchError> {
        let mut url = url.clone();
        for hops in 0..=self.rules.max_redirects {
            let hop = self.hop(&url, limits).await.map_err(|error| {
                // The host redirects there; it is not the provider's own URL.
                let is_led = error.trouble == Trouble::BadUrl && hops > 0;
                if is_led { FetchError { trouble: Trouble::Redirects, ..error } } else { error }
            });
            match hop? {
                Hop::Answer(answer) => return Ok(answer),
                Hop::Redirect(next) => url = next,
            }
        }
        let most = self.rules.max_redirects;
        Err(at(&url, Trouble::Redirects, format!("more than {most} redirects")))
    }

    /// Sends one request, over https wherever that is possible.
    async fn hop(&self, url: &Url, limits: Limits) -> Result<Hop, FetchError> {
        let Some(secured) = self.rules.guard.secured(url) else {
            let hop = self.request(url, limits).await;
            // If http is allowed to private hosts, a name of the public internet is recognized only after it is
            // resolved.
            return match (hop, with_https(url)) {
                (Err(FetchError { trouble: Trouble::Forbidden, .. }), Some(secured)) => {
                    self.secured(&secured, limits).await
                }
                (hop, _) => hop,
            };
        };
        self.secured(&secured, limits).await
    }

    /// Sends a request over https for a URL that asks for http.
    async fn secured(&self, url: &Url, limits: Limits) -> Result<Hop, FetchError> {
        self.request(url, limits).await.map_err(|error| {
            if !matches!(error.trouble, Trouble::Unreachable | Trouble::Tls | Trouble::Silent) {
                return error;
            }
            let message =
                format!("the URL says http, which is not allowed, and https fails: {}", error.message);
            FetchError { trouble: Trouble::NoHttps, message }
        })
    }

    async fn request(&self, url: &Url, limits: Limits) -> Result<Hop, FetchError> {
        let reach = self.rules.guard.reach(url);
        let client = match reach.map_err(|why| at(url, Trouble::BadUrl, why))? {
            Reach::Public | Reach::Anywhere => &self.secure,
            Reach::Private => &self.plain,
        };
        let request = client.get(url.clone()).header(ACCEPT, accepted(limits.kind));
        let response = match timeout_at(limits.next(), request.send()).await {
            Ok(response) => response.map_err(|error| broken(url, &error))?,
            Err(_elapsed) => {
                let limit = limits.timeout.min(limits.silence);
                return Err(at(url, Trouble::Silent, format!("not done in {limit:?}")));
            }
        };
        let status = response.status().as_u16();
        let said = || format!("HTTP {status}");
        if let Some(trouble) = Trouble::of_status(status) {
            return Err(at(url, trouble, said()));
        }
        if response.status().is_redirection() {
            return match next_url(url, &response) {
                Some(next) => Ok(Hop::Redirect(next)),
                None => {
                    let what = format!("{} without a usable location", said());
                    Err(at(url, Trouble::Redirects, what))
                }
            };
        }
        Ok(Hop::Answer(Box::new(Answer::new(url, response, limits)?)))
    }
}

#[async_trait]
impl Images for Downloader {
    async fn open(&self, url: &Url, kind: FileKind) -> Result<Box<dyn Body>, FetchError> {
        let Bounds { max_bytes, timeout } = self.rules.bounds(kind);
        if url.scheme() == "data" {
            return Ok(Box::new(Inline { url: url.clone(), max_bytes }));
        }
        let until = Instant::now() + timeout;
        let silence = match kind {
            FileKind::Image => timeout,
            FileKind::Video | FileKind::Audio => self.rules.silence,
        };
        let limits = Limits { kind, max_bytes, timeout, until, silence };
        Ok(self.follow(url, limits).await?)
    }
}

/// A client without redirects of its own, cookies, credentials or decompression. The caller adds the resolver or the
/// proxy.
fn client(user_agent: &str) -> ClientBuilder {
    let headers: HeaderMap = [(ACCEPT_ENCODING, HeaderValue::from_static("identity"))].into_iter().collect();
    Client::builder()
        .user_agent(user_agent)
        .default_headers(headers)
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(Duration::from_secs(20))
        // As many as download.max_at_once allows by default; fewer would open a connection for every tenth image.
        .pool_max_idle_per_host(16)
}

fn accepted(kind: FileKind) -> HeaderValue {
    HeaderValue::from_static(match kind {
        FileKind::Image => "image/png, image/jpeg, image/webp",
        FileKind::Video => "video/mp4, video/*;q=0.8",
        FileKind::Audio => "audio/mpeg, audio/wav, audio/*;q=0.8",
    })
}

/// An http URL as an https one.
fn with_https(url: &Url) -> Option<Url> {
    let mut secured = url.clone();
    (url.scheme() == "http" && secured.set_scheme("https").is_ok()).then_some(secured)
}

fn built(client: ClientBuilder) -> Result<Client, String> {
    client.build().map_err(|error| for_people(&format!("no HTTPS client: {error}")))
}

fn next_url(url: &Url, response: &Response) -> Option<Url> {
    // Some hosts send the location without percent-encoding.
    let location = std::str::from_utf8(response.headers().get(LOCATION)?.as_bytes()).ok()?;
    url.join(location).ok()
}

/// Host and path, for people.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    for_people(&format!("{host}{port}{}", bounded(url.path(), PATH_CHARS_MAX)))
}

/// Describes an exchange that broke.
fn broken(url: &Url, error: &reqwest::Error) -> FetchError {
    // Before a connection is established, the host has said nothing; after that, the host has broken it off.
    let mut trouble = if error.is_connect() {
        Trouble::Unreachable
    } else if error.is_timeout() {
        Trouble::Silent
    } else {
        Trouble::Reset
    };
    let mut text = place(url);
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(forbidden) = inner.downcast_ref::<Forbidden>() {
            return at(url, Trouble::Forbidden, forbidden);
        }
        if let Some(unresolved) = inner.downcast_ref::<Unresolved>() {
            return at(url, Trouble::Unresolved, unresolved);
        }
        let words = inner.to_string();
        // This looks for the words of rustls, because its error is hidden behind several others.
        if error.is_connect()
            && ["certificate", "corrupt message", "handshake"].iter().any(|tls| words.contains(tls))
        {
            trouble = Trouble::Tls;
        }
        text.push_str(": ");
        text.push_str(&words);
        cause = inner.source();
    }
    FetchError::new(trouble, for_people(&text))
}

#[cfg(test)]
mod hops_tests;
#[cfg(test)]
mod tests;
