//! Remembers which messages a connection has brought, so that they can be recognized on the next one.
//!
//! A connection that ends because of a message ends before the client library returns that message. This module sees
//! it anyway: see [`crate::worker::suspects`].

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use super::header::Header;

/// The number of messages that are remembered; beyond that the first ones are forgotten.
const SEEN_MAX: usize = 512;
/// How many bytes of a body's beginning are kept, and of its end: the job id may stand before its images or behind
/// them.
const START_MAX: usize = 128;
const END_MAX: usize = 384;

/// The messages of one connection; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Mutex<VecDeque<SeenMessage>>>);

/// A message, as it was seen on the wire.
#[derive(Debug, Clone)]
pub struct SeenMessage {
    channel: [u8; 2],
    header: u64,
    /// The size of the body in bytes, as its header says.
    pub body_size: u64,
    /// The first bytes of the body, as far as they came.
    pub start: Vec<u8>,
    /// The last bytes of the body, of those that came after the first.
    pub end: Vec<u8>,
}

impl SeenMessage {
    /// Whether both are the same message, as far as can be known.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let common = self.start.len().min(other.start.len());
        self.header == other.header && self.start.get(..common) == other.start.get(..common)
    }

    /// A number for the message, the same on each connection.
    #[must_use]
    pub fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.header);
        hasher.write(&self.start);
        hasher.finish()
    }
}

#[cfg(test)]
impl SeenMessage {
    pub(crate) fn for_test(header: u64, body: &[u8]) -> Self {
        Self {
            channel: [0, 1],
            header,
            body_size: u64::try_from(body.len()).unwrap(),
            start: body.to_vec(),
            end: Vec::new(),
        }
    }
}

#[cfg(test)]
impl Seen {
    pub(crate) fn add_for_test(&self, message: SeenMessage) {
        self.list().push_back(message);
    }
}

impl Seen {
    /// Forgets all messages, for the next connection.
    pub fn clear(&self) {
        self.list().clear();
    }

    /// All messages, in the order in which they came.
    #[must_use]
    pub fn messages(&self) -> Vec<SeenMessage> {
        self.list().iter().cloned().collect()
    }

    pub(super) fn header(&self, channel: [u8; 2], header: &Header) {
        let mut list = self.list();
        if list.len() >= SEEN_MAX {
            list.pop_front();
        }
        let (header, body_size) = (header.fingerprint, header.body_size);
        list.push_back(SeenMessage { channel, header, body_size, start: Vec::new(), end: Vec::new() });
    }

    pub(super) fn body(&self, channel: [u8; 2], bytes: &[u8]) {
        let mut list = self.list();
        let Some(message) = list.iter_mut().rev().find(|message| message.channel == channel) else { return };
        let room = START_MAX.saturating_sub(message.start.len()).min(bytes.len());
        let (start, rest) = bytes.split_at(room);
        message.start.extend(start);
        let rest = rest.get(rest.len().saturating_sub(END_MAX)..).unwrap_or_default();
        let too_many = message.end.len().saturating_add(rest.len()).saturating_sub(END_MAX);
        message.end.drain(..too_many.min(message.end.len()));
        message.end.extend(rest);
    }

    fn list(&self) -> std::sync::MutexGuard<'_, VecDeque<SeenMessage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
