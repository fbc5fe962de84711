//! What can be wrong with the files behind a task's URLs.

use std::{io, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use futures_util::stream;

use crate::faults::Fault;

/// More than any picture has.
const OVERSIZE: u64 = 4 << 30;
const CHUNK: usize = 64 * 1024;
const HOPS: u8 = 2;

/// What a download of a good file becomes.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content_type: &'static str,
    /// The address that was asked for.
    pub(crate) url: String,
    /// Redirects that led here.
    pub(crate) hops: u8,
    pub(crate) slow: Duration,
    /// What the client calls itself.
    pub(crate) agent: String,
}

type Serve = fn(File) -> Response;

pub(crate) static FILES: &[(Fault, Serve)] = &[
    (Fault::FileShort, |file| {
        let all = file.bytes.len();
        let half: Vec<u8> = file.bytes.into_iter().take(all / 2).collect();
        let body = Body::from_stream(stream::iter([Ok::<_, io::Error>(half)]));
        (
            [(header::CONTENT_TYPE, file.content_type.to_owned()), (header::CONTENT_LENGTH, all.to_string())],
            body,
        )
            .into_response()
    }),
    (Fault::FileRedirects, |file| {
        if file.hops < HOPS {
            let url = file.url.split_once("&hops=").map_or(&*file.url, |(url, _)| url);
            return Redirect::temporary(&format!("{url}&hops={}", file.hops + 1)).into_response();
        }
        whole(file)
    }),
    (Fault::FileRedirectInside, |_| Redirect::temporary("http://127.0.0.1:1/inside.png").into_response()),
    (Fault::FileHtml, |_| Html("<!doctype html><h1>Not found</h1>").into_response()),
    (Fault::FileSlow, |file| {
        let (content_type, slow) = (file.content_type, file.slow / 8);
        let size = file.bytes.len().div_ceil(8).max(1);
        let parts: Vec<Vec<u8>> = file.bytes.chunks(size).map(<[u8]>::to_vec).collect();
        let drip = stream::unfold(parts.into_iter(), move |mut parts| async move {
            tokio::time::sleep(slow).await;
            parts.next().map(|part| (Ok::<_, io::Error>(part), parts))
        });
        ([(header::CONTENT_TYPE, content_type)], Body::from_stream(drip)).into_response()
    }),
    (Fault::FileOversize, |file| {
        let chunk = Bytes::from(vec![0_u8; CHUNK]);
        let first = stream::iter([Ok::<_, io::Error>(Bytes::from(file.bytes))]);
        let more = stream::repeat_with(move || Ok(chunk.clone()));
        let body = Body::from_stream(futures_util::StreamExt::chain(first, more));
        let length = OVERSIZE.to_string();
        ([(header::CONTENT_TYPE, file.content_type.to_owned()), (header::CONTENT_LENGTH, length)], body)
            .into_response()
    }),
    (Fault::FileHalf, |file| {
        let half = half(&file);
        (StatusCode::OK, [(header::CONTENT_TYPE, file.content_type)], half).into_response()
    }),
    (Fault::FileHalfChunked, |file| {
        let half = stream::iter([Ok::<_, io::Error>(half(&file))]);
        ([(header::CONTENT_TYPE, file.content_type)], Body::from_stream(half)).into_response()
    }),
    (Fault::FileStalls, |file| {
        let half = stream::iter([Ok::<_, io::Error>(half(&file))]);
        let body = Body::from_stream(futures_util::StreamExt::chain(half, stream::pending()));
        ([(header::CONTENT_TYPE, file.content_type)], body).into_response()
    }),
    (Fault::FileTrailing, |mut file| {
        file.bytes.extend_from_slice(b"\0\0and some notes");
        whole(file)
    }),
    (Fault::FileFillByte, |mut file| {
        if file.bytes.starts_with(&[0xff, 0xd8]) {
            file.bytes.insert(2, 0xff);
        }
        whole(file)
    }),
    (Fault::FilePartial, |file| {
        (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_TYPE, file.content_type)], file.bytes).into_response()
    }),
    (Fault::FileRefusesAgent, |file| {
        if file.agent.starts_with("comet-worker") {
            return (StatusCode::FORBIDDEN, Html("<h1>403 Forbidden</h1>")).into_response();
        }
        whole(file)
    }),
    (Fault::FileXml, |_| {
        let xml = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>";
        ([(header::CONTENT_TYPE, "application/xml")], xml).into_response()
    }),
    (Fault::FileGif, |_| {
        let gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
        ([(header::CONTENT_TYPE, "image/png")], gif.to_vec()).into_response()
    }),
    (Fault::FileGzip, |file| {
        // Its header says gzip; no code here unpacks it.
        let body = [b"\x1f\x8b\x08\0\0\0\0\0\0\xff", &file.bytes[..]].concat();
        ([(header::CONTENT_TYPE, file.content_type), (header::CONTENT_ENCODING, "gzip")], body)
            .into_response()
    }),
    (Fault::FileRedirectLoop, |file| Redirect::temporary(&file.url).into_response()),
    // These two need more than the file: see the download itself.
    (Fault::FileMissingAtFirst, whole),
    (Fault::FileHangsUp, whole),
];

fn half(file: &File) -> Vec<u8> {
    file.bytes.iter().take(file.bytes.len() / 2).copied().collect()
}

pub(crate) fn serve(fault: Option<Fault>, file: File) -> Response {
    match FILES.iter().find(|(named, _)| Some(*named) == fault) {
        Some((_, serve)) => serve(file),
        None => whole(file),
    }
}

fn whole(file: File) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, file.content_type)], file.bytes).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    const URL: &str = "/cdn/1/0.png?Expires=60&pkey=ff";
    const BYTES: [u8; 100] = [7; 100];

    fn file(hops: u8) -> File {
        let url = if hops == 0 { URL.to_owned() } else { format!("{URL}&hops={hops}") };
        File {
            bytes: BYTES.to_vec(),
            content_type: "image/png",
            url,
            hops,
            slow: Duration::from_secs(8),
            agent: "a/1".to_owned(),
        }
    }

    fn said(response: &Response, name: header::HeaderName) -> &str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    async fn bytes(response: Response) -> Vec<u8> {
        to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()
    }

    #[tokio::test]
    async fn a_file_with_nothing_wrong_is_whole() {
        let response = serve(None, file(0));
        assert_eq!((response.status(), said(&response, header::CONTENT_TYPE)), (StatusCode::OK, "image/png"));
        assert_eq!(bytes(response).await, BYTES);
    }

    #[tokio::test]
    async fn a_short_one_announces_twice_what_it_has() {
        let response = serve(Some(Fault::FileShort), file(0));
        assert_eq!(said(&response, header::CONTENT_LENGTH), "100");
        assert_eq!(bytes(response).await.len(), 50);
    }

    #[tokio::test]
    async fn redirects_lead_to_the_file_after_two_hops() {
        for (hops, next) in [(0, format!("{URL}&hops=1")), (1, format!("{URL}&hops=2"))] {
            let response = serve(Some(Fault::FileRedirects), file(hops));
            assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
            assert_eq!(said(&response, header::LOCATION), next);
        }
        assert_eq!(bytes(serve(Some(Fault::FileRedirects), file(2))).await, BYTES);
    }

    #[test]
    fn a_redirect_inside_leads_to_this_machine() {
        let response = serve(Some(Fault::FileRedirectInside), file(0));
        assert!(response.status().is_redirection());
        assert_eq!(said(&response, header::LOCATION), "http://127.0.0.1:1/inside.png");
    }

    #[tokio::test]
    async fn html_comes_with_200() {
        let response = serve(Some(Fault::FileHtml), file(0));
        assert_eq!(response.status(), StatusCode::OK);
        assert!(bytes(response).await.starts_with(b"<!doctype html>"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_one_takes_its_time_and_is_whole() {
        let began = tokio::time::Instant::now();
        assert_eq!(bytes(serve(Some(Fault::FileSlow), file(0))).await, BYTES);
        assert!(began.elapsed() >= Duration::from_secs(8), "of the paused clock");
    }

    #[tokio::test]
    async fn an_oversized_one_announces_more_than_any_picture_and_goes_on_and_on() {
        let response = serve(Some(Fault::FileOversize), file(0));
        assert_eq!(said(&response, header::CONTENT_LENGTH), OVERSIZE.to_string());
        assert!(to_bytes(response.into_body(), 8 << 20).await.is_err(), "more than 8 MiB come");
    }
}
