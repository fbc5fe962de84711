//! URLs of services: what may stand in a log, what may go unencrypted, and RabbitMQ's vhost.

use std::net::IpAddr;

use url::Url;

use super::faults::quoted;

/// A URL for a log or a message: scheme, host, port and path. Login, query and fragment, where
/// passwords, keys and signatures stand, are replaced.
///
/// ```
/// # use comet_worker::config::redacted;
/// assert_eq!(redacted("amqp://user:secret@mq.lan:5672/%2f"), "amqp://***@mq.lan:5672/%2f");
/// assert_eq!(redacted("https://cdn.lan/a.png?sig=abc"), "https://cdn.lan/a.png?***");
/// ```
#[must_use]
pub fn redacted(url: &str) -> String {
    let Ok(parsed) = Url::parse(url) else {
        return "(a URL that can't be read)".to_owned();
    };
    let login = if has_login(&parsed) { "***@" } else { "" };
    let host = parsed.host_str().map(|host| format!("//{login}{host}")).unwrap_or_default();
    let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
    let rest = if parsed.query().is_some() || parsed.fragment().is_some() { "?***" } else { "" };
    let slashes = if host.is_empty() && url.contains("://") { "//" } else { "" };
    format!("{}:{slashes}{host}{port}{}{rest}", parsed.scheme(), parsed.path())
}

/// A value that is no secret, for a message; should a login have got into it, without that.
pub(super) fn shown(value: &str) -> String {
    if value.contains("://") { redacted(value) } else { quoted(value) }
}

pub(super) fn has_login(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// `amqp://` or `amqps://`, the vhost written out: none and `/` both mean `%2f`, RabbitMQ's
/// default, where lapin would take a lone `/` for a vhost without a name.
pub(super) fn amqp(text: &str) -> Result<String, String> {
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

/// What the redis crate takes. A socket has no host.
pub(super) fn redis(text: &str) -> Result<String, String> {
    let schemes = ["redis", "rediss", "valkey", "valkeys", "unix", "redis+unix", "valkey+unix"];
    service(text, &schemes).map(|_| text.to_owned())
}

/// `http://` or `https://` without login, query and fragment.
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
        service(text, &["http"])?;
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
    Ok(url)
}

/// Whether passwords and contents would go readable over a network. False for what can't be read.
pub(super) fn is_plain_text_abroad(url: &str) -> bool {
    Url::parse(url)
        .is_ok_and(|url| ["amqp", "redis", "valkey", "http"].contains(&url.scheme()) && !is_loopback(&url))
}

/// By what is written, not by what a name resolves to. In URLs other than http an IPv4 address
/// counts as a name, hence the text.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
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
        ] {
            assert!(is_plain_text_abroad(abroad), "{abroad}");
        }
    }
}
