//! Bounds the connections of our ports: their number, and how long one may be silent or not read its answer.
//!
//! If all places are taken, the connection that has moved no bytes for the longest time is closed for the new one.
//! Without that, a thousand idle connections, or clients that send requests and never read, would keep the
//! orchestrator from `/livez`, and it would restart a healthy worker.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep};

/// A client that sends nothing for this long is disconnected.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A client that reads nothing of its answer for this long is disconnected.
const STALL_MAX: Duration = Duration::from_secs(10);

/// Accepts connections, `connections_max` at a time.
pub struct BoundedListener {
    listener: TcpListener,
    connections_max: usize,
    open: Open,
}

type Open = Arc<Mutex<Connections>>;

#[derive(Debug, Default)]
struct Connections {
    next: u64,
    by_number: BTreeMap<u64, OpenConnection>,
}

#[derive(Debug)]
struct OpenConnection {
    /// When bytes were last read or written.
    moved: Instant,
    /// Dropped to close the connection.
    _keep: oneshot::Sender<()>,
}

/// An accepted connection.
pub struct Connection {
    stream: TcpStream,
    number: u64,
    open: Open,
    /// Resolves when the connection has to be closed for another one.
    evicted: oneshot::Receiver<()>,
    silence: Pin<Box<Sleep>>,
    /// Set while the client reads nothing.
    stall: Option<Pin<Box<Sleep>>>,
}

impl BoundedListener {
    #[must_use]
    pub fn new(listener: TcpListener, connections_max: usize) -> Self {
        Self { listener, connections_max, open: Arc::default() }
    }

    fn admit(&self, stream: TcpStream) -> Connection {
        let (keep, evicted) = oneshot::channel();
        let mut open = lock(&self.open);
        while open.by_number.len() >= self.connections_max {
            let idlest =
                open.by_number.iter().min_by_key(|(_, place)| place.moved).map(|(number, _)| *number);
            let Some(idlest) = idlest else { break };
            open.by_number.remove(&idlest);
        }
        let number = open.next;
        open.next += 1;
        open.by_number.insert(number, OpenConnection { moved: Instant::now(), _keep: keep });
        drop(open);
        let (open, silence) = (Arc::clone(&self.open), Box::pin(sleep(SILENCE_MAX)));
        Connection { stream, number, open, evicted, silence, stall: None }
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (self.admit(stream), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connection {
    /// Returns an error once the connection has to be closed for another one.
    fn still_admitted(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match Pin::new(&mut self.evicted).poll(cx) {
            Poll::Ready(_) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }

    fn moved(&mut self) {
        let now = Instant::now();
        if let Some(place) = lock(&self.open).by_number.get_mut(&self.number) {
            place.moved = now;
        }
        self.silence.as_mut().reset(now + SILENCE_MAX);
        self.stall = None;
    }

    /// Returns the result of a write, or an error if the client has read nothing for too long.
    fn bounded<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.moved();
            return written;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(STALL_MAX)));
        stall.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        lock(&self.open).by_number.remove(&self.number);
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let connection = self.get_mut();
        connection.still_admitted(cx)?;
        if let Poll::Ready(read) = Pin::new(&mut connection.stream).poll_read(cx, buf) {
            connection.moved();
            return Poll::Ready(read);
        }
        connection.silence.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let connection = self.get_mut();
        connection.still_admitted(cx)?;
        let written = Pin::new(&mut connection.stream).poll_write(cx, buf);
        connection.bounded(written, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connection = self.get_mut();
        connection.still_admitted(cx)?;
        let flushed = Pin::new(&mut connection.stream).poll_flush(cx);
        if flushed.is_ready() { flushed } else { connection.bounded(flushed, cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

fn lock(open: &Open) -> MutexGuard<'_, Connections> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const MAX: usize = 4;

    async fn serve() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let page = Router::new().route("/", get(async || "x".repeat(100_000)));
        tokio::spawn(axum::serve(BoundedListener::new(listener, MAX), page).into_future());
        address
    }

    async fn is_answered(address: SocketAddr) {
        let page = reqwest::get(format!("http://{address}/")).await.unwrap();
        assert_eq!(page.status(), 200);
        assert_eq!(page.text().await.unwrap().len(), 100_000);
    }

    #[tokio::test]
    async fn idle_connections_make_way_for_a_new_one() {
        let address = serve().await;
        let mut idle = Vec::new();
        for _ in 0..3 * MAX {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        is_answered(address).await;
        // The first of them was idle for longest, and is closed.
        let mut rest = Vec::new();
        let read = idle[0].read_to_end(&mut rest).await;
        assert!(read.is_err() || rest.is_empty());
    }

    #[tokio::test]
    async fn half_a_head_holds_no_place_that_is_needed() {
        let address = serve().await;
        let mut halves = Vec::new();
        for _ in 0..2 * MAX {
            let mut half = TcpStream::connect(address).await.unwrap();
            half.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").await.unwrap();
            halves.push(half);
        }
        is_answered(address).await;
    }

    #[tokio::test]
    async fn clients_that_ask_and_never_read_hold_no_place_that_is_needed() {
        let address = serve().await;
        let mut deaf = Vec::new();
        for _ in 0..2 * MAX {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(200)).await.unwrap();
            deaf.push(stream);
        }
        is_answered(address).await;
    }

    #[tokio::test]
    async fn a_connection_that_is_in_use_is_not_the_one_to_make_way() {
        let address = serve().await;
        let client = reqwest::Client::builder().pool_max_idle_per_host(1).build().unwrap();
        for _ in 0..3 {
            let idle: Vec<_> =
                futures_util::future::join_all((0..MAX - 1).map(|_| TcpStream::connect(address))).await;
            let page = client.get(format!("http://{address}/")).send().await.unwrap();
            assert_eq!(page.text().await.unwrap().len(), 100_000);
            drop(idle);
        }
    }
}
