//! Filters what the broker sends, frame by frame, before the client library sees it.
//!
//! Three things are changed on the way:
//!
//! - Content headers become ones that lapin can read ([`super::header`]).
//! - A header that is longer than lapin's longest frame is moved behind the message's body, where its length doesn't
//!   matter. lapin gets a header that says how many bytes of the body are the properties, and
//!   [`crate::queue::message::whole`] restores both. So lapin's buffers, of 32 frames each, can be small although the
//!   broker sends a header of any length in one frame.
//! - Bodies are cut into frames that lapin accepts, because on the wire the longest frame is the broker's own.
//!
//! Everything else passes unchanged. Bytes come in pieces of any length; what is kept between two pieces is bounded.

use std::collections::HashMap;

use super::header::Header;
use super::large::Large;
use super::seen::Seen;

/// A header longer than this is cut off, which makes its message unreadable. By default RabbitMQ's frames, and so its
/// headers, have at most 128 KiB.
const HEADER_MAX: usize = 1024 * 1024;
/// The extra bytes of a frame: its type, its channel, its length, and its end byte.
pub(super) const FRAME_EXTRA: usize = 8;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xce;
/// The frame that either side sends when it has nothing else to send.
pub(super) const HEARTBEAT: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, FRAME_END];
/// `connection.tune`: 2 bytes of the longest channel number, 4 of the longest frame, 2 of the heartbeat.
const TUNE: [u8; 4] = [0, 10, 0, 30];
const TUNE_LENGTH: usize = 12;

/// The frames on their way to lapin.
pub(super) struct Inbound {
    /// The longest body or header that fits into one of lapin's frames.
    content_max: usize,
    /// The longest frame that the broker offers, 0 for any; known from its `connection.tune`.
    offered: Option<u32>,
    head: Vec<u8>,
    state: State,
    /// Properties that follow a body which is still to come, by channel.
    appended: HashMap<[u8; 2], Appended>,
    seen: Seen,
    large: Option<Large>,
    /// The header of a large message that waits for its permit.
    waits: Option<([u8; 2], Header)>,
    /// Bytes of bodies that lapin doesn't get, by channel.
    withheld: HashMap<[u8; 2], u64>,
}

struct Appended {
    body_left: u64,
    properties: Vec<u8>,
}

enum State {
    /// The frame's first seven bytes are being read.
    Head,
    /// This many bytes pass through.
    Pass {
        left: usize,
    },
    /// The frame is read to its end before any of it is passed on. What is beyond [`HEADER_MAX`] is dropped.
    Hold {
        frame: Frame,
        held: Vec<u8>,
        left: usize,
    },
    Body {
        channel: [u8; 2],
        left: usize,
        chunk_left: usize,
    },
    /// This many bytes are dropped.
    Withhold {
        left: usize,
    },
}

#[derive(Clone, Copy)]
struct Frame {
    kind: u8,
    channel: [u8; 2],
}

impl Inbound {
    /// Creates the filter for a lapin that accepts frames of up to `frame_max` bytes.
    pub(super) fn new(frame_max: u32, seen: Seen, large: Option<Large>) -> Self {
        Self {
            content_max: usize::try_from(frame_max).unwrap_or(usize::MAX).saturating_sub(FRAME_EXTRA).max(1),
            offered: None,
            head: Vec::with_capacity(7),
            state: State::Head,
            appended: HashMap::new(),
            seen,
            large,
            waits: None,
            withheld: HashMap::new(),
        }
    }

    /// The permit that the next bytes wait for, if they wait: until [`Self::admit`] or [`Self::withhold`].
    pub(super) fn waits(&self) -> Option<Large> {
        self.waits.as_ref().and(self.large.clone())
    }

    /// Passes the large message on, which has its permit now.
    pub(super) fn admit(&mut self, out: &mut Vec<u8>) {
        if let Some((channel, header)) = self.waits.take() {
            self.put_header(channel, header, out);
        }
    }

    /// Withholds the large message, which gets no permit for now: lapin gets it without its body, and with a header
    /// that says so.
    pub(super) fn withhold(&mut self, out: &mut Vec<u8>) {
        if let Some((channel, header)) = self.waits.take() {
            put_frame(out, HEADER, channel, &header.payload_withheld());
            if header.body_size > 0 {
                self.withheld.insert(channel, header.body_size);
            }
        }
    }

    pub(super) fn offered(&self) -> Option<u32> {
        self.offered
    }

    /// Takes a piece of what the broker has sent, and adds what lapin gets to `out`. Returns the rest of the piece if
    /// [`Self::waits`] says that it has to wait.
    pub(super) fn feed<'p>(&mut self, mut bytes: &'p [u8], out: &mut Vec<u8>) -> &'p [u8] {
        while let Some((first, rest)) = bytes.split_first() {
            if self.waits.is_some() {
                return bytes;
            }
            match &mut self.state {
                State::Head => {
                    self.head.push(*first);
                    bytes = rest;
                    if let Ok(head) = <[u8; 7]>::try_from(self.head.as_slice()) {
                        self.head.clear();
                        self.begin(head, out);
                    }
                }
                State::Pass { left } => {
                    let (now, later) = bytes.split_at(bytes.len().min(*left));
                    out.extend_from_slice(now);
                    *left = left.saturating_sub(now.len());
                    bytes = later;
                    if *left == 0 {
                        self.state = State::Head;
                    }
                }
                State::Withhold { left } => {
                    let (now, later) = bytes.split_at(bytes.len().min(*left));
                    *left = left.saturating_sub(now.len());
                    bytes = later;
                    if *left == 0 {
                        self.state = State::Head;
                    }
                }
                State::Hold { frame, held, left } => {
                    let (now, later) = bytes.split_at(bytes.len().min(*left));
                    let room = HEADER_MAX.saturating_sub(held.len());
                    held.extend_from_slice(now.get(..room).unwrap_or(now));
                    *left = left.saturating_sub(now.len());
                    bytes = later;
                    if *left == 0 {
                        let (frame, held) = (*frame, std::mem::take(held));
                        if let Some((end, rest)) = bytes.split_first() {
                            bytes = rest;
                            self.state = State::Head;
                            self.held(frame, &held, *end, out);
                        } else {
                            self.state = State::Hold { frame, held, left: 0 };
                        }
                    }
                }
                State::Body { channel, left: 0, .. } => {
                    let channel = *channel;
                    // The byte that ends the frame; lapin checks whether it is the right one.
                    out.push(*first);
                    bytes = rest;
                    self.state = State::Head;
                    self.append_where_due(channel, out);
                }
                State::Body { channel, left, chunk_left } => {
                    let (now, later) = bytes.split_at(bytes.len().min(*chunk_left));
                    out.extend_from_slice(now);
                    self.seen.body(*channel, now);
                    *left = left.saturating_sub(now.len());
                    *chunk_left = chunk_left.saturating_sub(now.len());
                    bytes = later;
                    if let Some(appended) = self.appended.get_mut(channel) {
                        let count = u64::try_from(now.len()).unwrap_or(u64::MAX);
                        appended.body_left = appended.body_left.saturating_sub(count);
                    }
                    if *chunk_left == 0 && *left > 0 {
                        *chunk_left = (*left).min(self.content_max);
                        out.push(FRAME_END);
                        put_head(out, BODY, *channel, *chunk_left);
                    }
                }
            }
        }
        bytes
    }

    fn begin(&mut self, head: [u8; 7], out: &mut Vec<u8>) {
        let [kind, high, low, length @ ..] = head;
        let channel = [high, low];
        let left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let tunes = kind == METHOD && channel == [0, 0] && left == TUNE_LENGTH;
        self.state = if kind == HEADER || tunes {
            State::Hold { frame: Frame { kind, channel }, held: Vec::new(), left }
        } else if kind == BODY && self.is_withheld(channel, left) {
            State::Withhold { left: left.saturating_add(1) }
        } else if kind == BODY {
            let chunk_left = left.min(self.content_max);
            put_head(out, BODY, channel, chunk_left);
            State::Body { channel, left, chunk_left }
        } else {
            out.extend(head);
            State::Pass { left: left.saturating_add(1) }
        };
    }

    fn held(&mut self, frame: Frame, held: &[u8], end: u8, out: &mut Vec<u8>) {
        let read = if frame.kind == HEADER && end == FRAME_END { Header::read(held) } else { None };
        let Some(header) = read else {
            if let Some((&TUNE, [_, _, offered @ .., _, _])) = held.split_first_chunk() {
                self.offered = offered.try_into().ok().map(u32::from_be_bytes);
            }
            put_head(out, frame.kind, frame.channel, held.len());
            out.extend_from_slice(held);
            out.push(end);
            return;
        };
        self.seen.header(frame.channel, &header);
        if self.large.as_ref().is_some_and(|large| large.is_large(header.body_size)) {
            self.waits = Some((frame.channel, header));
        } else {
            self.put_header(frame.channel, header, out);
        }
    }

    /// Whether lapin doesn't get this frame of a body.
    fn is_withheld(&mut self, channel: [u8; 2], length: usize) -> bool {
        let Some(left) = self.withheld.get_mut(&channel) else { return false };
        *left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
        if *left == 0 {
            self.withheld.remove(&channel);
        }
        true
    }

    fn put_header(&mut self, channel: [u8; 2], header: Header, out: &mut Vec<u8>) {
        let payload = header.payload();
        if payload.len() <= self.content_max {
            put_frame(out, HEADER, channel, &payload);
            return;
        }
        put_frame(out, HEADER, channel, &header.payload_with_appended());
        let appended = Appended { body_left: header.body_size, properties: header.properties };
        self.appended.insert(channel, appended);
        self.append_where_due(channel, out);
    }

    fn append_where_due(&mut self, channel: [u8; 2], out: &mut Vec<u8>) {
        if self.appended.get(&channel).is_some_and(|appended| appended.body_left == 0)
            && let Some(Appended { properties, .. }) = self.appended.remove(&channel)
        {
            for chunk in properties.chunks(self.content_max) {
                put_frame(out, BODY, channel, chunk);
            }
        }
    }
}

fn put_head(out: &mut Vec<u8>, kind: u8, channel: [u8; 2], length: usize) {
    out.push(kind);
    out.extend(channel);
    out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

fn put_frame(out: &mut Vec<u8>, kind: u8, channel: [u8; 2], payload: &[u8]) {
    put_head(out, kind, channel, payload.len());
    out.extend_from_slice(payload);
    out.push(FRAME_END);
}
