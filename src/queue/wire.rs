//! The socket under the client library. RabbitMQ is dialled here, and its bytes are checked here first.
//!
//! If lapin can't read one message, it ends the connection, and with it everything that the connection carries. lapin
//! can't be told to skip that message, but it accepts a stream of ours. `Filtered` stands between the socket (or the
//! TLS on it) and lapin, and passes on what lapin can read. `inbound` says what is changed, and `outbound` has the
//! one number that is changed on the way out.

mod header;
mod inbound;
#[cfg(test)]
mod inbound_tests;
mod kit;
mod large;
#[cfg(test)]
mod large_tests;
mod outbound;
mod seen;

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_rs::Runtime;
use futures_io::{AsyncRead, AsyncWrite};
use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

use self::inbound::{HEARTBEAT, Inbound};
use self::kit::Kit;
use self::outbound::Outbound;
use crate::net::{self, Server, tls};

pub(super) use self::header::{APPENDED, UNREADABLE, WITHHELD};
pub use self::large::{Large, LargeMessagePermit};
pub use self::seen::{Seen, SeenMessage};

/// The longest frame that the broker is asked for. It is RabbitMQ's own default, and a quarter of what lapin's buffer
/// of 32 frames of [`super::FRAME_MAX`] holds. A frame that doesn't fit into the buffer is never sent.
pub(super) const FRAME_MAX: u32 = 128 * 1024;
/// The shortest "longest frame" that AMQP allows.
pub(super) const FRAME_MAX_LEAST: u32 = 4096;

/// Bytes that are read from the socket at a time.
const PIECE: usize = 16 * 1024;

/// How often lapin gets a heartbeat while the body of a large message waits. No byte from the broker is read
/// meanwhile.
const BEAT: Duration = Duration::from_secs(1);
/// The longest such wait. Otherwise the messages behind it would wait for a message whose dead letter no queue
/// accepts.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The longest frame that the broker accepts from us, once a connection has asked; 0 before that.
pub(super) type FrameMax = Arc<AtomicU32>;

/// What the connections of one address share with each other and with the worker.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared {
    pub(super) frame_max: FrameMax,
    pub(super) seen: Seen,
    pub(super) large: Option<Large>,
}

/// Connects lapin over the filtered stream.
///
/// # Errors
///
/// lapin's.
pub(super) async fn connect(
    uri: AMQPUri,
    properties: ConnectionProperties,
    stream: net::Stream,
    shared: Shared,
) -> lapin::Result<Connection> {
    let runtime = Runtime::new(Kit::current());
    // The longest frame of lapin's own; the broker is asked for another number.
    let own = uri.query.frame_max.unwrap_or(super::FRAME_MAX).max(FRAME_MAX_LEAST);
    // lapin asks once, because its own recovery is off.
    let dialled = Arc::new(Mutex::new(Some(stream)));
    let hand_over = async move |_: AMQPUri, _: Runtime<Kit>| {
        let stream = dialled.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stream = stream.ok_or_else(|| io::Error::other("a connection is dialled once"))?;
        Ok(AsyncTcpStream::Plain(Filtered::new(stream.compat(), own, shared.clone())))
    };
    Connection::connector(uri, runtime, hand_over, properties).await
}

/// Opens one connection to a node, by TCP, or by TLS with these certificates.
///
/// # Errors
///
/// For people.
pub(super) async fn dial(
    server: &Server,
    certificates: Option<&tls::Files>,
    turn: usize,
) -> io::Result<net::Stream> {
    let tcp = net::tcp(server, turn).await?;
    Ok(match certificates {
        Some(certificates) => net::Stream::Tls(Box::new(certificates.over(tcp, &server.host).await?)),
        None => net::Stream::Tcp(tcp),
    })
}

/// The stream under the filter.
type Socket = Compat<net::Stream>;

/// A stream whose frames lapin can read.
pub(super) struct Filtered {
    socket: Socket,
    inbound: Inbound,
    outbound: Outbound,
    shared: Shared,
    /// The bytes for lapin, from `given` on.
    ready: Vec<u8>,
    given: usize,
    piece: Box<[u8]>,
    waiting: Option<Waiting>,
    /// lapin polls on a thread of its own.
    runtime: Handle,
}

/// A wait for the permit of a large message.
struct Waiting {
    place: Pin<Box<dyn Future<Output = ()> + Send>>,
    until: Instant,
    beat: Pin<Box<Sleep>>,
    /// The bytes that were read already.
    rest: Vec<u8>,
}

impl Filtered {
    fn new(socket: Socket, own_frame_max: u32, shared: Shared) -> Self {
        Self {
            socket,
            inbound: Inbound::new(own_frame_max, shared.seen.clone(), shared.large.clone()),
            outbound: Outbound::new(),
            shared,
            ready: Vec::new(),
            given: 0,
            piece: vec![0; PIECE].into_boxed_slice(),
            waiting: None,
            runtime: Handle::current(),
        }
    }

    /// Passes what has been read on to lapin, or waits for the permit of a large message.
    fn feed(&mut self, piece: &[u8]) {
        let rest = self.inbound.feed(piece, &mut self.ready);
        if let Some(large) = self.inbound.waits() {
            let _on = self.runtime.enter();
            self.waiting = Some(Waiting {
                place: Box::pin(large.take()),
                until: Instant::now() + WAIT_MAX,
                beat: Box::pin(sleep(BEAT)),
                rest: rest.to_vec(),
            });
        }
    }

    /// Returns ready when nothing is waited for any more, or when lapin gets a heartbeat meanwhile.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(waiting) = &mut self.waiting else { return Poll::Ready(()) };
        let has_place = waiting.place.as_mut().poll(cx).is_ready();
        if !has_place {
            ready!(waiting.beat.as_mut().poll(cx));
            if Instant::now() < waiting.until {
                waiting.beat.as_mut().reset(Instant::now() + BEAT);
                self.ready.extend(HEARTBEAT);
                return Poll::Ready(());
            }
        }
        let rest = std::mem::take(&mut waiting.rest);
        self.waiting = None;
        if has_place {
            self.inbound.admit(&mut self.ready);
        } else {
            self.inbound.withhold(&mut self.ready);
        }
        self.feed(&rest);
        Poll::Ready(())
    }

    /// The frame length that the broker is asked for: its own offer, within our bounds.
    fn asked(&self) -> u32 {
        match self.inbound.offered() {
            None | Some(0) => FRAME_MAX,
            Some(offered) => offered.min(FRAME_MAX),
        }
    }

    fn give(&mut self, into: &mut [u8]) -> usize {
        let rest = self.ready.get(self.given..).unwrap_or_default();
        let count = rest.len().min(into.len());
        for (place, byte) in into.iter_mut().zip(rest) {
            *place = *byte;
        }
        self.given = self.given.saturating_add(count);
        if self.given >= self.ready.len() {
            self.given = 0;
            self.ready.clear();
            // Room for a header of a megabyte isn't kept.
            self.ready.shrink_to(2 * PIECE);
        }
        count
    }
}

impl Drop for Filtered {
    fn drop(&mut self) {
        if let Some(large) = &self.shared.large {
            large.forget();
        }
    }
}

impl AsyncRead for Filtered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        while this.ready.is_empty() {
            if this.waiting.is_some() {
                ready!(this.poll_waiting(cx));
                continue;
            }
            let count = ready!(Pin::new(&mut this.socket).poll_read(cx, &mut this.piece))?;
            if count == 0 {
                return Poll::Ready(Ok(0));
            }
            let piece = std::mem::take(&mut this.piece);
            this.feed(piece.get(..count).unwrap_or_default());
            this.piece = piece;
        }
        Poll::Ready(Ok(this.give(into)))
    }
}

impl AsyncWrite for Filtered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.outbound.is_through() {
            return Pin::new(&mut this.socket).poll_write(cx, bytes);
        }
        let asked = this.asked();
        let mut bytes = bytes.to_vec();
        let _ = this.outbound.rewrite(&mut bytes, asked);
        let written = ready!(Pin::new(&mut this.socket).poll_write(cx, &bytes))?;
        // Only the bytes that were written count. They are the rewritten ones, and rewriting them again leaves them
        // unchanged.
        let gone = bytes.get_mut(..written).unwrap_or_default();
        this.outbound = this.outbound.rewrite(gone, asked);
        if this.outbound.is_through() {
            this.shared.frame_max.store(asked, Ordering::Relaxed);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_close(cx)
    }
}
