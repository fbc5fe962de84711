//! URLs of services: what may appear in a log, what may go unencrypted, and RabbitMQ's vhost.

use std::net::IpAddr;

use url::Url;

use super::faults::quoted;
use crate::net::{Sentinels, several};

/// A URL for a log or a message: scheme, host, port and path. Login, query and fragment, which can contain passwords,
/// keys and signatures, are replaced.
///
/// ```
/// # use comet_worker::config::redacted;
/// assert_eq!(redacted("amqp://user:secret@mq.lan:5672/%2f"), "amqp://***@mq.lan:5672/%2f");
/// assert_eq!(redacted("https://cdn.lan/a.png?sig=abc"), "https://cdn.lan/a.png?***");
/// ```
#[must_use]
pub fn redacted(url: &str) -> String {
    several(url).into_iter().map(redacted_one).collect::<Vec<_>>().join(",")
}

fn redacted_one(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return redacted_parsed(url, "") };
    // A password may contain the characters that separate the parts of a URL. So everything before the last @ is the
    // login, however a parser reads it. An @ in the path of a web address is usual; there only an empty port shows
    // that the path is part of a login.
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let may_be_path = ["http", "https"].contains(&scheme) && !authority.ends_with(':');
    match rest.rsplit_once('@') {
        Some((_, behind)) if !may_be_path => redacted_parsed(&format!("{scheme}://{behind}"), "***@"),
        Some(_) | None => redacted_parsed(url, ""),
    }
}

/// `login` stands for a login that was cut out before.
fn redacted_parsed(url: &str, login: &str) -> String {
    if let Some(sentinels) = url.strip_prefix("redis-sentinel://").or(url.strip_prefix("rediss-sentinel://"))
    {
        let scheme = url.split("://").next().unwrap_or_default();
        let shown = sentinels.split('?').next().unwrap_or_default();
        return format!("{scheme}://{login}{shown}");
    }
    let Ok(parsed) = Url::parse(url) else {
        return "(a URL that can't be read)".to_owned();
    };
    let login = if has_login(&parsed) { "***@" } else { login };
    let host = parsed.host_str().map(|host| format!("//{login}{host}")).unwrap_or_default();
    let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
    let rest = if parsed.query().is_some() || parsed.fragment().is_some() { "?***" } else { "" };
    let slashes = if host.is_empty() && url.contains("://") { "//" } else { "" };
    format!("{}:{slashes}{host}{port}{}{rest}", parsed.scheme(), parsed.path())
}

/// Prepares a value that is not a secret for a message; a login in it is removed anyway.
pub(super) fn shown(value: &str) -> String {
    if value.contains("://") { redacted(value) } else { quoted(value) }
}

pub(super) fn has_login(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Checks an `amqp://` or `amqps://` URL and writes the vhost out: an empty one and `/` both mean `%2f`, RabbitMQ's
/// default, although lapin reads a lone `/` as a vhost without a name. Several URLs are separated by commas.
pub(super) fn amqp(text: &str) -> Result<String, String> {
    let urls: Result<Vec<String>, String> = several(text).into_iter().map(amqp_node).collect();
    Ok(urls?.join(","))
}

fn amqp_node(text: &str) -> Result<String, String> {
    let mut url = service(text, &["amqp", "amqps"])?;
    match url.path() {
        "" | "/" => {
            url.set_path("/%2f");
            Ok(url.into())
        }
        path if path.matches('/').count() > 1 => {
            Err("must have one vhost after the host; write a \"/\" in its name as %2f".to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

/// Checks what [`crate::ledger::endpoint`] accepts: one server, several nodes separated by commas, or the sentinels
/// of one server. A socket has no host.
pub(super) fn redis(text: &str) -> Result<String, String> {
    let schemes = ["redis", "rediss", "valkey", "valkeys", "unix", "redis+unix", "valkey+unix"];
    if text.starts_with("redis-sentinel://") || text.starts_with("rediss-sentinel://") {
        Sentinels::parse(text)?;
        return Ok(text.to_owned());
    }
    for url in several(text) {
        service(url, &schemes)?;
    }
    Ok(text.to_owned())
}

/// Checks an `http://` or `https://` URL without login, query and fragment.
pub(super) fn web(text: &str) -> Result<Url, String> {
    let url = service(text, &["https", "http"])?;
    if has_login(&url) || url.query().is_some() || url.fragment().is_some() {
        return Err("must be a plain https:// URL without login, query and fragment".to_owned());
    }
    Ok(url)
}

/// [`web`], or nothing for an empty text.
pub(super) fn optional_web(text: &str) -> Result<Option<Url>, String> {
    if text.is_empty() { Ok(None) } else { web(text).map(Some) }
}

/// `http://[user:password@]host:port`, or nothing for an empty text.
pub(super) fn optional_proxy(text: &str) -> Result<&str, String> {
    if !text.is_empty() {
        let url = service(text, &["http"])?;
        no_login_in_path(&url)?;
    }
    Ok(text)
}

fn service(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let start = schemes.iter().take(2).map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(" or ");
    let url = Url::parse(text).map_err(|error| {
        format!("must be a URL that starts with {start} ({error}); percent-encode special characters in a password")
    })?;
    if !schemes.contains(&url.scheme()) {
        return Err(format!("must start with {start}"));
    }
    if url.host_str().is_none_or(str::is_empty) && !url.scheme().contains("unix") {
        return Err("must name a host".to_owned());
    }
    if !url.scheme().starts_with("http") {
        no_login_in_path(&url)?;
    }
    Ok(url)
}

/// Refuses a URL with a login in its path: a password with a `/` or a `?` ends the host too early, and the rest is
/// read as a path.
fn no_login_in_path(url: &Url) -> Result<(), String> {
    let behind_host = [Some(url.path()), url.query(), url.fragment()];
    if behind_host.into_iter().flatten().any(|part| part.contains('@')) {
        return Err(
            "has an @ behind its host: percent-encode a password's / ? # and @ (%2F %3F %23 %40)".to_owned()
        );
    }
    Ok(())
}

/// Whether passwords and contents would cross a network unencrypted. False for a URL that can't be read.
pub(super) fn is_plain_text_abroad(urls: &str) -> bool {
    several(urls).into_iter().any(|url| {
        let Some((scheme, rest)) = url.split_once("://") else { return false };
        let behind_login = rest.rsplit_once('@').map_or(rest, |(_, behind)| behind);
        let authority = behind_login.split(['/', '?', '#']).next().unwrap_or_default();
        ["amqp", "redis", "valkey", "http", "redis-sentinel"].contains(&scheme)
            && authority.split(',').any(|host| !host.is_empty() && !is_loopback(host))
    })
}

/// Judged by the text, not by what a name resolves to. `host` may have a port.
fn is_loopback(host: &str) -> bool {
    let bare = match host.strip_prefix('[') {
        Some(literal) => literal.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => {
            let name = bare.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redacted_url_keeps_host_and_path_and_nothing_secret() {
        for (url, redacted_url) in [
            ("redis://:hunter2@cache:6379/3", "redis://***@cache:6379/3"),
            ("amqps://u@mq/v", "amqps://***@mq/v"),
            ("https://api.cometapi.com", "https://api.cometapi.com/"),
            ("http://[::1]:80/x?token=1#2", "http://[::1]/x?***"),
            ("unix:///run/redis.sock?pass=x", "unix:///run/redis.sock?***"),
            ("file:./images", "file:/images"),
            ("amqp://u:p#ss@[", "(a URL that can't be read)"),
            ("amqp://u:/S3cret@mq", "amqp://***@mq"),
            ("amqps://u:12/S3cret@mq/v", "amqps://***@mq/v"),
            ("redis://:S3?cret@cache/0", "redis://***@cache/0"),
            ("http://u:/S3cret@proxy:3128", "http://***@proxy:3128/"),
            ("http://u:12/S3cret@proxy:3128", "http://u:12/S3cret@proxy:3128"),
            ("https://cdn.lan/@user/a.png", "https://cdn.lan/@user/a.png"),
            ("amqp://u:p@a:1/v,amqp://u:p@b", "amqp://***@a:1/v,amqp://***@b"),
            ("redis-sentinel://:pw@a:1,b/0?sentinel_password=pw#main", "redis-sentinel://***@a:1,b/0"),
        ] {
            assert_eq!(redacted(url), redacted_url);
        }
    }

    #[test]
    fn rabbitmqs_default_vhost_is_written_out() {
        for url in ["amqp://mq", "amqp://mq/", "amqp://mq/%2f", "amqp://mq/%2F"] {
            let url = amqp(url).unwrap();
            assert_eq!(url.to_lowercase(), "amqp://mq/%2f");
            assert_eq!(url.parse::<lapin::uri::AMQPUri>().unwrap().vhost, "/");
        }
        assert_eq!(amqp("amqp://u:p%2Fw@mq:1/?heartbeat=5").unwrap(), "amqp://u:p%2Fw@mq:1/%2f?heartbeat=5");
        assert_eq!(amqp("amqps://mq/shop").unwrap(), "amqps://mq/shop");
        assert!(amqp("amqp://mq/a/b").unwrap_err().contains("%2f"));
        assert_eq!(amqp("amqp://a, amqps://b/v").unwrap(), "amqp://a/%2f,amqps://b/v");
        assert!(amqp("amqp://a,http://b").unwrap_err().contains("amqp:// or amqps://"));
        for odd in ["amqp://u:/S3cret@mq", "amqp://u:12/S3cret@mq", "redis://:a?S3cret@cache"] {
            let why = if odd.starts_with("amqp") { amqp(odd) } else { redis(odd) }.unwrap_err();
            assert!(why.contains("percent-encode") && !why.contains("S3cret"), "{why}");
        }
        assert!(optional_proxy("http://u:/S3cret@proxy:1").unwrap_err().contains("percent-encode"));
        assert!(amqp("amqp:///").unwrap_err().contains("host"));
        assert!(amqp("http://mq").unwrap_err().contains("amqp:// or amqps://"));
    }

    #[test]
    fn plain_text_counts_as_abroad_unless_it_stays_on_this_host() {
        for at_home in [
            "amqp://127.0.0.1:5672/%2f",
            "amqp://127.9.9.9",
            "redis://localhost:6379",
            "redis://[::1]:6379",
            "http://[::ffff:127.0.0.1]/",
            "http://sim.localhost:8080",
            "amqps://mq.example",
            "rediss://cache",
            "https://api.cometapi.com",
            "unix:///run/redis.sock",
        ] {
            assert!(!is_plain_text_abroad(at_home), "{at_home}");
        }
        for abroad in [
            "amqp://mq",
            "redis://10.0.0.1",
            "http://api.cometapi.com",
            "http://localhost.example",
            "redis://0.0.0.0",
            "redis://[2001:db8::1]",
            "amqp://localhost,amqp://mq",
            "redis-sentinel://127.0.0.1:26379,cache:26379/0#main",
        ] {
            assert!(is_plain_text_abroad(abroad), "{abroad}");
        }
    }
}
