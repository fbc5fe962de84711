//! The services that the worker talks to: RabbitMQ, Redis, CometAPI.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::reader::Reader;
use super::{routes, urls};
use crate::job::route::table::MULTI_IMAGE_TO_IMAGE;
use crate::job::route::{Edition, Route, Routes};
use crate::net::tls;
use crate::secret::Secret;

/// RabbitMQ: where jobs come from and events go to.
#[derive(Debug, Clone)]
pub struct Amqp {
    /// `amqp://` or `amqps://`, always with a vhost; or several of them, separated by commas. Log it through
    /// [`redacted`](super::redacted).
    pub url: Secret,
    pub queue: String,
    /// A topic exchange.
    pub exchange: String,
    pub dead_queue: String,
    /// The queue for terminal events that no other queue takes.
    pub unrouted_queue: String,
    pub certificates: tls::Files,
    /// Whether queues and the exchange are declared; if not, they must exist.
    pub declare: bool,
    pub max_message_bytes: usize,
    /// The broker's own timeout; a delivery is requeued at half of it.
    pub consumer_timeout: Duration,
    /// 1 to 256.
    pub publish_channels: usize,
    /// At least twice `heartbeat`.
    pub confirm_timeout: Duration,
    pub connect_timeout: Duration,
    pub heartbeat: Duration,
    pub allow_plain_text: bool,
}

/// Redis, which knows the stage of each job.
#[derive(Debug, Clone)]
pub struct Redis {
    /// Log it through [`redacted`](super::redacted).
    pub url: Secret,
    pub certificates: tls::Files,
    /// The text between the braces of every key: `{prefix}:…`.
    pub prefix: String,
    /// How long a finished job is remembered.
    pub remember: Duration,
    pub response_timeout: Duration,
    pub allow_plain_text: bool,
}

/// CometAPI.
#[derive(Debug, Clone)]
pub struct Api {
    /// http or https, without login, query and fragment.
    pub base_url: Url,
    /// May be empty, because most commands don't need it. See [`Config::require_key`](super::Config::require_key).
    pub(super) key: Secret,
    pub certificates: tls::Files,
    /// Starts with `/`.
    pub submit_path: String,
    /// Starts with `/`, and has `{task_id}` once.
    pub query_path: String,
    /// The time limit of one POST.
    pub submit_timeout: Duration,
    pub query_timeout: Duration,
    /// `http://[user:password@]host:port`, or empty.
    pub proxy: SecretString,
    pub max_submits_at_once: usize,
    pub max_polls_at_once: usize,
    /// 0 = no bound.
    pub max_requests_per_second: u32,
    /// More than `max_submits_at_once`; 0 = no bound.
    pub max_connections: usize,
    /// The edition that `api.profile` names.
    pub edition: &'static Edition,
    /// The model for jobs that name none: the edition's, unless set.
    pub model: String,
    /// How many subject images a job may have: the edition's numbers, unless set.
    pub subject_images: RangeInclusive<usize>,
    /// The field names under which the scene image is sent.
    pub scene_names_sent: &'static [&'static str],
    pub allow_plain_text: bool,
    /// The routes of `[routes.NAME]`.
    pub own_routes: Vec<Arc<Route>>,
}

impl Amqp {
    pub(super) fn read(from: &mut Reader) -> Self {
        let amqp = Self {
            url: from.secret("amqp.url", urls::amqp),
            certificates: from.certificates("amqp", true),
            queue: from.parsed("amqp.queue", queue_name),
            exchange: from.parsed("amqp.exchange", name),
            dead_queue: from.parsed("amqp.dead_queue", queue_name),
            unrouted_queue: from.parsed("amqp.unrouted_queue", queue_name),
            declare: from.flag("amqp.declare"),
            max_message_bytes: from.number("amqp.max_message_bytes", 1024..=536_870_912),
            consumer_timeout: from.seconds("amqp.consumer_timeout_s", 1..=31_536_000),
            publish_channels: from.number("amqp.publish_channels", 1..=256),
            confirm_timeout: from.seconds("amqp.confirm_timeout_s", 1..=3600),
            connect_timeout: from.seconds("amqp.connect_timeout_s", 1..=600),
            heartbeat: from.seconds("amqp.heartbeat_s", 1..=600),
            allow_plain_text: from.flag("amqp.allow_plain_text"),
        };
        refuse_plain_text(from, "amqp.url", &amqp.url.now(), amqp.allow_plain_text, "amqps");
        let (confirm, heartbeat) = ("amqp.confirm_timeout_s", "amqp.heartbeat_s");
        from.must(&[confirm, heartbeat], amqp.confirm_timeout >= amqp.heartbeat * 2, |from| {
            let (confirm, heartbeat) = (from.says(confirm), from.says(heartbeat));
            format!("{confirm} must be at least twice {heartbeat}: a dead connection is to be noticed first")
        });
        for (one, other, equal) in [
            ("amqp.dead_queue", "amqp.queue", amqp.dead_queue == amqp.queue),
            ("amqp.unrouted_queue", "amqp.queue", amqp.unrouted_queue == amqp.queue),
            ("amqp.unrouted_queue", "amqp.dead_queue", amqp.unrouted_queue == amqp.dead_queue),
        ] {
            from.must(&[one, other], !equal, |from| {
                format!("{} and {} must be two queues; rename one", from.says(one), from.says(other))
            });
        }
        amqp
    }
}

impl Redis {
    pub(super) fn read(from: &mut Reader) -> Self {
        let redis = Self {
            url: from.secret("redis.url", urls::redis),
            certificates: from.certificates("redis", true),
            prefix: from.parsed("redis.prefix", |text| {
                let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
                let fits = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
                fits.then(|| text.to_owned())
                    .ok_or_else(|| "must be 1 to 64 of A-Z a-z 0-9 . _ : -".to_owned())
            }),
            remember: from.seconds("redis.remember_s", 1..=315_360_000),
            response_timeout: from.milliseconds("redis.response_timeout_ms", 1..=60_000),
            allow_plain_text: from.flag("redis.allow_plain_text"),
        };
        refuse_plain_text(from, "redis.url", &redis.url.now(), redis.allow_plain_text, "rediss");
        redis
    }
}

impl Api {
    /// The routes of the API; the settings of this section are about the default one.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let default = Route {
            submit_path: self.submit_path.clone(),
            query_path: self.query_path.clone(),
            subject_images: self.subject_images.clone(),
            scene_names_sent: self.scene_names_sent,
            ..Route::of(&MULTI_IMAGE_TO_IMAGE, self.edition).with_default_model(&self.model)
        };
        self.own_routes
            .iter()
            .fold(Routes::new(default, self.edition.profile), |routes, own| routes.and(Arc::clone(own)))
    }

    /// `None` only if a fault was found.
    pub(super) fn read(from: &mut Reader) -> Option<Self> {
        let base_url = from.parsed("api.base_url", |text| urls::web(text).map(Some));
        let base_text = base_url.as_ref().map(Url::to_string).unwrap_or_default();
        let allow_plain_text = from.flag("api.allow_plain_text");
        refuse_plain_text(from, "api.base_url", &base_text, allow_plain_text, "https");
        let profile = from.parsed("api.profile", |text| edition(text).map(Some));
        let model = from.parsed("api.model", model_name);
        let subject_images = subject_images(from, profile);
        let scene_names_sent = from.parsed("api.scene_field", scene_names);
        let api = Self {
            own_routes: routes::read(from),
            key: from.secret("api.key", |text| {
                // The value goes into a header unchanged.
                let fits = text.bytes().all(|byte| byte.is_ascii_graphic());
                fits.then(|| text.to_owned())
                    .ok_or_else(|| "must be printable ASCII without spaces".to_owned())
            }),
            proxy: from
                .secret("api.proxy", |text| urls::optional_proxy(text).map(str::to_owned))
                .now()
                .into(),
            certificates: from.certificates("api", false),
            submit_path: from.parsed("api.submit_path", |text| path(text, 0)),
            query_path: from.parsed("api.query_path", |text| path(text, 1)),
            submit_timeout: from.seconds("api.submit_timeout_s", 1..=3600),
            query_timeout: from.seconds("api.query_timeout_s", 1..=3600),
            max_submits_at_once: from.number("api.max_submits_at_once", 1..=10_000),
            max_polls_at_once: from.number("api.max_polls_at_once", 1..=10_000),
            max_requests_per_second: from.number("api.max_requests_per_second", 0..=100_000),
            max_connections: from.number("api.max_connections", 0..=100_000),
            allow_plain_text,
            base_url: base_url?,
            model: if model.is_empty() { profile?.default_model.to_owned() } else { model },
            edition: profile?,
            subject_images,
            scene_names_sent,
        };
        let (connections, submits) = ("api.max_connections", "api.max_submits_at_once");
        let fits = api.max_connections == 0 || api.max_connections > api.max_submits_at_once;
        from.must(&[connections, submits], fits, |from| {
            format!(
                "{} must be more than {}, whose POSTs never wait for a connection; or 0 for no bound",
                from.says(connections),
                from.says(submits)
            )
        });
        Some(api)
    }
}

/// A bound of 0 means the edition's bound.
fn subject_images(from: &mut Reader, edition: Option<&Edition>) -> RangeInclusive<usize> {
    let (profile, min, max) = ("api.profile", "api.min_subject_images", "api.max_subject_images");
    let own = edition.map_or(0..=0, |edition| edition.subject_images.clone());
    let or = |set: usize, own: &usize| if set == 0 { *own } else { set };
    let least = or(from.number(min, 0..=100), own.start());
    let most = or(from.number(max, 0..=100), own.end());
    from.must(&[min, max, profile], least <= most, |from| {
        format!(
            "{} and {} with {} make {least} to {most} subject images; the first must be at most the second",
            from.says(min),
            from.says(max),
            from.says(profile)
        )
    });
    least..=most
}

fn edition(profile: &str) -> Result<&'static Edition, String> {
    let editions = MULTI_IMAGE_TO_IMAGE.editions;
    editions.iter().find(|edition| edition.profile == profile).copied().ok_or_else(|| {
        let known = editions.iter().map(|edition| format!("{:?}", edition.profile));
        format!("must be {}", known.collect::<Vec<_>>().join(" or "))
    })
}

fn scene_names(text: &str) -> Result<&'static [&'static str], String> {
    let names = MULTI_IMAGE_TO_IMAGE.scene_names;
    if text == "both" {
        return Ok(names);
    }
    names.chunks(1).find(|name| name.contains(&text)).ok_or_else(|| {
        let known = names.iter().map(|name| format!("{name:?}"));
        format!("must be {} or \"both\"", known.collect::<Vec<_>>().join(", "))
    })
}

pub(super) fn model_name(text: &str) -> Result<String, String> {
    let fits = text.len() <= 128 && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    fits.then(|| text.to_owned())
        .ok_or_else(|| "must be a model's name, without spaces; or \"\" for that of the profile".to_owned())
}

fn refuse_plain_text(from: &mut Reader, key: &str, url: &str, allowed: bool, with_tls: &str) {
    let section = key.split('.').next().unwrap_or_default();
    let permit = format!("{section}.allow_plain_text");
    from.must(&[key, permit.as_str()], allowed || !urls::is_plain_text_abroad(url), |_| {
        let url = urls::redacted(url);
        format!("{key} ({url}) leads to another host without TLS: use {with_tls}://, or set {permit} = true")
    });
}

fn name(text: &str) -> Result<String, String> {
    let fits = (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned()).ok_or_else(|| "must be 1 to 255 bytes long, on one line".to_owned())
}

fn queue_name(text: &str) -> Result<String, String> {
    if text.starts_with("amq.") {
        return Err("must not start with \"amq.\", which RabbitMQ keeps for itself".to_owned());
    }
    name(text)
}

pub(super) fn path(text: &str, task_ids: usize) -> Result<String, String> {
    let plain = !text.chars().any(|c| c.is_control() || c.is_whitespace() || "?#".contains(c));
    let braces = text.matches(['{', '}']).count();
    if text.starts_with('/')
        && plain
        && text.matches("{task_id}").count() == task_ids
        && braces == 2 * task_ids
    {
        Ok(text.to_owned())
    } else if task_ids == 0 {
        Err("must be a path that starts with / and has no {…}, no ? and no #".to_owned())
    } else {
        Err("must be a path that starts with / and contains {task_id} once, no ? and no #".to_owned())
    }
}
