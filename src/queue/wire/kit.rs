//! lapin's runtime. It is tokio, except for the type of a connection's stream, which lapin takes from its runtime.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use async_rs::Tokio;
use async_rs::traits::{Executor, Reactor, RuntimeKit};
use async_rs::util::Task;
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::Stream;

use super::Filtered;

/// Tokio, with [`Filtered`] streams.
#[derive(Debug, Clone)]
pub(super) struct Kit(Tokio);

impl Kit {
    /// Uses the runtime of the caller.
    pub(super) fn current() -> Self {
        Self(Tokio::current())
    }
}

impl RuntimeKit for Kit {}

impl Executor for Kit {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, f: F) -> T {
        self.0.block_on(f)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(&self, f: F) -> Task<Self::Task<T>> {
        self.0.spawn(f)
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        f: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn_blocking(f)
    }
}

impl Reactor for Kit {
    type TcpStream = Filtered;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// lapin doesn't call this, because its sockets come from [`super::connect`].
    fn register<H: Read + Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Filtered, _>(elsewhere())
    }

    fn sleep(&self, dur: Duration) -> Self::Sleep {
        self.0.sleep(dur)
    }

    fn interval(&self, dur: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(dur)
    }

    /// lapin doesn't call this either.
    fn tcp_connect_addr(&self, _: SocketAddr) -> impl Future<Output = io::Result<Filtered>> + Send + 'static {
        std::future::ready(Err(elsewhere()))
    }
}

fn elsewhere() -> io::Error {
    io::Error::other("connections to RabbitMQ are dialled in queue::wire, and not by the runtime")
}
