//! The way to a server with which the worker keeps a connection of its own (RabbitMQ, Redis): its addresses, TCP,
//! TLS. HTTP clients connect by themselves, but share the certificates in [`tls`], and the messages.

mod dial;
mod sentinels;
mod stream;
pub mod tls;
pub mod trouble;

pub use dial::{Server, several, tcp};
pub use sentinels::Sentinels;
pub use stream::Stream;
