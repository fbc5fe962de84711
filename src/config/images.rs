//! Where images come from and where they go.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

use super::faults::quoted;
use super::reader::Reader;
use super::urls;
use crate::net::tls;

/// Where the images go.
#[derive(Debug, Clone)]
pub struct Storage {
    /// `file:PATH`, `s3://bucket`, `gs://bucket`, `az://container` or `memory:`; without a login.
    pub url: String,
    /// Relative, without `..` and without slashes at its ends; may be empty.
    pub prefix: String,
    /// Whether files are flushed to the disk.
    pub fsync: bool,
    /// S3: another server than Amazon's.
    pub endpoint: Option<Url>,
    /// S3: the bucket's region; empty = from the environment.
    pub region: String,
    /// S3: the bucket is in the path instead of the host.
    pub path_style: bool,
    /// The base URL below which the public can read the images.
    pub public_url: Option<Url>,
    pub certificates: tls::Files,
}

/// How result URLs are fetched.
#[derive(Debug, Clone)]
pub struct Download {
    /// Whether http, and hosts of our own network, are allowed too.
    pub allow_private_hosts: bool,
    /// The largest image that is stored.
    pub max_bytes: u64,
    /// The time limit of one try at an image, and for the next byte of a video or a sound.
    pub timeout: Duration,
    /// The largest video or sound that is stored.
    pub media_max_bytes: u64,
    /// The time limit of one try at a video or a sound.
    pub media_timeout: Duration,
    /// Tries for one file, at least 1.
    pub attempts: u32,
    pub max_at_once: usize,
    /// How long the worker tries to fetch images that were paid for.
    pub patience: Duration,
    /// `http://[user:password@]host:port`, or empty.
    pub proxy: SecretString,
    pub certificates: tls::Files,
    pub user_agent: String,
    /// The networks that result hosts may be in, beside the public internet.
    pub allow_networks: Vec<IpNet>,
}

impl Storage {
    pub(super) fn read(from: &mut Reader) -> Self {
        Self {
            url: from.parsed("storage.url", store),
            prefix: from.parsed("storage.prefix", folder),
            fsync: from.flag("storage.fsync"),
            endpoint: from.parsed("storage.endpoint", urls::optional_web),
            region: from.parsed("storage.region", |text| {
                let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
                plain
                    .then(|| text.to_owned())
                    .ok_or_else(|| "must be a region such as eu-central-1".to_owned())
            }),
            path_style: from.flag("storage.path_style"),
            public_url: from.parsed("storage.public_url", urls::optional_web),
            certificates: from.certificates("storage", false),
        }
    }

    pub(super) fn is_s3(&self) -> bool {
        self.url.starts_with("s3://")
    }
}

impl Download {
    pub(super) fn read(from: &mut Reader) -> Self {
        Self {
            allow_private_hosts: from.flag("download.allow_private_hosts"),
            max_bytes: from.number("download.max_bytes", 1024..=1_073_741_824),
            timeout: from.seconds("download.timeout_s", 1..=3600),
            media_max_bytes: from.number("download.media_max_bytes", 1024..=1_099_511_627_776),
            media_timeout: from.seconds("download.media_timeout_s", 1..=86400),
            attempts: from.number("download.attempts", 1..=100),
            max_at_once: from.number("download.max_at_once", 1..=1000),
            patience: from.seconds("download.patience_s", 1..=2_592_000),
            proxy: from
                .secret("download.proxy", |text| urls::optional_proxy(text).map(str::to_owned))
                .now()
                .into(),
            certificates: from.certificates("download", false),
            user_agent: from.parsed("download.user_agent", user_agent),
            allow_networks: from.parsed("download.allow_networks", networks),
        }
    }
}

/// The value goes into a header unchanged.
fn user_agent(text: &str) -> Result<String, String> {
    let own = concat!("comet-worker/", env!("CARGO_PKG_VERSION"));
    let text = text.trim();
    let fits = text.len() <= 256 && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let agent = if text.is_empty() { own } else { text };
    fits.then(|| agent.to_owned()).ok_or_else(|| "must be at most 256 printable ASCII characters".to_owned())
}

/// The networks of a list separated by commas; a single address is a network of one.
fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let network = |part: &str| {
        let address = || part.parse::<IpAddr>().map(IpNet::from);
        part.parse::<IpNet>().or_else(|_| address()).map_err(|_| {
            format!("must be networks such as 198.18.0.0/15, separated by commas; {} is none", quoted(part))
        })
    };
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(network).collect()
}

fn store(text: &str) -> Result<String, String> {
    const KNOWN: &str = "must be file:PATH, s3://bucket, gs://bucket, az://container or memory:";
    if let Some(path) = text.strip_prefix("file:") {
        let fits = !path.is_empty() && !path.chars().any(char::is_control);
        return fits.then(|| text.to_owned()).ok_or_else(|| "must name a folder after file:".to_owned());
    }
    if text == "memory:" {
        return Ok(text.to_owned());
    }
    let url = Url::parse(text).map_err(|_| KNOWN.to_owned())?;
    if !["s3", "gs", "az"].contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) {
        return Err(KNOWN.to_owned());
    }
    if urls::has_login(&url) || url.query().is_some() || url.fragment().is_some() {
        return Err(
            "must not carry a login, a query or a fragment; credentials come from variables".to_owned()
        );
    }
    Ok(text.to_owned())
}

fn folder(text: &str) -> Result<String, String> {
    let inner = text.strip_suffix('/').unwrap_or(text);
    let part =
        |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(|c| c.is_control() || c == '\\');
    if inner.is_empty() && text.is_empty() || !inner.is_empty() && inner.split('/').all(part) {
        Ok(inner.to_owned())
    } else {
        Err("must be a relative folder such as prod/images, without . and .. and without \\".to_owned())
    }
}
