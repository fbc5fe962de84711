//! Defines in one place what a store's error means. Pure.
//!
//! Stores say the same thing in many ways: by a status, by a code in XML, by the operating system's own number, or by
//! a cause deep below "error sending request". Here each becomes a kind, words that name what happened, and what a
//! person can do about it.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::net::trouble;
use crate::redact::{bounded, for_people};

/// The longest part of a message that comes from the store, and the longest detail, in characters.
const WORDS_MAX: usize = 300;
const DETAIL_MAX: usize = 450;

/// A fault of the store, in words for people, with what to do. The caller retries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError {
    kind: StoreErrorKind,
    detail: String,
    /// `None` if the detail says it.
    remedy: Option<&'static str>,
}

impl StdError for StoreError {}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.remedy {
            Some(remedy) => write!(f, "{}; {remedy}", self.detail),
            None => write!(f, "{}", self.detail),
        }
    }
}

/// What is wrong with the store, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreErrorKind {
    /// The store can't create an object only if it is absent.
    NoConditionalPut,
    /// The folder's file system has neither hard links nor a rename that replaces nothing.
    NoExclusiveCreate,
    /// The store doesn't say whether an object is absent, because the credentials may not list.
    MayNotList,
    /// The credentials have no permission for this.
    Forbidden,
    /// The credentials are unknown, or the signature is wrong.
    BadCredentials,
    /// No credentials were found.
    NoCredentials,
    /// The credentials have expired.
    ExpiredCredentials,
    /// The bucket is in another region than the one that the requests are signed for.
    OtherRegion,
    /// The clocks differ too much for a signature.
    ClockSkew,
    /// The store asks for fewer requests.
    SlowDown,
    /// The store has a fault of its own.
    Failing,
    NoBucket,
    /// The store wants a checksum that isn't sent, or refuses the one that is sent.
    Checksum,
    /// The store accepts no object that large, however much space it has.
    TooLarge,
    Full,
    ReadOnly,
    /// No TLS connection to the store can be made.
    Tls,
    /// This process has no file descriptor left, which is not the store's fault.
    OutOfFiles,
    Unreachable,
    /// The folder is gone, or another one is in its place.
    Gone,
    /// Anything else.
    Other,
}

impl StoreErrorKind {
    /// What a person can do about it.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::NoConditionalPut => {
                "it can't create an object only if that is absent (If-None-Match), which is the gate before each payment: \
                 use a store that can (S3, Google Cloud, Azure, MinIO, a local folder), or set generation.receipts = false, \
                 by which a Redis that forgets may have a job paid for twice"
            }
            Self::NoExclusiveCreate => {
                "its file system can't create a file only if that is absent (no hard links, no rename that replaces \
                 nothing), which is the gate before each payment: use a folder on another file system or a bucket, or set \
                 generation.receipts = false, by which a Redis that forgets may have a job paid for twice"
            }
            Self::MayNotList => {
                "without the right to list, an object that is absent looks like one that is forbidden: allow s3:ListBucket \
                 on the bucket (Google Cloud: storage.objects.list)"
            }
            Self::Forbidden => {
                "allow s3:PutObject, s3:GetObject and s3:ListBucket for these credentials (docs/operations.md, \"Rights in the \
                 store\", has the policy), or check storage.url"
            }
            Self::BadCredentials => {
                "check the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or those of your cloud)"
            }
            Self::NoCredentials => "set the variables of one of these sources, or give the machine a role",
            Self::ExpiredCredentials => {
                "start the worker with fresh credentials, or let it take a role's, which it renews by itself \
                 (AWS_SESSION_TOKEN is read at the start alone)"
            }
            Self::OtherRegion => "set storage.region (AWS_REGION) to the bucket's region",
            Self::ClockSkew => "set this machine's clock (NTP): a signature holds for minutes only",
            Self::SlowDown => "jobs wait until it takes more again; if it goes on, have its limit raised",
            Self::Failing => "jobs wait until it works again; look at the store's own log or status page",
            Self::NoBucket => "create the bucket, or correct storage.url (COMET_WORKER__STORAGE__URL)",
            Self::Checksum => {
                "it wants another checksum than is sent: set AWS_CHECKSUM_ALGORITHM (sha256 by default; none sends none)"
            }
            Self::TooLarge => {
                "raise the limit of the store, or of the proxy before it, above download.max_bytes"
            }
            Self::Full => "make space, or raise the quota",
            Self::ReadOnly => "mount the file system for writing",
            Self::Tls => {
                "see whether the store's certificate is good, and trusted here (storage.ca_file, or SSL_CERT_FILE, names further authorities)"
            }
            Self::OutOfFiles => trouble::OUT_OF_FILES,
            Self::Unreachable => {
                "check storage.endpoint and storage.url, the name resolution and the firewall; or it is down"
            }
            Self::Gone => {
                "mount it again; jobs wait, and nothing is written to the disk underneath. Restart the worker if another \
                 folder is meant"
            }
            Self::Other => "check storage.url (COMET_WORKER__STORAGE__URL), its space and its permissions",
        }
    }
}

impl StoreError {
    /// A fault in our own words.
    pub(crate) fn new(what: &str, error: &impl ToString) -> Self {
        Self::plain(format!("{what}: {}", error.to_string()))
    }

    pub(super) fn plain(message: String) -> Self {
        Self { kind: StoreErrorKind::Other, detail: for_people(&message), remedy: None }
    }

    pub(super) fn of_kind(kind: StoreErrorKind, what: &str, words: &str) -> Self {
        let detail = bounded(&format!("{what}: {}", bounded(words, WORDS_MAX)), DETAIL_MAX);
        Self { kind, detail, remedy: Some(kind.advice()) }
    }

    /// A fault of the underlying store during `what`.
    pub(crate) fn of(what: &str, error: &object_store::Error) -> Self {
        let (kind, words) = meaning(error);
        Self::of_kind(kind, what, &words)
    }

    /// The store didn't answer in time.
    pub(crate) fn late(what: &str, limit: std::time::Duration) -> Self {
        Self::of_kind(StoreErrorKind::Unreachable, what, &format!("no answer within {limit:?}"))
    }

    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// What is wrong, without what to do.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What a person can do; `None` if the detail says it.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        self.remedy
    }
}

/// There are no credentials; says what was tried to find them.
#[derive(Debug, thiserror::Error)]
#[error("no credentials: {tried}")]
pub(super) struct NoCredentials {
    pub tried: String,
}

/// The folder that was opened doesn't exist any more.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Gone(pub String);

/// The folder's file system lacks what a create needs.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoExclusiveCreate(pub io::Error);

/// Codes in a store's XML, and what they mean. They take precedence over the status.
const CODES: &[(&str, StoreErrorKind)] = &[
    ("RequestTimeTooSkewed", StoreErrorKind::ClockSkew),
    ("ExpiredToken", StoreErrorKind::ExpiredCredentials),
    ("ExpiredTokenException", StoreErrorKind::ExpiredCredentials),
    ("TokenRefreshRequired", StoreErrorKind::ExpiredCredentials),
    ("RequestExpired", StoreErrorKind::ExpiredCredentials),
    ("PermanentRedirect", StoreErrorKind::OtherRegion),
    ("TemporaryRedirect", StoreErrorKind::OtherRegion),
    ("AuthorizationHeaderMalformed", StoreErrorKind::OtherRegion),
    ("IllegalLocationConstraintException", StoreErrorKind::OtherRegion),
    ("SlowDown", StoreErrorKind::SlowDown),
    ("RequestLimitExceeded", StoreErrorKind::SlowDown),
    ("ServerBusy", StoreErrorKind::SlowDown),
    ("InvalidAccessKeyId", StoreErrorKind::BadCredentials),
    ("SignatureDoesNotMatch", StoreErrorKind::BadCredentials),
    ("InvalidToken", StoreErrorKind::BadCredentials),
    ("AuthenticationFailed", StoreErrorKind::BadCredentials),
    ("AccessDenied", StoreErrorKind::Forbidden),
    ("NoSuchBucket", StoreErrorKind::NoBucket),
    ("ContainerNotFound", StoreErrorKind::NoBucket),
    ("NotImplemented", StoreErrorKind::NoConditionalPut),
    ("EntityTooLarge", StoreErrorKind::TooLarge),
    ("RequestBodyTooLarge", StoreErrorKind::TooLarge),
    ("XMinioStorageFull", StoreErrorKind::Full),
    ("XAmzContentChecksumMismatch", StoreErrorKind::Checksum),
    ("BadDigest", StoreErrorKind::Checksum),
    ("QuotaExceeded", StoreErrorKind::Full),
    ("InsufficientStorage", StoreErrorKind::Full),
];

/// The meaning of a status that comes without a known code.
fn of_status(status: u16) -> Option<StoreErrorKind> {
    match status {
        301 | 302 | 307 | 308 => Some(StoreErrorKind::OtherRegion),
        401 => Some(StoreErrorKind::BadCredentials),
        403 => Some(StoreErrorKind::Forbidden),
        405 | 501 => Some(StoreErrorKind::NoConditionalPut),
        413 => Some(StoreErrorKind::TooLarge),
        429 => Some(StoreErrorKind::SlowDown),
        507 => Some(StoreErrorKind::Full),
        500..=599 => Some(StoreErrorKind::Failing),
        _ => None,
    }
}

/// The meanings of the operating system's errors for a folder.
const OF_SYSTEM: [(io::ErrorKind, StoreErrorKind); 6] = [
    (io::ErrorKind::StorageFull, StoreErrorKind::Full),
    (io::ErrorKind::QuotaExceeded, StoreErrorKind::Full),
    (io::ErrorKind::FileTooLarge, StoreErrorKind::TooLarge),
    (io::ErrorKind::ReadOnlyFilesystem, StoreErrorKind::ReadOnly),
    (io::ErrorKind::StaleNetworkFileHandle, StoreErrorKind::Gone),
    (io::ErrorKind::NotConnected, StoreErrorKind::Gone),
];

fn of_system(error: &io::Error) -> Option<StoreErrorKind> {
    OF_SYSTEM.iter().find(|(said, _)| *said == error.kind()).map(|(_, kind)| *kind)
}

/// The kind of an error, and the words that name it.
pub(super) fn meaning(error: &object_store::Error) -> (StoreErrorKind, String) {
    if trouble::is_out_of_files(error) {
        return (StoreErrorKind::OutOfFiles, "no file and no connection can be opened".to_owned());
    }
    if let Some(words) = trouble::of_tls(error, "storage") {
        return (StoreErrorKind::Tls, words);
    }
    let mut kind = None;
    let mut words: Vec<String> = Vec::new();
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        // Most of these errors repeat what their cause says.
        if !words.iter().any(|said| said.contains(&text)) {
            words.push(text);
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            kind = kind.or_else(|| of_system(io));
        }
        if cause.is::<Gone>() {
            kind = kind.or(Some(StoreErrorKind::Gone));
        } else if cause.is::<NoExclusiveCreate>() {
            kind = kind.or(Some(StoreErrorKind::NoExclusiveCreate));
        } else if let Some(none) = cause.downcast_ref::<NoCredentials>() {
            // The causes below are about addresses that are not in the configuration.
            return (StoreErrorKind::NoCredentials, none.to_string());
        }
        next = cause.source();
    }
    if kind.is_none() && matches!(error, object_store::Error::NotImplemented { .. }) {
        kind = Some(StoreErrorKind::NoConditionalPut);
    }
    let all = words.join(": ");
    match kind {
        Some(kind) => (kind, all),
        None => by_text(all),
    }
}

/// Finds the meaning in the words of an HTTP client, and of a server that answers in XML.
fn by_text(all: String) -> (StoreErrorKind, String) {
    let status = all.split_once("status code: ").and_then(|(_, rest)| rest.get(..3)?.parse::<u16>().ok());
    let code = between(&all, "Code");
    if status.is_none() && code.is_none() {
        let kind = without_an_answer(&all);
        return (kind, all);
    }
    let known = code.and_then(|code| CODES.iter().find(|(known, _)| *known == code));
    let wants_checksum = code == Some("InvalidRequest") && all.to_ascii_lowercase().contains("checksum");
    let kind = known.map(|(_, kind)| *kind).or(wants_checksum.then_some(StoreErrorKind::Checksum));
    let kind = kind.or_else(|| of_status(status?)).unwrap_or(StoreErrorKind::Other);
    let said = [status.map(|status| status.to_string()), code.map(str::to_owned)];
    let mut words = said.into_iter().flatten().collect::<Vec<_>>().join(" ");
    if let Some(message) = between(&all, "Message") {
        words = format!("{words} ({message})");
    } else if code.is_none() {
        words = all.clone();
    }
    if let Some(region) = between(&all, "Region").filter(|_| kind == StoreErrorKind::OtherRegion) {
        words = format!("{words}; the bucket is in {region}");
    }
    (kind, format!("the store answers {words}"))
}

fn without_an_answer(all: &str) -> StoreErrorKind {
    let lower = all.to_ascii_lowercase();
    if ["certificate", "tls", "handshake", "corrupt message"].iter().any(|word| lower.contains(word)) {
        StoreErrorKind::Tls
    } else if lower.contains("redirect without location") {
        StoreErrorKind::OtherRegion
    } else if ["dns error", "connect", "timed out", "error sending request", "broken pipe"]
        .iter()
        .any(|word| lower.contains(word))
    {
        StoreErrorKind::Unreachable
    } else {
        StoreErrorKind::Other
    }
}

fn between<'a>(text: &'a str, element: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{element}>"))?;
    let (inside, _) = rest.split_once(&format!("</{element}>"))?;
    Some(inside.trim()).filter(|inside| !inside.is_empty())
}

#[cfg(test)]
mod tests;
