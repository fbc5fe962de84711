//! Whole downloads with the strict rules, over TLS, from names of the public internet. Each hop of the chain is
//! checked like the first one.
//!
//! Names resolve to what a table says, and the addresses pass the same check as the system's answers. Only then are
//! they mapped to the one server here, so what the guard lets through is reached, and nothing else is.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

fn rules() -> DownloadRules {
    DownloadRules {
        certificates: Default::default(),
        guard: Guard::default(),
        image: Bounds { max_bytes: 10_000, timeout: Duration::from_secs(20) },
        media: Bounds { max_bytes: 10_000, timeout: Duration::from_secs(20) },
        silence: Duration::from_secs(20),
        max_redirects: 3,
        proxy: SecretString::default(),
        user_agent: "a-test/1".to_owned(),
    }
}

/// A name and its addresses. The last column has the addresses of `late.example` from the second time on.
const NAMES: &[(&str, &[&str], &[&str])] = &[
    ("cdn.example", &["93.184.215.14"], &[]),
    ("other.example", &["2606:4700::1111", "1.1.1.1"], &[]),
    ("inside.example", &["10.0.0.7"], &[]),
    ("home.example", &["127.0.0.1"], &[]),
    ("mixed.example", &["8.8.8.8", "192.168.1.1"], &[]),
    ("six.example", &["fd12:3456::1"], &[]),
    ("metadata.example", &["169.254.169.254"], &[]),
    ("late.example", &["93.184.215.14"], &["127.0.0.1"]),
    ("fake.example", &["198.18.0.25"], &[]),
    ("nat64.example", &["64:ff9b::808:808"], &[]),
    ("nat64-inside.example", &["64:ff9b::a01:203"], &[]),
];

/// Answers from the table, and maps what passes to the server.
struct Names {
    guard: Guard,
    reach: Reach,
    asked: Mutex<Vec<String>>,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let mut asked = self.asked.lock().unwrap();
        let again = asked.iter().any(|known| known == name.as_str());
        asked.push(name.as_str().to_owned());
        let addresses = NAMES.iter().find(|(known, _, _)| *known == name.as_str());
        let addresses = addresses
            .map_or(&[][..], |(_, first, then)| if again && !then.is_empty() { then } else { first });
        let found: Vec<SocketAddr> =
            addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect();
        let admitted = self.guard.admit(self.reach, &found);
        Box::pin(async move {
            admitted?;
            let here = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 0);
            Ok(Box::new(std::iter::once(here)) as Addrs)
        })
    }
}

/// The one server behind all names. It redirects to the URL in `?to=`, and keeps the heads of its requests.
struct Server {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start() -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls");
        let cert = CertificateDer::from_pem_file(format!("{folder}/server.cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(format!("{folder}/server.key.pem")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = heads.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut socket) = acceptor.accept(socket).await else { continue };
                let mut head = vec![0; 16 * 1024];
                let read = socket.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                let _ = socket.write_all(&reply(&head)).await;
                let _ = socket.shutdown().await;
                kept.lock().unwrap().push(head);
            }
        });
        Self { port, heads }
    }

    fn http_url(&self, name: &str, path: &str) -> Url {
        Url::parse(&format!("http://{name}:{}{path}", self.port)).unwrap()
    }

    fn url(&self, name: &str, path: &str) -> Url {
        Url::parse(&format!("https://{name}:{}{path}", self.port)).unwrap()
    }

    /// The hosts that were contacted, in order.
    fn hosts(&self) -> Vec<String> {
        let host = |head: &String| {
            let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("host: ")).unwrap();
            line["host: ".len()..].rsplit_once(':').unwrap().0.to_owned()
        };
        self.heads.lock().unwrap().iter().map(host).collect()
    }

    async fn fetch(&self, url: &Url) -> Result<Image, FetchError> {
        self.fetch_by(rules(), url).await
    }

    async fn fetch_by(&self, rules: DownloadRules, url: &Url) -> Result<Image, FetchError> {
        // The certificate matches no name; the test only checks for which name it is requested.
        let client = |reach| {
            let names = Names { guard: rules.guard.clone(), reach, asked: Mutex::default() };
            built(client(&rules.user_agent).dns_resolver(names).tls_danger_accept_invalid_certs(true))
                .unwrap()
        };
        let (secure, plain) = (client(Reach::Public), client(Reach::Private));
        Downloader { rules, secure, plain }.fetch(url).await
    }

    /// `cdn.example` and then one hop after the other to the last.
    fn chain(&self, hops: &[&str], last: &str) -> Url {
        let mut target = last.to_owned();
        for name in hops.iter().rev() {
            let mut url = self.url(name, "/hop");
            url.query_pairs_mut().append_pair("to", &target);
            target = url.into();
        }
        Url::parse(&target).unwrap()
    }
}

fn picture() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 4, 3);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[9; 36]).unwrap();
    writer.finish().unwrap();
    bytes
}

fn reply(head: &str) -> Vec<u8> {
    let path = head.split(' ').nth(1).unwrap_or("/");
    let url = Url::parse("https://here/").unwrap().join(path).unwrap();
    if path == "/loop" {
        let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
        let to = format!("http://{host}/loop");
        return format!(
            "HTTP/1.1 301 Moved\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        .into_bytes();
    }
    match url.query_pairs().find(|(name, _)| name == "to") {
        Some((_, to)) => {
            format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .into_bytes()
        }
        None => {
            let picture = picture();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", picture.len());
            [head.into_bytes(), picture].concat()
        }
    }
}

#[tokio::test]
async fn public_hosts_are_followed_from_one_to_the_other() {
    let server = Server::start().await;
    let last = server.url("other.example", "/a.png");
    let image =
        server.fetch(&server.chain(&["cdn.example", "other.example", "cdn.example"], last.as_str())).await;
    assert_eq!(image.unwrap(), Image::of(picture().into()).unwrap());
    assert_eq!(server.hosts(), ["cdn.example", "other.example", "cdn.example", "other.example"]);
    for head in server.heads.lock().unwrap().iter() {
        let head = head.to_ascii_lowercase();
        for secret in ["authorization", "cookie", "referer"] {
            assert!(!head.contains(secret), "{head}");
        }
    }
}

#[tokio::test]
async fn a_public_host_that_redirects_inside_is_not_followed_at_any_hop() {
    for hops in [
        &["cdn.example"][..],
        &["cdn.example", "other.example"],
        &["cdn.example", "other.example", "cdn.example"],
    ] {
        let server = Server::start().await;
        for target in [
            "https://inside.example:PORT/a.png",
            "https://home.example:PORT/a.png",
            "https://mixed.example:PORT/a.png",
            "https://six.example:PORT/a.png",
            "https://metadata.example:PORT/latest/meta-data/",
            "https://127.0.0.1:PORT/a.png",
            "https://127.1:PORT/a.png",
            "https://2130706433:PORT/a.png",
            "https://[::1]:PORT/a.png",
            "https://[::ffff:127.0.0.1]:PORT/a.png",
            "https://10.0.0.7/a.png",
            "https://169.254.169.254/latest/meta-data/",
            "http://127.0.0.1:PORT/a.png",
            "//127.0.0.1:PORT/a.png",
            "https://user:SECRET@cdn.example:PORT/a.png",
            "file:///etc/passwd",
        ] {
            let target = target.replace("PORT", &server.port.to_string());
            server.heads.lock().unwrap().clear();
            let error = server.fetch(&server.chain(hops, &target)).await.unwrap_err();
            let is_name = target.contains(".example") && !target.contains('@');
            let trouble = if is_name { Trouble::Forbidden } else { Trouble::Redirects };
            assert_eq!(error.trouble, trouble, "{target}: {error:?}");
            assert_eq!(server.hosts(), hops, "{target}: no other host was spoken to");
            assert!(!error.to_string().contains("SECRET"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_connected_to_and_is_the_networks_fault() {
    let server = Server::start().await;
    for name in [
        "inside.example",
        "home.example",
        "mixed.example",
        "six.example",
        "metadata.example",
        "fake.example",
        "nat64-inside.example",
    ] {
        let error = server.fetch(&server.url(name, "/a.png")).await.unwrap_err();
        assert_eq!(error.trouble, Trouble::Forbidden, "{name}: {error:?}");
    }
    assert_eq!(server.hosts(), Vec::<String>::new());
}

#[tokio::test]
async fn a_name_that_answers_otherwise_the_second_time_is_looked_at_anew() {
    let server = Server::start().await;
    let last = server.url("late.example", "/a.png");
    assert!(server.fetch(&last).await.is_ok(), "the first time it is public");
    let error = server.fetch(&server.chain(&["late.example"], last.as_str())).await.unwrap_err();
    assert_eq!(error.trouble, Trouble::Forbidden, "{error:?}");
    assert_eq!(server.hosts(), ["late.example", "late.example"], "the redirect's second lookup led home");
}

#[tokio::test]
async fn a_host_behind_nat64_is_what_the_address_inside_is() {
    let server = Server::start().await;
    assert!(server.fetch(&server.url("nat64.example", "/a.png")).await.is_ok());
}

#[tokio::test]
async fn a_network_that_is_allowed_is_reached_at_every_hop() {
    let server = Server::start().await;
    let networks = ["198.18.0.0/15", "10.0.0.0/24"].iter().map(|net| net.parse().unwrap()).collect();
    let guard = Guard { networks, ..Guard::default() };
    let last = server.url("inside.example", "/a.png");
    let url = server.chain(&["fake.example"], last.as_str());
    assert!(server.fetch_by(DownloadRules { guard: guard.clone(), ..rules() }, &url).await.is_ok());
    let home = server.chain(&["fake.example"], server.url("home.example", "/a.png").as_str());
    let error = server.fetch_by(DownloadRules { guard, ..rules() }, &home).await.unwrap_err();
    assert_eq!(error.trouble, Trouble::Forbidden, "{error:?}");
}

#[tokio::test]
async fn http_is_asked_for_over_https_at_every_hop() {
    let server = Server::start().await;
    let insecure = server.http_url("cdn.example", "/a.png?sig=1");
    assert!(server.fetch(&insecure).await.is_ok(), "the provider's own URL");
    assert!(server.fetch(&server.chain(&["other.example"], insecure.as_str())).await.is_ok(), "a redirect");
    assert_eq!(server.hosts(), ["cdn.example", "other.example", "cdn.example"]);
    // A host that redirects from https to http again and again never ends.
    let endless = server.http_url("cdn.example", "/loop");
    let error = server.fetch(&endless).await.unwrap_err();
    assert_eq!(error.trouble, Trouble::Redirects, "{error:?}");
}

/// One port where TLS is not spoken, and one where no server listens.
#[tokio::test]
async fn http_without_https_is_the_hosts_fault() {
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let port = plain.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = plain.accept().await {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    for port in [port, closed] {
        let server = Server { port, heads: Arc::default() };
        let error = server.fetch(&server.http_url("cdn.example", "/a.png?sig=SECRET")).await.unwrap_err();
        assert_eq!(error.trouble, Trouble::NoHttps, "{error:?}");
        assert!(!error.to_string().contains("SECRET"), "{error}");
        let error = server.fetch(&server.url("cdn.example", "/a.png")).await.unwrap_err();
        assert!(matches!(error.trouble, Trouble::Tls | Trouble::Unreachable), "{error:?}");
    }
}

/// The tests' certificate is signed by an authority that no system knows.
#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_told_as_such() {
    let server = Server::start().await;
    let downloader = Downloader::new(DownloadRules {
        guard: Guard { allow_private_hosts: true, ..Guard::default() },
        ..rules()
    });
    let url = Url::parse(&format!("https://localhost:{}/a.png", server.port)).unwrap();
    let error = downloader.unwrap().fetch(&url).await.unwrap_err();
    assert_eq!(error.trouble, Trouble::Tls, "{error:?}");
}
