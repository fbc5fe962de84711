//! What can be wrong with the files that a task's URLs lead to.

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
];

pub(crate) fn serve(fault: Option<Fault>, file: File) -> Response {
    match FILES.iter().find(|(named, _)| Some(*named) == fault) {
        Some((_, serve)) => serve(file),
        None => whole(file),
    }
}

fn whole(file: File) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, file.content_type)], file.bytes).into_response()
}
