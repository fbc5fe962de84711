//! Which messages a connection has brought, as far as it takes to know them again on the next one.
//!
//! A connection that ends over a message ends before the client library hands that message out. What comes by here is
//! seen all the same: see [`crate::worker::suspects`].

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use super::header::Header;

/// More than this many are not remembered: the first ones are forgotten.
const SEEN_MAX: usize = 512;
/// So much of a body's beginning is kept, and of its end: the job's name may stand before its images or behind them.
const START_MAX: usize = 128;
const END_MAX: usize = 384;

/// The messages of one connection; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Mutex<VecDeque<SeenMessage>>>);

/// A message, as it came by.
#[derive(Debug, Clone)]
pub struct SeenMessage {
    channel: [u8; 2],
    header: u64,
    /// Bytes of the body, by its header.
    pub body_size: u64,
    /// The first bytes of the body, as far as they came.
    pub start: Vec<u8>,
    /// The last ones of those that came behind.
    pub end: Vec<u8>,
}

impl SeenMessage {
    /// Whether both are the same message, for all that can be told.
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
    /// For the next connection.
    pub fn clear(&self) {
        self.list().clear();
    }

    /// All of them, in the order that they came in.
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
