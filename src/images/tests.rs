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

const RULES: DownloadRules = DownloadRules {
    allow_private_hosts: true,
    max_bytes: 10_000,
    timeout: Duration::from_millis(800),
    max_redirects: 3,
};

fn png() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 4, 3);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[9; 36]).unwrap();
    writer.finish().unwrap();
    bytes
}

/// The head of a picture that would be 60 GB in memory.
fn pixel_bomb() -> Vec<u8> {
    let size = 120_000_u32.to_be_bytes();
    [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(), &size, &size, &[8, 6, 0, 0, 0, 0, 0, 0, 0]].concat()
}

/// The server of the results: what it does is in the path.
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
        Downloader::new(RULES).unwrap().fetch(&url).await
    }
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
    for path in ["/ok?Expires=1&pkey=SECRET", "/hop3", "/hop1"] {
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
    for path in ["/400", "/401", "/403", "/404", "/410"] {
        assert!(matches!(server.fetch(path).await, Err(FetchError::Gone(_))), "{path}");
    }
    for path in ["/500", "/502", "/503", "/429", "/408", "/202", "/204", "/drip"] {
        assert!(matches!(server.fetch(path).await, Err(FetchError::Again(_))), "{path}");
    }
    for path in [
        "/html",
        "/magic",
        "/empty",
        "/large",
        "/endless",
        "/loop",
        "/nowhere",
        "/to-public-http",
        "/to-file",
        "/to-metadata",
        "/to-user",
        "/hop-to-metadata",
        "/hop4",
        "/gzip",
        "/pixels",
        "/451",
        "/304",
    ] {
        let error = server.fetch(&format!("{path}?sig=SECRET")).await.unwrap_err();
        assert!(matches!(error, FetchError::Invalid(_)), "{path}: {error:?}");
        assert!(!error.to_string().contains("SECRET"), "{error}");
    }
}

#[tokio::test]
async fn three_redirects_are_followed_and_no_more() {
    let server = Server::start().await;
    let rules = DownloadRules { max_redirects: 2, ..RULES };
    let url = server.base.join("/hop3").unwrap();
    let error = Downloader::new(rules).unwrap().fetch(&url).await.unwrap_err();
    assert_eq!(
        error,
        FetchError::Invalid(format!(
            "{}/ok: more than 2 redirects",
            place(&server.base).trim_end_matches('/')
        ))
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
        let error = Downloader::new(RULES).unwrap().fetch(&url).await.unwrap_err();
        assert!(matches!(error, FetchError::Again(_)), "{error:?}");
        assert!(!error.to_string().contains("SECRET"), "{error}");
    }
}

/// With private hosts refused nothing of this machine answers: not by http, not by address, not by
/// name, and not behind a redirect.
#[tokio::test]
async fn our_own_network_is_out_of_reach() {
    let server = Server::start().await;
    let port = server.base.port().unwrap();
    let strict = Downloader::new(DownloadRules { allow_private_hosts: false, ..RULES }).unwrap();
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
        assert!(matches!(error, FetchError::Invalid(_)), "{url}: {error:?}");
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
    let guard = Guard { allow_private_hosts: false };
    for location in ["https://127.0.0.1/", "//127.1/", "http://169.254.169.254/", "//[::1]/", "http:/x"] {
        let next = next_url(&url, &reply(location)).unwrap();
        assert!(guard.reach(&next).is_err(), "{location} became {next}");
    }
    let next = next_url(&url, &reply("../c.png")).unwrap();
    assert_eq!(next.as_str(), "https://cdn.klingai.com/c.png");
    assert!(guard.reach(&next).is_ok());
}
