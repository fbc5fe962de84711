//! Who may use the interface under `/api`.
//!
//! Looking needs no token from this machine. From elsewhere it does, and so does every change. A request
//! that another site's page makes in a visitor's browser is refused, with a token as well as without.

use std::net::IpAddr;

use axum::extract::connect_info::Connected;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::serve::IncomingStream;
use sha2::{Digest as _, Sha256};

use crate::bounded_listener::BoundedListener;
use crate::secret::Secret;

/// The client's address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(IpAddr);

impl Connected<IncomingStream<'_, BoundedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        Self(stream.remote_addr().ip())
    }
}

/// Why a request is refused: the status, and words for people.
pub(super) type Refusal = (StatusCode, String);

/// Whether the request may be answered.
///
/// # Errors
///
/// The [`Refusal`].
pub(super) fn check(method: &Method, headers: &HeaderMap, peer: Peer, token: &Secret) -> Result<(), Refusal> {
    if is_from_another_site(headers) {
        return Err((StatusCode::FORBIDDEN, "a page of another site may not ask this".to_owned()));
    }
    let token = token.now();
    let looks_only = method == Method::GET || method == Method::HEAD;
    // A proxy's own login may be there in another scheme.
    if let Some(shown) = text(headers, AUTHORIZATION.as_str()).and_then(|text| text.strip_prefix("Bearer ")) {
        let is_right = !token.is_empty() && is_same(shown.trim(), &token);
        return if is_right { Ok(()) } else { Err(unauthorized("this is not admin.token")) };
    }
    if looks_only && peer.0.to_canonical().is_loopback() && is_asked_as_this_machine(headers) {
        return Ok(());
    }
    if token.is_empty() {
        let what = if looks_only { "looking from another machine" } else { "a change" };
        let message = format!("{what} needs admin.token, which is not set (COMET_WORKER__ADMIN__TOKEN)");
        return Err((StatusCode::FORBIDDEN, message));
    }
    Err(unauthorized("this needs the header Authorization: Bearer <admin.token>"))
}

fn unauthorized(message: &str) -> Refusal {
    (StatusCode::UNAUTHORIZED, message.to_owned())
}

/// Digests are compared, so the time that it takes says nothing about the token.
fn is_same(shown: &str, token: &str) -> bool {
    Sha256::digest(shown.as_bytes()) == Sha256::digest(token.as_bytes())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn is_from_another_site(headers: &HeaderMap) -> bool {
    let by_fetch =
        text(headers, "sec-fetch-site").is_some_and(|site| !["same-origin", "none"].contains(&site));
    let by_origin = headers.contains_key(ORIGIN) && {
        let origin = text(headers, ORIGIN.as_str()).and_then(|origin| origin.split_once("://"));
        origin.map(|(_, host)| host) != text(headers, HOST.as_str())
    };
    by_fetch || by_origin
}

/// Another site's name may be made to lead to this machine (DNS rebinding), and its page would then be of the same
/// origin: so the name in the request must be one of this machine's own.
fn is_asked_as_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = text(headers, HOST.as_str()) else { return false };
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

impl Peer {
    #[cfg(test)]
    fn at(address: &str) -> Self {
        Self(address.parse().unwrap())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn asked(method: Method, peer: &str, headers: &[(&str, &str)], token: &str) -> u16 {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let headers: HeaderMap = headers.collect();
        match check(&method, &headers, Peer::at(peer), &Secret::from(token)) {
            Ok(()) => 200,
            Err((status, _)) => status.as_u16(),
        }
    }

    #[test]
    fn looking_from_this_machine_is_free_and_all_else_needs_the_token() {
        let own = ("host", "localhost:9464");
        let right = ("authorization", "Bearer 0123456789abcdef");
        let wrong = ("authorization", "Bearer 0123456789abcdee");
        for (method, peer, headers, token, status) in [
            (Method::GET, "127.0.0.1", &[own][..], "", 200),
            (Method::GET, "::1", &[("host", "[::1]:9464")], TOKEN, 200),
            (Method::GET, "::ffff:127.0.0.1", &[("host", "127.0.0.1")], "", 200),
            (Method::GET, "10.0.0.9", &[own], "", 403),
            (Method::GET, "10.0.0.9", &[own], TOKEN, 401),
            (Method::GET, "10.0.0.9", &[own, right], TOKEN, 200),
            (Method::GET, "127.0.0.1", &[own, wrong], TOKEN, 401),
            (Method::GET, "127.0.0.1", &[own, ("authorization", "Bearer ")], "", 401),
            (Method::POST, "127.0.0.1", &[own], "", 403),
            (Method::POST, "127.0.0.1", &[own], TOKEN, 401),
            (Method::POST, "127.0.0.1", &[own, right], TOKEN, 200),
            (Method::POST, "127.0.0.1", &[own, wrong], TOKEN, 401),
            (Method::POST, "127.0.0.1", &[own, ("authorization", "Basic 0123456789abcdef")], TOKEN, 401),
            (Method::GET, "127.0.0.1", &[own, ("authorization", "Basic 0123456789abcdef")], TOKEN, 200),
        ] {
            assert_eq!(
                asked(method.clone(), peer, headers, token),
                status,
                "{method} {peer} {headers:?} {token}"
            );
        }
    }

    #[test]
    fn no_page_of_another_site_is_answered() {
        let right = ("authorization", "Bearer 0123456789abcdef");
        for (headers, status) in [
            (&[("host", "localhost:9464"), ("origin", "http://localhost:9464"), right][..], 200),
            (&[("host", "localhost:9464"), ("sec-fetch-site", "same-origin"), right], 200),
            (&[("host", "localhost:9464"), ("origin", "http://evil.example"), right], 403),
            (&[("host", "localhost:9464"), ("origin", "null"), right], 403),
            (&[("host", "localhost:9464"), ("sec-fetch-site", "cross-site"), right], 403),
            (&[("host", "localhost:9464"), ("sec-fetch-site", "same-site"), right], 403),
        ] {
            assert_eq!(asked(Method::POST, "127.0.0.1", headers, TOKEN), status, "{headers:?}");
        }
        // A name of theirs that leads to this machine.
        for host in ["evil.example:9464", "localhost.evil.example", "127.0.0.1.evil.example", ""] {
            assert_eq!(asked(Method::GET, "127.0.0.1", &[("host", host)], ""), 403, "{host}");
        }
        assert_eq!(asked(Method::GET, "127.0.0.1", &[], ""), 403, "no name");
    }
}
