//! Where the provider calls back.

use std::net::SocketAddr;

use secrecy::SecretString;
use url::Url;

use super::reader::Reader;
use super::{process, urls};

/// Callbacks: hints that bring a poll forward.
#[derive(Debug, Clone)]
pub struct Callback {
    /// The URL under which the provider reaches a listener of this fleet; `None` = no callbacks.
    pub public_url: Option<Url>,
    /// The address on which this worker listens; `None` = other workers do. It is not opened without a `public_url`.
    pub listen: Option<SocketAddr>,
    /// The secret that signs tokens; empty = it is derived from the API key.
    pub secret: SecretString,
}

impl Callback {
    pub(super) fn read(from: &mut Reader) -> Self {
        Self {
            public_url: from.parsed("callback.public_url", urls::optional_web),
            listen: from.parsed("callback.listen", |text| process::optional_address(text, "127.0.0.1:8085")),
            secret: from
                .secret("callback.secret", |text| {
                    let fits = text.is_empty() || text.len() >= SECRET_BYTES_MIN;
                    fits.then(|| text.to_owned())
                        .ok_or_else(|| format!("must be \"\" or at least {SECRET_BYTES_MIN} bytes long"))
                })
                .now()
                .into(),
        }
    }
}

/// With one token, an attacker can try secrets offline, as fast as machines go.
const SECRET_BYTES_MIN: usize = 32;
