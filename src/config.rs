//! The configuration: turns three layers of text into values that can't be wrong.
//!
//! `config/default.toml` has every key with its unit and its reason. It is the schema, the documentation and the
//! lowest layer at once. A file and the environment override it. All faults are reported together, each with the
//! place it came from. Conditions on several keys are checked here once, so the rest of the program needs no checks.
//!
//! A new key needs a line in `config/default.toml`, and a field and its reading in the file of its section. A test
//! fails if a key is in only one of the two.

mod callback;
mod environment;
mod faults;
mod file;
mod images;
mod layers;
mod process;
mod reader;
mod routes;
mod secrets;
mod services;
mod spend;
#[cfg(test)]
mod tests;
mod urls;
mod warnings;
mod work;

use std::path::Path;

pub use callback::Callback;
pub use environment::environment;
pub(crate) use faults::nearest;
pub use faults::{Fault, Faults};
pub use images::{Download, Storage};
pub use layers::DEFAULT_TOML;
pub use process::{Admin, Log, LogFormat};
pub use services::{Amqp, Api, Redis};
pub use spend::Spend;
pub use urls::redacted;
pub use work::{Events, Generation, OnUnknownSubmit, Poll, Worker};

use reader::Reader;

use crate::secret::Secret;

/// All settings. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Config {
    pub amqp: Amqp,
    pub redis: Redis,
    pub api: Api,
    pub worker: Worker,
    pub generation: Generation,
    pub spend: Spend,
    pub poll: Poll,
    pub callback: Callback,
    pub storage: Storage,
    pub download: Download,
    pub events: Events,
    pub admin: Admin,
    /// `admin.token`; empty = there is none.
    pub admin_token: Secret,
    pub log: Log,
}

impl Config {
    /// Reads the defaults, `file` over them, and from `env` the variables `COMET_WORKER__<SECTION>__<KEY>` (in any
    /// case) over both. The program passes [`environment()`] as `env`.
    ///
    /// # Errors
    ///
    /// All faults at once.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Faults> {
        reader::read(file, env, |from| {
            let config = Self::read(from);
            debug_assert_eq!(
                from.unread(),
                Vec::<&str>::new(),
                "keys of config/default.toml that nothing reads"
            );
            config
        })
    }

    /// `None` only if a fault was found.
    fn read(from: &mut Reader) -> Option<Self> {
        let amqp = Amqp::read(from);
        let redis = Redis::read(from);
        let api = Api::read(from);
        let worker = Worker::read(from);
        let generation = Generation::read(from);
        let spend = Spend::read(from, &generation);
        let poll = Poll::read(from);
        let callback = Callback::read(from);
        let storage = Storage::read(from);
        let download = Download::read(from);
        let events = Events::read(from);
        let admin = Admin::read(from);
        let admin_token = process::read_token(from);
        let log = Log::read(from);
        let api = api?;
        generation.check(&amqp, &api, from);
        Some(Self {
            amqp,
            redis,
            api,
            worker,
            generation,
            spend,
            poll,
            callback,
            storage,
            download,
            events,
            admin,
            admin_token,
            log,
        })
    }

    /// The key of CometAPI, for what can't work without it.
    ///
    /// # Errors
    ///
    /// One fault that says how to set it, if neither `api.key` nor `api.key_file` is set.
    pub fn require_key(&self) -> Result<&Secret, Faults> {
        if !self.api.key.now().is_empty() {
            return Ok(&self.api.key);
        }
        let mut faults = Faults::default();
        let message = "api.key is not set: give the key of CometAPI by the environment variable \
                       COMET_WORKER__API__KEY, or name a file that holds it by api.key_file";
        faults.add(layers::DEFAULT_PLACE, "api.key", message);
        Err(faults)
    }
}
