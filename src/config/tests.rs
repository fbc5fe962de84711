//! The layers, the faults and their wording.

use std::time::Duration;

use secrecy::ExposeSecret;

use crate::secret::Secret;

use super::*;

mod secret;
mod wording;

type Env<'a> = &'a [(&'a str, &'a str)];

fn load(toml: &str, env: Env<'_>) -> Result<Config, Faults> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("worker.toml");
    std::fs::write(&file, toml).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let loaded = Config::load((!toml.is_empty()).then_some(file.as_path()), env);
    // Formatted as for a user who passes `--config worker.toml`.
    loaded.map_err(|faults| {
        let folder = format!("{}/", folder.path().display());
        let mut short = Faults::default();
        for fault in faults.as_slice() {
            let (place, message) = (fault.place.replace(&folder, ""), fault.message.replace(&folder, ""));
            short.add(&place, &fault.key, message);
        }
        short
    })
}

fn refused(toml: &str, env: Env<'_>) -> String {
    load(toml, env).unwrap_err().to_string()
}

#[test]
fn the_defaults_are_those_of_the_design() {
    let config = Config::load(None, []).unwrap();
    assert_eq!(config.amqp.url.now(), "amqp://127.0.0.1:5672/%2f");
    assert_eq!(config.amqp.queue, "comet.jobs");
    assert_eq!(config.amqp.consumer_timeout, Duration::from_secs(1800));
    assert_eq!(config.redis.remember, Duration::from_secs(7 * 86_400));
    assert_eq!(config.redis.response_timeout, Duration::from_millis(2000));
    assert_eq!(config.api.base_url.as_str(), "https://api.cometapi.com/");
    let operation = &crate::job::route::table::MULTI_IMAGE_TO_IMAGE;
    assert_eq!(config.api.submit_path, operation.submit_path);
    assert_eq!(config.api.query_path, operation.query_path);
    assert_eq!(config.api.edition, operation.editions[0]);
    assert_eq!(config.worker.max_in_flight, 256);
    assert_eq!(config.generation.timeout, Duration::from_secs(900));
    assert_eq!(config.poll.first, Duration::from_millis(3000));
    assert!(config.callback.public_url.is_none(), "off");
    assert_eq!(config.callback.listen, Some("127.0.0.1:8085".parse().unwrap()));
    assert_eq!(config.storage.url, "file:./store");
    assert_eq!(config.storage.endpoint, None);
    assert_eq!(config.admin.listen, Some("127.0.0.1:9464".parse().unwrap()));
    assert_eq!(config.log.format, LogFormat::Auto);
}

/// Another allowed value for each key that is a text. A key that is missing here fails the test below.
const OTHER_VALUES: &[(&str, &str)] = &[
    ("amqp.url", "amqps://mq.lan/shop"),
    ("amqp.queue", "q"),
    ("amqp.exchange", "x"),
    ("amqp.dead_queue", "d"),
    ("amqp.unrouted_queue", "u"),
    ("redis.url", "rediss://cache.lan"),
    ("redis.prefix", "other"),
    ("api.base_url", "https://example.com"),
    ("api.key", "sk-1"),
    ("api.proxy", "http://user:pass@proxy.lan:3128"),
    ("api.submit_path", "/a"),
    ("api.query_path", "/a/{task_id}"),
    ("api.profile", "current"),
    ("api.model", "kling-v3"),
    ("api.max_connections", "33"),
    ("api.max_subject_images", "3"),
    ("api.scene_field", "scene_image"),
    ("callback.public_url", "https://hooks.example.com/comet"),
    ("callback.listen", ""),
    ("callback.secret", "0123456789abcdef0123456789abcdef"),
    ("storage.url", "memory:"),
    ("storage.prefix", "a/b/"),
    ("storage.endpoint", "https://minio.lan"),
    ("storage.region", "eu-central-1"),
    ("storage.public_url", "https://cdn.lan"),
    ("download.proxy", "http://user:pass@proxy.lan:3128"),
    ("download.user_agent", "Mozilla/5.0"),
    ("download.allow_networks", "198.18.0.0/15, 10.1.2.3"),
    ("events.source", "/other"),
    ("admin.listen", ""),
    ("admin.token", "0123456789abcdef"),
    ("spend.day_starts", "21:00"),
    ("spend.label", "customer"),
    ("spend.unit_price", "0.14 USD"),
    ("log.filter", "debug"),
    ("log.format", "json"),
];

/// Secret files have tests of their own; the other keys have only one value in this version.
const NOT_VARIED: &[&str] = &[
    "amqp.url_file",
    "redis.url_file",
    "api.key_file",
    "api.proxy_file",
    "download.proxy_file",
    "callback.secret_file",
    "admin.token_file",
    "generation.on_unknown_submit",
    "amqp.ca_file",
    "amqp.client_cert_file",
    "amqp.client_key_file",
    "redis.ca_file",
    "redis.client_cert_file",
    "redis.client_key_file",
    "api.ca_file",
    "storage.ca_file",
    "download.ca_file",
];

/// Like `Debug`, secrets included.
fn everything(config: &Config) -> String {
    let (api, download) = (&config.api, &config.download);
    let fixed = [&api.proxy, &download.proxy, &config.callback.secret].map(|secret| secret.expose_secret());
    let secrets = [&config.amqp.url, &config.redis.url, &api.key, &config.admin_token].map(Secret::now);
    let secrets = (secrets, fixed);
    format!("{config:?} {secrets:?}")
}

#[test]
fn every_key_is_read_and_makes_a_difference() {
    let defaults = layers::merge(None, [], &mut Faults::default()).settings;
    let before = everything(&Config::load(None, []).unwrap());
    for (key, setting) in &defaults {
        if NOT_VARIED.contains(&key.as_str()) {
            continue;
        }
        let other = OTHER_VALUES.iter().find(|(name, _)| name == key).map(|(_, other)| (*other).to_owned());
        let other = other.unwrap_or_else(|| match &setting.value {
            layers::Plain::Flag(flag) => (!flag).to_string(),
            layers::Plain::Number(number) => (number + 1).to_string(),
            layers::Plain::Text(_) => panic!("give {key} another value"),
        });
        let variable = format!("COMET_WORKER__{}", key.to_uppercase().replacen('.', "__", 1));
        let config =
            Config::load(None, [(variable.clone(), other)]).unwrap_or_else(|faults| panic!("{faults}"));
        assert_ne!(everything(&config), before, "{variable} changes nothing");
    }
}

#[test]
fn every_key_of_the_page_stands_below_a_comment_or_another_key() {
    let lines: Vec<&str> = DEFAULT_TOML.lines().collect();
    let is_key = |line: &str| line.contains(" = ") && !line.starts_with('#');
    for pair in lines.windows(2).filter(|pair| is_key(pair[1])) {
        let above = pair[0];
        assert!(above.starts_with(['#', '[']) || is_key(above), "above {}: {above:?}", pair[1]);
    }
    let keys = lines.iter().filter(|line| is_key(line)).count();
    assert_eq!(layers::merge(None, [], &mut Faults::default()).settings.len(), keys);
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = "[poll]\nmin_ms = 2_000\nmax_ms = 30000\n[amqp]\ndeclare = false";
    let env = [
        ("comet_worker__Poll__MAX_MS", " 40_000 "),
        ("COMET_WORKER__AMQP__DECLARE", "On"),
        ("COMET_WORKER_SERVICE_HOST", "10.0.0.1"),
        ("PATH", "/bin"),
    ];
    let config = load(file, &env).unwrap();
    assert_eq!(config.poll.first, Duration::from_millis(3000));
    assert_eq!(config.poll.min, Duration::from_millis(2000));
    assert_eq!(config.poll.max, Duration::from_millis(40_000));
    assert!(config.amqp.declare);
}

#[test]
fn a_profile_brings_its_model_and_counts_and_single_settings_go_over_it() {
    let api = |toml: &str| {
        let api = load(&format!("[api]\n{toml}"), &[]).unwrap_or_else(|faults| panic!("{faults}")).api;
        (api.model, api.subject_images, api.scene_names_sent.join(" "))
    };
    let both = "scence_image scene_image";
    for (toml, model, counts, scene) in [
        ("", "kling-v2", 2..=4, both),
        ("profile = \"current\"", "kling-v2-1", 1..=4, both),
        ("model = \"kling-v3\"\nmin_subject_images = 1", "kling-v3", 1..=4, both),
        ("profile = \"current\"\nmax_subject_images = 9", "kling-v2-1", 1..=9, both),
        ("scene_field = \"scence_image\"", "kling-v2", 2..=4, "scence_image"),
        ("scene_field = \"scene_image\"", "kling-v2", 2..=4, "scene_image"),
    ] {
        assert_eq!(api(toml), (model.to_owned(), counts, scene.to_owned()), "{toml}");
    }
}
