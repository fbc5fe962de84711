//! The URL at which the provider calls back about one job. It names the job and proves that a worker of this fleet
//! made it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::JobId;

/// The part of the MAC that is kept: 128 bits, which can't be guessed over HTTP.
const MAC_BYTES: usize = 16;
/// The longest job id, its MAC and the dot between them, with room to spare.
const TOKEN_BYTES_MAX: usize = 256;

type HmacSha256 = Hmac<Sha256>;

/// Makes the callback URLs of a fleet, and finds the job of a URL.
#[derive(Clone, PartialEq, Eq)]
pub struct Callbacks {
    /// The base URL, with a slash at its end.
    base: String,
    key: [u8; 32],
}

impl Callbacks {
    /// All workers with the same `secret` and the same `fleet` (the prefix of their keys in Redis) make and accept
    /// the same tokens. The signing key is derived from the secret, which is used for other things too, and doesn't
    /// reveal it.
    #[must_use]
    pub fn new(public_url: &Url, secret: &SecretString, fleet: &str) -> Self {
        let base = format!("{}/", public_url.as_str().trim_end_matches('/'));
        let secret = Sha256::digest(secret.expose_secret()).into();
        let mut deriving = keyed(&secret);
        deriving.update(b"comet-worker callback 1\0");
        deriving.update(fleet.as_bytes());
        Self { base, key: deriving.finalize().into_bytes().into() }
    }

    /// The `callback_url` for the provider. It is the same for every attempt and on every worker.
    #[must_use]
    pub fn url(&self, job: &JobId) -> String {
        let mac = self.mac(job).finalize().into_bytes();
        let mac: Vec<u8> = mac.into_iter().take(MAC_BYTES).collect();
        format!("{}{}.{}", self.base, URL_SAFE_NO_PAD.encode(job.as_str()), URL_SAFE_NO_PAD.encode(mac))
    }

    /// The job that a token was made for; `None` for a text that no worker of this fleet has made.
    #[must_use]
    pub fn job(&self, token: &str) -> Option<JobId> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (job, mac) = token.split_once('.')?;
        let job = String::from_utf8(URL_SAFE_NO_PAD.decode(job).ok()?).ok()?.parse().ok()?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok().filter(|mac| mac.len() == MAC_BYTES)?;
        // The comparison takes constant time, so that it doesn't reveal how much of a guess was right.
        self.mac(&job).verify_truncated_left(&mac).ok()?;
        Some(job)
    }

    fn mac(&self, job: &JobId) -> HmacSha256 {
        keyed(&self.key).chain_update(job.as_str())
    }
}

/// A token is like a password for the polls of one job, so neither the key nor tokens are shown.
impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").field("base", &self.base).finish_non_exhaustive()
    }
}

fn keyed(key: &[u8; 32]) -> HmacSha256 {
    let mut block = hmac::digest::Key::<HmacSha256>::default();
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    HmacSha256::new(&block)
}
