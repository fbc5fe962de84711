//! Secrets, plain text and warnings.

use super::*;

#[test]
fn nothing_prints_a_secret() {
    let env = [
        ("COMET_WORKER__AMQP__URL", "amqps://user:hunter2@mq.lan/shop"),
        ("COMET_WORKER__REDIS__URL", "rediss://:hunter2@cache.lan"),
        ("COMET_WORKER__API__KEY", "sk-hunter2"),
    ];
    let config = load("", &env).unwrap();
    assert_eq!(config.require_key().unwrap().expose_secret(), "sk-hunter2");
    let debug = format!("{config:?} {config:#?}");
    assert!(!debug.contains("hunter2"), "{debug}");
    assert!(debug.contains("url: SecretBox<str>([REDACTED]), queue: \"comet.jobs\""), "{debug}");
    assert_eq!(redacted(config.amqp.url.expose_secret()), "amqps://***@mq.lan/shop");
    for (variable, bad) in [
        ("COMET_WORKER__AMQP__URL", "amqp://user:hunter2@mq.lan/shop"),
        ("COMET_WORKER__AMQP__URL", "hunter2"),
        ("COMET_WORKER__REDIS__URL", "redis://user:hunter2@cache.lan"),
        ("COMET_WORKER__REDIS__URL", "redis://user:hunter2#x@cache.lan"),
        ("COMET_WORKER__API__KEY", "sk hunter2"),
        ("COMET_WORKER__API__BASE_URL", "https://hunter2@api.lan/?key=hunter2"),
        ("COMET_WORKER__STORAGE__URL", "s3://key:hunter2@bucket"),
    ] {
        let faults = load("", &[(variable, bad)]).unwrap_err();
        assert!(!format!("{faults} {faults:?}").contains("hunter2"), "{faults}");
    }
}

#[test]
fn a_secret_can_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let amqp = file("amqp", "amqps://u:p@mq.lan/\n");
    let key = file("key", "  sk-1\r\n");
    let env =
        [("COMET_WORKER__AMQP__URL_FILE", amqp.as_str()), ("COMET_WORKER__API__KEY_FILE", key.as_str())];
    let config = load("[redis]\nurl_file = \"\"", &env).unwrap();
    assert_eq!(config.amqp.url.expose_secret(), "amqps://u:p@mq.lan/%2f");
    assert_eq!(config.require_key().unwrap().expose_secret(), "sk-1");

    let both = [("COMET_WORKER__API__KEY_FILE", key.as_str())];
    assert_eq!(
        refused("[api]\nkey = \"sk-2\"", &both),
        "environment variable COMET_WORKER__API__KEY_FILE: api.key_file and api.key (worker.toml:2) are both set; \
         unset one of them"
    );
    assert!(load("[api]\nkey = \"\"", &both).is_ok(), "an empty value counts as unset");

    let empty = file("empty", " \n");
    let fault = refused("", &[("COMET_WORKER__API__KEY_FILE", &empty)]);
    assert!(fault.ends_with("which can't be used: it is empty"), "{fault}");
    let fault = refused("", &[("COMET_WORKER__REDIS__URL_FILE", "/nowhere/redis")]);
    assert!(
        fault.contains("redis.url_file names \"/nowhere/redis\", which can't be used: No such file"),
        "{fault}"
    );
    let wrong = file("wrong", "http://u:hunter2@mq.lan");
    let fault = refused("", &[("COMET_WORKER__AMQP__URL_FILE", &wrong)]);
    assert_eq!(
        fault,
        format!(
            "{wrong} (amqp.url_file, environment variable COMET_WORKER__AMQP__URL_FILE): amqp.url must start with \
             amqp:// or amqps://"
        )
    );
}

#[test]
fn a_missing_key_is_said_by_whoever_needs_it() {
    let fault = Config::load(None, []).unwrap().require_key().unwrap_err().to_string();
    assert!(fault.contains("COMET_WORKER__API__KEY") && fault.contains("api.key_file"), "{fault}");
}

#[test]
fn plain_text_to_another_host_must_be_allowed() {
    for (section, key, url, with_tls) in [
        ("amqp", "url", "amqp://u:p@mq.lan/", "amqps"),
        ("redis", "url", "redis://:p@cache.lan", "rediss"),
        ("api", "base_url", "http://api.lan", "https"),
    ] {
        let name = format!("COMET_WORKER__{section}__{key}").to_uppercase();
        let fault = refused("", &[(&name, url)]);
        let advice = format!("use {with_tls}://, or set {section}.allow_plain_text = true");
        assert!(fault.starts_with(&format!("environment variable {name}: {section}.{key} (")), "{fault}");
        assert!(fault.ends_with(&advice), "{fault}");
        let allowed = load(&format!("[{section}]\nallow_plain_text = true"), &[(&name, url)]).unwrap();
        let warnings = allowed.warnings().join("\n");
        assert!(warnings.contains("has no TLS") && !warnings.contains(":p@"), "{warnings}");
    }
}

#[test]
fn what_weakens_a_promise_is_a_warning() {
    let quiet = |quiet_s: &str| {
        let config = load("", &[("COMET_WORKER__GENERATION__QUIET_S", quiet_s)]).unwrap();
        config.warnings().iter().any(|warning| warning.starts_with("generation.quiet_s"))
    };
    assert!(!quiet("96") && quiet("95") && quiet("0"));

    let defaults = Config::load(None, []).unwrap().warnings();
    assert!(defaults.is_empty(), "{defaults:?}");
    let toml = "[redis]\nremember_s = 60\n[storage]\nurl = \"memory:\"\n\
                path_style = true\n[download]\nallow_private_hosts = true";
    let warnings = load(toml, &[]).unwrap().warnings();
    for part in ["remember_s", "memory:", "path_style has no effect", "allow_private_hosts"] {
        assert!(warnings.iter().any(|warning| warning.contains(part)), "{part}: {warnings:?}");
    }
}
