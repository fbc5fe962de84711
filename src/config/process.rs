//! What the process shows about itself: the admin port and the log.

use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

use super::faults::Faults;
use super::reader::{self, Reader};
use crate::secret::Secret;

/// The admin port.
#[derive(Debug, Clone)]
pub struct Admin {
    /// `None` = off; port 0 = any free one.
    pub listen: Option<SocketAddr>,
}

/// The log, to stderr.
#[derive(Debug, Clone)]
pub struct Log {
    /// As tracing's `EnvFilter` reads it; checked by [`telemetry::init`](crate::telemetry::init).
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    Text,
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be auto, text or json".to_owned()),
        }
    }
}

/// A shorter token could be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// The token of the admin port; empty = there is none. It is no part of [`Admin`], which is loaded without secrets.
pub(super) fn read_token(from: &mut Reader) -> Secret {
    from.secret("admin.token", |text| {
        let fits =
            text.is_empty() || (text.len() >= TOKEN_BYTES_MIN && text.bytes().all(|b| b.is_ascii_graphic()));
        fits.then(|| text.to_owned()).ok_or_else(|| {
            format!("must be \"\" or at least {TOKEN_BYTES_MIN} visible ASCII characters without a space")
        })
    })
}

impl Admin {
    /// Loads only this section, from the same layers as [`Config::load`](super::Config::load). No file with a secret
    /// is read.
    ///
    /// # Errors
    ///
    /// What is wrong with this section, and what prevents reading any value: an unknown key, or a file that can't be
    /// read.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Faults> {
        reader::read(file, env, |from| Some(Self::read(from)))
    }

    pub(super) fn read(from: &mut Reader) -> Self {
        Self { listen: from.parsed("admin.listen", |text| optional_address(text, "127.0.0.1:9464")) }
    }
}

pub(super) fn optional_address(text: &str, example: &str) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |_| format!("must be an address and a port such as {example}, or \"\" for none");
    text.parse().map(Some).map_err(wrong)
}

impl Log {
    pub(super) fn read(from: &mut Reader) -> Self {
        Self { filter: from.text("log.filter"), format: from.word("log.format") }
    }
}
