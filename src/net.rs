//! The way to a server that the worker keeps a connection of its own to (RabbitMQ, Redis): its addresses, TCP, TLS. HTTP goes its own
//! way; it shares the certificates in [`tls`], and the words.

mod dial;
mod sentinels;
mod stream;
pub mod tls;
pub mod trouble;

pub use dial::{Server, several, tcp};
pub use sentinels::Sentinels;
pub use stream::Stream;
