//! Where the provider calls back.

use std::net::SocketAddr;

use secrecy::SecretString;
use url::Url;

use super::reader::Reader;
use super::{process, urls};

/// Callbacks: hints that pull a poll forward.
#[derive(Debug, Clone)]
pub struct Callback {
    /// Under which the provider reaches a listener of this fleet; `None` = no callbacks.
    pub public_url: Option<Url>,
    /// Where this worker listens; `None` = others do. Not opened without a `public_url`.
    pub listen: Option<SocketAddr>,
    /// What tokens are signed with; empty = made from the key of the API.
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

/// Who sees a token can try secrets against it, as fast as machines go.
const SECRET_BYTES_MIN: usize = 32;
