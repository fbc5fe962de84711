//! The connections under HTTP. They are counted, and one can be cut before its reply, or throttled to single bytes,
//! which HTTP itself can't express.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Instant, Sleep, sleep_until},
};

/// How many connections are open, and the most that ever were.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: AtomicU64,
    open_max: AtomicU64,
}

impl Connections {
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn open_max(&self) -> u64 {
        self.open_max.load(Ordering::Relaxed)
    }
}

/// Accepts connections and counts them.
#[derive(Debug)]
pub(crate) struct Wires {
    pub(crate) listener: TcpListener,
    pub(crate) connections: Arc<Connections>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    scissors: Scissors,
    /// Until the next byte of a reply that drips.
    pause: Option<Pin<Box<Sleep>>>,
    connections: Arc<Connections>,
}

/// Cuts the connection that a request came on, or throttles it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scissors {
    cut: Arc<AtomicBool>,
    /// Microseconds between two bytes of the reply; 0: all at once.
    drip_us: Arc<AtomicU64>,
}

impl Scissors {
    /// The next byte written to the connection closes it instead.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// Until the next request, bytes are written one at a time, so far apart.
    pub(crate) fn drip(&self, apart: Duration) {
        self.drip_us.store(u64::try_from(apart.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, Wires>> for Scissors {
    fn connect_info(stream: IncomingStream<'_, Wires>) -> Self {
        stream.io().scissors.clone()
    }
}

impl Listener for Wires {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        // Without it, small replies can wait for 40 ms; a connection that refuses works all the same.
        let _ = stream.set_nodelay(true);
        let open = self.connections.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.connections.open_max.fetch_max(open, Ordering::Relaxed);
        let wire = Wire {
            stream,
            scissors: Scissors::default(),
            pause: None,
            connections: Arc::clone(&self.connections),
        };
        (wire, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut wire.stream).poll_read(cx, buf));
        if buf.filled().len() > before {
            wire.scissors.drip(Duration::ZERO);
        }
        Poll::Ready(read)
    }
}

impl Wire {
    fn uncut(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        let wire = self.get_mut();
        if wire.scissors.cut.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(Pin::new(&mut wire.stream))
    }

    /// How many of so many bytes may be written now.
    fn poll_allowance(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<usize> {
        let apart = Duration::from_micros(self.scissors.drip_us.load(Ordering::Relaxed));
        if apart.is_zero() {
            return Poll::Ready(bytes);
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
        }
        self.pause = Some(Box::pin(sleep_until(Instant::now() + apart)));
        Poll::Ready(bytes.min(1))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let allowed = ready!(self.poll_allowance(cx, buf.len()));
        self.uncut()?.poll_write(cx, buf.get(..allowed).unwrap_or(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = bufs.iter().map(|buf| buf.len()).sum();
        let allowed = ready!(self.poll_allowance(cx, bytes));
        let stream = self.uncut()?;
        match bufs.iter().find(|buf| !buf.is_empty()) {
            Some(first) if allowed < bytes => stream.poll_write(cx, first.get(..allowed).unwrap_or(first)),
            Some(_) | None => stream.poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Both ends of one connection.
    async fn connection() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut wires = Wires { listener, connections: Arc::new(Connections::default()) };
        (Listener::accept(&mut wires).await.0, client)
    }

    #[tokio::test]
    async fn bytes_that_drip_go_one_at_a_time_until_the_next_request() {
        let (mut wire, mut client) = connection().await;
        wire.scissors.drip(Duration::from_micros(1));
        assert_eq!(wire.write(b"slow").await.unwrap(), 1);
        assert_eq!(wire.write_vectored(&[io::IoSlice::new(b""), io::IoSlice::new(b"low")]).await.unwrap(), 1);
        client.write_all(b"next").await.unwrap();
        wire.read_exact(&mut [0; 4]).await.unwrap();
        assert_eq!(wire.write(b"quick").await.unwrap(), 5);
        let mut read = [0; 7];
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"slquick");
    }

    #[tokio::test]
    async fn what_is_cut_takes_no_byte_more() {
        let (mut wire, mut client) = connection().await;
        wire.scissors.cut();
        wire.write(b"x").await.unwrap_err();
        drop(wire);
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
