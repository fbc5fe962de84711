//! Passes on what lapin sends, unchanged except for one number of the handshake.
//!
//! lapin asks for the longest frame that its own buffers are made for. This filter asks the broker for the broker's
//! own instead. The broker applies that limit to what we publish, and a dead letter's headers came in on frames as
//! long as the broker allows.

use super::inbound::FRAME_EXTRA;

/// `AMQP` and the version.
const PROTOCOL_HEADER: usize = 8;
/// `connection.tune-ok`.
const TUNE_OK: [u8; 4] = [0, 10, 0, 31];
const HEAD: usize = 7;
/// The place in the frame: behind its head, the method's name, and the longest channel number.
const PLACE: std::ops::Range<usize> = (HEAD + 4 + 2)..(HEAD + 4 + 2 + 4);

/// How far the handshake is in what lapin sends.
#[derive(Debug, Clone)]
pub(super) enum Outbound {
    /// This many bytes of the protocol header are still to come.
    Begins(usize),
    /// In a frame: its first bytes that have passed, the count of all bytes that have passed, and its length once
    /// that is known.
    Frame { start: Vec<u8>, gone: usize, length: Option<usize> },
    /// The number was sent, and everything that follows passes through.
    Through,
}

impl Outbound {
    pub(super) fn new() -> Self {
        Self::Begins(PROTOCOL_HEADER)
    }

    pub(super) fn is_through(&self) -> bool {
        matches!(self, Self::Through)
    }

    /// Writes `frame_max` over lapin's own number in the bytes that go out next, and returns the state of the
    /// handshake after them.
    #[must_use]
    pub(super) fn rewrite(&self, bytes: &mut [u8], frame_max: u32) -> Self {
        let mut place = self.clone();
        for byte in bytes {
            place = place.step(byte, frame_max);
        }
        place
    }

    fn step(self, byte: &mut u8, frame_max: u32) -> Self {
        match self {
            Self::Begins(left) if left > 1 => Self::Begins(left.saturating_sub(1)),
            Self::Begins(_) => Self::next_frame(),
            Self::Frame { mut start, gone, length } => {
                if start.len() < HEAD + TUNE_OK.len() {
                    start.push(*byte);
                }
                let is_tune_ok = start.get(HEAD..).is_some_and(|method| method == TUNE_OK);
                if is_tune_ok && PLACE.contains(&gone) {
                    let digit = frame_max.to_be_bytes().get(gone.saturating_sub(PLACE.start)).copied();
                    *byte = digit.unwrap_or(*byte);
                }
                let length = length.or_else(|| {
                    let [_, _, _, length @ ..] = <[u8; HEAD]>::try_from(start.as_slice()).ok()?;
                    Some(usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX))
                });
                let gone = gone.saturating_add(1);
                if length.is_none_or(|length| gone < length.saturating_add(FRAME_EXTRA)) {
                    Self::Frame { start, gone, length }
                } else if is_tune_ok {
                    Self::Through
                } else {
                    Self::next_frame()
                }
            }
            Self::Through => Self::Through,
        }
    }

    fn next_frame() -> Self {
        Self::Frame { start: Vec::new(), gone: 0, length: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(frame_max: u32) -> Vec<u8> {
        let frame = |payload: &[u8]| {
            let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
            [&[1, 0, 0], length.as_slice(), payload, &[0xce]].concat()
        };
        let tune_ok = [&TUNE_OK, [0x07, 0xff].as_slice(), &frame_max.to_be_bytes(), &[0, 10]].concat();
        let start_ok = [&[0, 10, 0, 11], [0; 40].as_slice()].concat();
        [
            b"AMQP\0\0\x09\x01".to_vec(),
            frame(&start_ok),
            frame(&tune_ok),
            frame(&[0, 10, 0, 40, 1, b'/', 0, 0]),
        ]
        .concat()
    }

    #[test]
    fn the_longest_frame_is_the_brokers_however_the_bytes_are_cut() {
        for piece in [1, 2, 3, 7, 11, 1000] {
            let mut sent = Vec::new();
            let mut place = Outbound::new();
            for bytes in handshake(16_384).chunks(piece) {
                let mut bytes = bytes.to_vec();
                place = place.rewrite(&mut bytes, 131_072);
                sent.extend(bytes);
            }
            assert_eq!(sent, handshake(131_072), "in pieces of {piece}");
            assert!(place.is_through());
        }
    }
}
