//! Settings that are allowed but weaken a guarantee. They are logged at the start, and never refused.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::{Config, urls};

impl Config {
    /// What weakens a guarantee in this configuration, one sentence each, for the log at the start.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        self.about_generations(&mut warnings);
        self.about_plain_text(&mut warnings);
        self.about_storage(&mut warnings);
        if self.redis.remember < Duration::from_secs(86_400) {
            warnings.push(
                "redis.remember_s is under a day: the same job sent again later than this is paid for again"
                    .to_owned(),
            );
        }
        if self.callback.public_url.is_none() && !self.callback.secret.expose_secret().is_empty() {
            warnings.push("callback.secret has no effect: callback.public_url is not set".to_owned());
        }
        self.about_proxies(&mut warnings);
        if self.download.allow_private_hosts {
            warnings.push(
                "download.allow_private_hosts = true: result URLs may lead into your own network".to_owned(),
            );
        }
        warnings
    }

    fn about_proxies(&self, warnings: &mut Vec<String>) {
        let is_set = |proxy: &secrecy::SecretString| !proxy.expose_secret().is_empty();
        let (api, download) = (is_set(&self.api.proxy), is_set(&self.download.proxy));
        if api && !download {
            warnings.push(
                "api.proxy is set and download.proxy is not: the images of paid jobs are fetched without a proxy; set \
                 download.proxy too if nothing else leads out of this network"
                    .to_owned(),
            );
        }
        if download && !api {
            warnings.push(
                "download.proxy is set and api.proxy is not: the API is reached without a proxy; set api.proxy too if \
                 nothing else leads out of this network"
                    .to_owned(),
            );
        }
        if download {
            warnings.push(
                "download.proxy resolves the names of result hosts, so where they lead is the proxy's to guard: have it \
                 refuse addresses of your own network"
                    .to_owned(),
            );
        }
    }

    fn about_generations(&self, warnings: &mut Vec<String>) {
        let generation = &self.generation;
        let lag = Duration::from_secs(30);
        let needed = generation.gate + self.api.submit_timeout + lag;
        if generation.quiet <= needed {
            warnings.push(format!(
                "generation.quiet_s = {} should be more than {}, which is generation.gate_s + api.submit_timeout_s + \
                 30 for the provider's lag: an unanswered POST could still arrive after it",
                generation.quiet.as_secs(),
                needed.as_secs(),
            ));
        }
    }

    fn about_plain_text(&self, warnings: &mut Vec<String>) {
        for (key, url) in [
            ("amqp.url", self.amqp.url.now().as_str()),
            ("redis.url", self.redis.url.now().as_str()),
            ("api.base_url", self.api.base_url.as_str()),
            ("callback.public_url", self.callback.public_url.as_ref().map_or("", url::Url::as_str)),
            ("storage.endpoint", self.storage.endpoint.as_ref().map_or("", url::Url::as_str)),
        ] {
            if urls::is_plain_text_abroad(url) {
                let url = urls::redacted(url);
                warnings.push(format!("{key} ({url}) has no TLS: what goes there can be read on the way"));
            }
        }
    }

    fn about_storage(&self, warnings: &mut Vec<String>) {
        let storage = &self.storage;
        if storage.url == "memory:" {
            warnings.push("storage.url = \"memory:\": images and receipts are gone with the process, so there are no receipts, and a loss of Redis may cost twice".to_owned());
        }
        if storage.url.starts_with("file:") && !storage.fsync {
            warnings.push(
                "storage.fsync = false: a power failure can lose images whose events were published, and receipts, \
                 without which a job can be paid for twice"
                    .to_owned(),
            );
        }
        let for_s3 = [
            ("endpoint", storage.endpoint.is_some()),
            ("region", !storage.region.is_empty()),
            ("path_style", storage.path_style),
        ];
        for (key, set) in for_s3 {
            if set && !storage.is_s3() {
                warnings.push(format!("storage.{key} has no effect: storage.url is not s3://"));
            }
        }
    }
}
