//! The socket under the client library: where RabbitMQ is dialled, and where its bytes are looked at first.
//!
//! lapin ends a connection over one message that it can't read, and with the connection all that it carries. It can't be
//! told to skip that message, but it takes a stream of ours: [`Filtered`] stands between the socket (or the TLS on it)
//! and lapin, and hands on what lapin can read. See [`inbound`] for what is changed, and [`outbound`] for the one number
//! that goes out changed.

mod header;
mod inbound;
#[cfg(test)]
mod inbound_tests;
mod kit;
mod outbound;
mod seen;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use async_rs::Runtime;
use futures_io::{AsyncRead, AsyncWrite};
use lapin::tcp::{AMQPUriTcpExt, OwnedTLSConfig};
use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};

use self::inbound::Inbound;
use self::kit::Kit;
use self::outbound::Outbound;

pub(super) use self::header::{APPENDED, UNREADABLE};
pub use self::seen::{Seen, SeenMessage};

/// The longest frame that the broker is asked for: RabbitMQ's own default, and as much as lapin's buffer of 32 frames of
/// [`super::FRAME_MAX`] holds four times over. A frame that the buffer can't hold is never sent.
pub(super) const FRAME_MAX: u32 = 128 * 1024;
/// The shortest "longest frame" that AMQP allows.
pub(super) const FRAME_MAX_LEAST: u32 = 4096;

/// Read from the socket at a time.
const PIECE: usize = 16 * 1024;

/// The longest frame that the broker takes from us, once a connection has asked; 0 before that.
pub(super) type FrameMax = Arc<AtomicU32>;

/// Dials, and lets lapin speak over the filtered stream.
///
/// # Errors
///
/// lapin's.
pub(super) async fn connect(
    uri: AMQPUri,
    properties: ConnectionProperties,
    frame_max: FrameMax,
    seen: Seen,
) -> lapin::Result<Connection> {
    let runtime = Runtime::new(Kit::current());
    // What lapin's own frames may be long; the broker is asked for another number.
    let own = uri.query.frame_max.unwrap_or(super::FRAME_MAX).max(FRAME_MAX_LEAST);
    let dial = async move |uri: AMQPUri, _: Runtime<Kit>| {
        let stream = dial(&uri).await?;
        Ok(AsyncTcpStream::Plain(Filtered::new(stream, own, frame_max.clone(), seen.clone())))
    };
    Connection::connector(uri, runtime, dial, properties).await
}

/// One connection to the broker, by TCP or TLS.
async fn dial(uri: &AMQPUri) -> io::Result<Socket> {
    let runtime = Runtime::tokio_current();
    let tls = OwnedTLSConfig::default();
    uri.connect_with_config_async(tls.as_ref(), &runtime).await
}

/// What is under the filter.
type Socket = AsyncTcpStream<<async_rs::Tokio as async_rs::traits::Reactor>::TcpStream>;

/// A stream whose frames lapin can read.
pub(super) struct Filtered {
    socket: Socket,
    inbound: Inbound,
    outbound: Outbound,
    frame_max: FrameMax,
    /// For lapin, from `given` on.
    ready: Vec<u8>,
    given: usize,
    piece: Box<[u8]>,
}

impl Filtered {
    fn new(socket: Socket, own_frame_max: u32, frame_max: FrameMax, seen: Seen) -> Self {
        Self {
            socket,
            inbound: Inbound::new(own_frame_max, seen),
            outbound: Outbound::new(),
            frame_max,
            ready: Vec::new(),
            given: 0,
            piece: vec![0; PIECE].into_boxed_slice(),
        }
    }

    /// What the broker is asked for: its own offer, within ours.
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
            // A header of a megabyte isn't kept room for.
            self.ready.shrink_to(2 * PIECE);
        }
        count
    }
}

impl AsyncRead for Filtered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        while this.ready.is_empty() {
            match Pin::new(&mut this.socket).poll_read(cx, &mut this.piece) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(0)),
                Poll::Ready(Ok(count)) => {
                    let piece = this.piece.get(..count).unwrap_or_default();
                    this.inbound.feed(piece, &mut this.ready);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
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
        let written = std::task::ready!(Pin::new(&mut this.socket).poll_write(cx, &bytes))?;
        // Only what was taken has gone by; the bytes are the rewritten ones, which rewriting leaves as they are.
        let gone = bytes.get_mut(..written).unwrap_or_default();
        this.outbound = this.outbound.rewrite(gone, asked);
        if this.outbound.is_through() {
            this.frame_max.store(asked, Ordering::Relaxed);
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
