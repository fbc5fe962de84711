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
    assert_eq!(config.require_key().unwrap().now(), "sk-hunter2");
    let debug = format!("{config:?} {config:#?}");
    assert!(!debug.contains("hunter2"), "{debug}");
    assert!(debug.contains("url: Secret { file: None, .. }"), "{debug}");
    assert_eq!(redacted(&config.amqp.url.now()), "amqps://***@mq.lan/shop");
    for (variable, bad) in [
        ("COMET_WORKER__AMQP__URL", "amqp://user:hunter2@mq.lan/shop"),
        ("COMET_WORKER__AMQP__URL", "hunter2"),
        ("COMET_WORKER__REDIS__URL", "redis://user:hunter2@cache.lan"),
        ("COMET_WORKER__REDIS__URL", "redis://user:hunter2#x@cache.lan"),
        ("COMET_WORKER__AMQP__URL", "amqp://u:/hunter2@mq.lan"),
        ("COMET_WORKER__AMQP__URL", "amqps://u:12/hunter2@mq.lan/v"),
        ("COMET_WORKER__AMQP__URL", "amqps://mq.lan,amqp://u:/hunter2@mq.lan"),
        ("COMET_WORKER__REDIS__URL", "rediss://:?hunter2@cache.lan"),
        ("COMET_WORKER__REDIS__URL", "redis-sentinel://:hunter2@cache.lan/0"),
        ("COMET_WORKER__API__PROXY", "http://u:/hunter2@proxy:3128"),
        ("COMET_WORKER__DOWNLOAD__PROXY", "http://u:12/hunter2@proxy:3128"),
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
    assert_eq!(config.amqp.url.now(), "amqps://u:p@mq.lan/%2f");
    assert_eq!(config.require_key().unwrap().now(), "sk-1");

    std::fs::write(&amqp, "amqps://u:changed@mq.lan").unwrap();
    assert_eq!(config.amqp.url.now(), "amqps://u:changed@mq.lan/%2f", "and is read again");

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
fn a_missing_key_is_said_by_the_command_that_needs_it() {
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

#[test]
fn a_proxy_on_one_way_alone_is_warned_about_and_so_is_what_a_proxy_resolves() {
    let warnings = |toml| load(toml, &[]).unwrap().warnings().join("\n");
    let api = "[api]\nproxy = \"http://proxy.lan:3128\"";
    let download = "[download]\nproxy = \"http://user:hunter2@proxy.lan:3128\"";
    let none = warnings("");
    assert!(!none.contains("proxy"), "{none}");
    let one = warnings(api);
    assert!(one.contains("api.proxy is set and download.proxy is not"), "{one}");
    let other = warnings(download);
    assert!(other.contains("download.proxy is set and api.proxy is not"), "{other}");
    let both = warnings(&format!("{api}\n{download}"));
    assert!(!both.contains("is not"), "{both}");
    assert!(both.contains("the proxy's to guard"), "{both}");
    assert!(!both.contains("hunter2"));
}

#[test]
fn neither_proxy_prints_its_login() {
    for section in ["api", "download"] {
        let toml = format!("[{section}]\nproxy = \"http://user:hunter2@proxy.lan:3128\"");
        assert!(!format!("{:?}", load(&toml, &[]).unwrap()).contains("hunter2"), "{section}");
        let wrong = refused(&format!("[{section}]\nproxy = \"https://user:hunter2@proxy.lan\""), &[]);
        assert!(wrong.contains(&format!("{section}.proxy")) && !wrong.contains("hunter2"), "{wrong}");
        let kind = refused(&format!("[{section}]\nproxy = 3128"), &[]);
        assert!(!kind.contains("3128"), "{kind}");
    }
}

#[test]
fn networks_are_read_with_and_without_a_prefix_and_refused_with_a_reason() {
    let networks = |text: &str| load(&format!("[download]\nallow_networks = \"{text}\""), &[]);
    let read = |text: &str| {
        networks(text).unwrap().download.allow_networks.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(read(""), Vec::<String>::new());
    assert_eq!(read("198.18.0.0/15, 10.1.2.3 ,fc00::/18"), ["198.18.0.0/15", "10.1.2.3/32", "fc00::/18"]);
    for wrong in ["10.0.0.0/33", "cdn.example", "10.0.0.0/8;10.1.0.0/16", "10.0.0"] {
        let fault = networks(wrong).unwrap_err().to_string();
        assert!(fault.contains("download.allow_networks") && fault.contains("198.18.0.0/15"), "{fault}");
    }
}

#[test]
fn downloads_introduce_themselves_by_name_and_version_unless_told_otherwise() {
    let agent = |toml: &str| load(toml, &[]).unwrap().download.user_agent;
    assert_eq!(agent(""), concat!("comet-worker/", env!("CARGO_PKG_VERSION")));
    assert_eq!(agent("[download]\nuser_agent = \"Mozilla/5.0 (X11)\""), "Mozilla/5.0 (X11)");
    let wrong = refused("[download]\nuser_agent = \"a\\r\\nb: c\"", &[]);
    assert!(wrong.contains("download.user_agent"), "{wrong}");
}

#[test]
fn files_of_certificates_are_looked_at_when_the_configuration_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none.pem");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    for (section, file, says) in [
        ("AMQP", &none, "amqp.ca_file names"),
        ("REDIS", &empty, "there is no certificate in it"),
        ("API", &none, "api.ca_file names"),
        ("STORAGE", &empty, "storage.ca_file names"),
        ("DOWNLOAD", &none, "download.ca_file names"),
    ] {
        let fault = refused("", &[(&format!("COMET_WORKER__{section}__CA_FILE"), file.to_str().unwrap())]);
        assert!(fault.contains(says), "{fault}");
    }
    let alone = refused("", &[("COMET_WORKER__REDIS__CLIENT_CERT_FILE", empty.to_str().unwrap())]);
    assert!(alone.contains("redis.client_cert_file and redis.client_key_file go together"), "{alone}");
}
