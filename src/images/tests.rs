use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap as Headers, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response as Reply};
use axum::routing::get;
use futures_util::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::job::step::Blame;

fn rules() -> DownloadRules {
    DownloadRules {
        certificates: Default::default(),
        guard: Guard { allow_private_hosts: true, ..Guard::default() },
        image: Bounds { max_bytes: 10_000, timeout: Duration::from_millis(800) },
        media: Bounds { max_bytes: 10_000, timeout: Duration::from_millis(800) },
        silence: Duration::from_millis(800),
        max_redirects: 3,
        proxy: SecretString::default(),
        user_agent: "a-test/1".to_owned(),
    }
}

fn png() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 4, 3);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[9; 36]).unwrap();
    writer.finish().unwrap();
    bytes
}

/// The head of a picture that would take 60 GB in memory.
fn pixel_bomb() -> Vec<u8> {
    let size = 120_000_u32.to_be_bytes();
    [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(), &size, &size, &[8, 6, 0, 0, 0, 0, 0, 0, 0]].concat()
}

/// The server of the results; the path says what it does.
struct Server {
    base: Url,
    seen: Arc<Mutex<Vec<Headers>>>,
}

impl Server {
    async fn start() -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        let serve = move |Path(act): Path<String>, headers: Headers| {
            kept.lock().unwrap().push(headers);
            async move { reply(&act) }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let router = Router::new().route("/{act}", get(serve));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base, seen }
    }

    async fn fetch(&self, path: &str) -> Result<Image, FetchError> {
        let url = self.base.join(path).unwrap();
        Downloader::new(rules()).unwrap().fetch(&url).await
    }
}

/// A whole picture, of which the host says that it is this range.
fn ranged(range: String) -> Reply {
    (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, range)], png()).into_response()
}

fn reply(act: &str) -> Reply {
    let chunks =
        |chunks: Vec<Vec<u8>>| Body::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, Infallible>)));
    match act {
        "ok" => ([(header::CONTENT_TYPE, "text/plain")], png()).into_response(),
        "hop3" => Redirect::temporary("/hop2").into_response(),
        "hop2" => Redirect::permanent("hop1?x=SECRET").into_response(),
        "hop1" => Redirect::to("/ok").into_response(),
        "loop" => Redirect::to("/loop").into_response(),
        "nowhere" => StatusCode::FOUND.into_response(),
        "to-public-http" => Redirect::to("http://8.8.8.8/a.png?x=SECRET").into_response(),
        "to-metadata" => Redirect::to("http://169.254.0.1/latest/meta-data/?x=SECRET").into_response(),
        "to-user" => Redirect::to("https://user:SECRET@127.0.0.1/a.png").into_response(),
        "hop-to-metadata" => Redirect::to("/to-metadata").into_response(),
        "hop4" => Redirect::to("/hop3").into_response(),
        "gzip" => {
            ([(header::CONTENT_ENCODING, "gzip")], b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec()).into_response()
        }
        "pixels" => pixel_bomb().into_response(),
        "to-file" => Redirect::to("file:///etc/passwd").into_response(),
        "xml" => "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>".into_response(),
        "cut" => png()[..50].to_vec().into_response(),
        "33-bytes" => png()[..33].to_vec().into_response(),
        "gif" => b"GIF89a\x01\0\x01\0\0\0\0\x3b".to_vec().into_response(),
        "chunked" => chunks(png().chunks(7).map(<[u8]>::to_vec).collect()).into_response(),
        "behind" => chunks(vec![png(), b"behind".to_vec()]).into_response(),
        "203" | "206" => (StatusCode::from_bytes(act.as_bytes()).unwrap(), png()).into_response(),
        "all-of-it" => ranged(format!("bytes 0-{}/{}", png().len() - 1, png().len())),
        "first-part" => ranged("bytes 0-99/90000".to_owned()),
        "last-part" => ranged("bytes 400-499/500".to_owned()),
        "html" => ([(header::CONTENT_TYPE, "image/png")], "<html>expired</html>").into_response(),
        "magic" => ([(header::CONTENT_TYPE, "image/png")], vec![7; 64]).into_response(),
        "empty" => StatusCode::OK.into_response(),
        "large" => vec![0; 10_001].into_response(),
        "endless" => chunks(vec![vec![0; 4_000]; 100]).into_response(),
        "drip" => Body::from_stream(stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Some((Ok::<_, Infallible>(vec![0_u8]), ()))
        }))
        .into_response(),
        status => StatusCode::from_bytes(status.as_bytes()).unwrap().into_response(),
    }
}

#[tokio::test]
async fn an_image_is_what_its_bytes_are() {
    let server = Server::start().await;
    for path in ["/ok?Expires=1&pkey=SECRET", "/hop3", "/hop1", "/206", "/all-of-it"] {
        let image = server.fetch(path).await.unwrap();
        assert_eq!(image, Image::of(png().into()).unwrap());
        assert_eq!((image.content_type, image.extension), ("image/png", "png"));
        assert_eq!((image.width, image.height), (4, 3));
        assert_eq!(image.sha256.len(), 64);
    }
    for headers in server.seen.lock().unwrap().iter() {
        for secret in ["authorization", "cookie", "referer", "proxy-authorization"] {
            assert!(!headers.contains_key(secret), "{headers:?}");
        }
    }
}

#[tokio::test]
async fn the_error_says_what_to_do() {
    let server = Server::start().await;
    for (paths, expected) in [
        (&["/400", "/401", "/403", "/404", "/410", "/451", "/406"][..], &[Trouble::Spent(0)][..]),
        (&["/500", "/502", "/503", "/429", "/408", "/425", "/202", "/204", "/304"], &[Trouble::Failing(0)]),
        (&["/407", "/511"], &[Trouble::Login(0)]),
        (&["/html", "/magic", "/empty", "/gzip", "/xml"], &[Trouble::NoPicture]),
        (&["/cut", "/33-bytes", "/first-part", "/last-part"], &[Trouble::Cut]),
        (&["/gif", "/pixels"], &[Trouble::AnotherKind]),
        (&["/large", "/endless"], &[Trouble::TooLarge]),
        (
            &["/loop", "/nowhere", "/hop4", "/to-file", "/to-metadata", "/to-user", "/hop-to-metadata"],
            &[Trouble::Redirects],
        ),
        // The URL is upgraded to https, which leads nowhere in a network without a way out.
        (&["/to-public-http"], &[Trouble::NoHttps, Trouble::Spent(0)]),
        (&["/drip"], &[Trouble::Slow]),
    ] {
        for path in paths {
            let error = server.fetch(&format!("{path}?sig=SECRET")).await.unwrap_err();
            let is_alike =
                |trouble: &Trouble| std::mem::discriminant(trouble) == std::mem::discriminant(&error.trouble);
            assert!(expected.iter().any(is_alike), "{path}: {error:?}");
            assert!(!error.to_string().contains("SECRET"), "{error}");
        }
    }
}

/// Whatever a header says, the picture itself shows whether it is complete, and data behind it does no harm.
#[tokio::test]
async fn a_picture_is_whole_by_its_own_structure() {
    let server = Server::start().await;
    for path in ["/203", "/206", "/chunked", "/behind"] {
        let image = server.fetch(path).await.unwrap();
        let expected = if path == "/behind" { [&png()[..], b"behind"].concat() } else { png() };
        assert_eq!(image, Image::of(expected.into()).unwrap(), "{path}");
    }
}

#[tokio::test]
async fn downloads_introduce_themselves_as_configured() {
    let server = Server::start().await;
    server.fetch("/ok").await.unwrap();
    let seen = server.seen.lock().unwrap();
    assert_eq!(seen[0]["user-agent"], "a-test/1");
}

/// A proxy for https and http that leads everything to one server and records its requests.
async fn proxy(to: u16, asked: Arc<Mutex<Vec<String>>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let asked = Arc::clone(&asked);
            tokio::spawn(async move {
                let mut head = vec![0; 16 * 1024];
                let read = socket.read(&mut head).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&head[..read]).into_owned();
                asked.lock().unwrap().push(text.lines().next().unwrap_or_default().to_owned());
                let mut behind = tokio::net::TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                if text.starts_with("CONNECT") {
                    let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                } else {
                    let _ = behind.write_all(&head[..read]).await;
                }
                let _ = tokio::io::copy_bidirectional(&mut socket, &mut behind).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn where_only_a_proxy_leads_out_it_is_asked_by_name_and_literals_are_still_judged() {
    let server = Server::start().await;
    let asked = Arc::default();
    let port = proxy(server.base.port().unwrap(), Arc::clone(&asked)).await;
    let by = |guard| DownloadRules { proxy: format!("http://u:p@127.0.0.1:{port}").into(), guard, ..rules() };
    let lax = Downloader::new(by(Guard { allow_private_hosts: true, ..Guard::default() })).unwrap();
    // No resolver here knows this name.
    let url = Url::parse("http://cdn.nowhere.example/ok?sig=1").unwrap();
    assert!(lax.fetch(&url).await.is_ok());
    assert_eq!(*asked.lock().unwrap(), ["GET http://cdn.nowhere.example/ok?sig=1 HTTP/1.1"]);

    let strict = Downloader::new(by(Guard::default())).unwrap();
    asked.lock().unwrap().clear();
    let error = strict.fetch(&Url::parse("https://cdn.nowhere.example/ok").unwrap()).await.unwrap_err();
    assert_eq!(error.trouble, Trouble::Tls, "{error:?}");
    assert_eq!(*asked.lock().unwrap(), ["CONNECT cdn.nowhere.example:443 HTTP/1.1"]);
    for literal in
        ["https://127.0.0.1/ok", "https://10.0.0.1/ok", "https://[::1]/ok", "https://169.254.169.254/"]
    {
        let error = strict.fetch(&Url::parse(literal).unwrap()).await.unwrap_err();
        assert_eq!(error.trouble, Trouble::BadUrl, "{literal}: {error:?}");
    }
    assert_eq!(asked.lock().unwrap().len(), 1, "the proxy is asked for none of them");
}

#[tokio::test]
async fn a_proxy_that_is_away_or_refuses_is_the_networks_fault() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refuses = refusing.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = refusing.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
            let _ = socket.write_all(refusal).await;
        }
    });
    for (port, url) in [
        (closed, "https://cdn.nowhere.example/a.png"),
        (refuses, "https://cdn.nowhere.example/a.png"),
        (refuses, "http://cdn.nowhere.example/a.png"),
    ] {
        let guard = Guard { allow_private_hosts: true, ..Guard::default() };
        let proxy = format!("http://name:SECRET@127.0.0.1:{port}").into();
        let downloader = Downloader::new(DownloadRules { guard, proxy, ..rules() }).unwrap();
        let error = downloader.fetch(&Url::parse(url).unwrap()).await.unwrap_err();
        assert_eq!(error.trouble.blame(), Blame::Network, "{port} {url}: {error:?}");
        assert!(!error.to_string().contains("SECRET"), "{error}");
    }
}

#[tokio::test]
async fn three_redirects_are_followed_and_no_more() {
    let server = Server::start().await;
    let rules = DownloadRules { max_redirects: 2, ..rules() };
    let url = server.base.join("/hop3").unwrap();
    let error = Downloader::new(rules).unwrap().fetch(&url).await.unwrap_err();
    assert_eq!(
        error,
        FetchError::new(
            Trouble::Redirects,
            format!("{}/ok: more than 2 redirects", place(&server.base).trim_end_matches('/'))
        )
    );
    assert!(server.fetch("/hop3").await.is_ok());
}

#[tokio::test]
async fn a_slow_drip_ends_in_time() {
    let server = Server::start().await;
    let started = Instant::now();
    assert!(server.fetch("/drip").await.is_err());
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_short_body_or_a_reset_is_tried_again() {
    let png = png();
    for (length, sent) in [(png.len() + 1, png.as_slice()), (png.len(), &png[..20]), (9, b"")] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/a?sig=SECRET", listener.local_addr().unwrap())).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        let reply = [head.as_bytes(), sent].concat();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 1024]).await;
            socket.write_all(&reply).await.unwrap();
        });
        let error = Downloader::new(rules()).unwrap().fetch(&url).await.unwrap_err();
        assert!(error.trouble.may_pass(), "{error:?}");
        assert!(!error.to_string().contains("SECRET"), "{error}");
    }
}

/// With private hosts refused, nothing on this machine answers: not by http, by address, by name, or behind a
/// redirect.
#[tokio::test]
async fn our_own_network_is_out_of_reach() {
    let server = Server::start().await;
    let port = server.base.port().unwrap();
    let strict = Downloader::new(DownloadRules { guard: Guard::default(), ..rules() }).unwrap();
    for url in [
        format!("http://127.0.0.1:{port}/ok"),
        format!("http://localhost:{port}/ok"),
        format!("https://127.0.0.1:{port}/ok?sig=SECRET"),
        format!("https://localhost:{port}/ok?sig=SECRET"),
        format!("https://[::ffff:127.0.0.1]:{port}/ok"),
        format!("https://2130706433:{port}/ok"),
        "https://169.254.169.254/latest/meta-data/".to_owned(),
        "https://user:SECRET@cdn.klingai.com/a.png".to_owned(),
    ] {
        let error = strict.fetch(&Url::parse(&url).unwrap()).await.unwrap_err();
        let expected = if url.contains("localhost") { Trouble::Forbidden } else { Trouble::BadUrl };
        assert_eq!(error.trouble, expected, "{url}: {error:?}");
        assert!(!error.to_string().contains("SECRET"), "{error}");
    }
    assert!(server.seen.lock().unwrap().is_empty());
}

/// A redirect is a new URL: each hop is checked like the first.
#[test]
fn a_redirect_home_is_checked_like_any_url() {
    let reply = |location: &'static str| {
        let reply = axum::http::Response::builder().status(302).header(LOCATION, location);
        Response::from(reply.body("").unwrap())
    };
    let url = Url::parse("https://cdn.klingai.com/a/b.png?sig=SECRET").unwrap();
    let guard = Guard::default();
    for location in ["https://127.0.0.1/", "//127.1/", "http://169.254.169.254/", "//[::1]/", "http:/x"] {
        let next = next_url(&url, &reply(location)).unwrap();
        assert!(guard.reach(&next).is_err(), "{location} became {next}");
    }
    let next = next_url(&url, &reply("../c.png")).unwrap();
    assert_eq!(next.as_str(), "https://cdn.klingai.com/c.png");
    assert!(guard.reach(&next).is_ok());
}

/// Some gateways put the image into their reply.
#[tokio::test]
async fn an_image_in_a_data_url_is_read_without_a_request() {
    use base64::Engine as _;
    let downloader = Downloader::new(DownloadRules { guard: Guard::default(), ..rules() }).unwrap();
    let encoded = base64::engine::general_purpose::STANDARD.encode(png());
    let fetch = async |text: String| downloader.fetch(&Url::parse(&text).unwrap()).await;
    let image = fetch(format!("data:image/png;base64,{encoded}")).await.unwrap();
    assert_eq!(image, Image::of(png().into()).unwrap());
    let unpadded = encoded.trim_end_matches('=').to_owned();
    assert!(fetch(format!("DATA:image/jpeg;base64,{unpadded}")).await.is_ok(), "by its bytes");
    let half = encoded[..encoded.len() / 8 * 4].to_owned();
    for (text, trouble) in [
        (format!("data:image/png;base64,{half}"), Trouble::Cut),
        ("data:image/png;base64,?".to_owned(), Trouble::NoPicture),
        ("data:text/html,<h1>hello</h1>".to_owned(), Trouble::BadUrl),
        (format!("data:image/png;base64,{}", "A".repeat(20_000)), Trouble::TooLarge),
    ] {
        let error = fetch(text).await.unwrap_err();
        assert_eq!(error.trouble, trouble, "{error}");
        assert!(error.message.len() < 200, "{error}");
    }
}
