//! WebP: one RIFF container whose head gives its length
//! ([specification](https://developers.google.com/speed/webp/docs/riff_container)).

use super::{NoEnd, little_endian_u32, part};

/// `RIFF`, the size of everything that follows, `WEBP`.
const HEAD: usize = 12;
/// Name and length of a chunk.
const CHUNK_HEAD: usize = 8;

pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RIFF") && part(bytes, 8, 4) == Some(b"WEBP")
}

/// Whether these few bytes may be the beginning of a WebP.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    let (riff, name) = (bytes.get(..4).unwrap_or(bytes), bytes.get(8..).unwrap_or_default());
    bytes.len() < HEAD && b"RIFF".starts_with(riff) && b"WEBP".starts_with(name)
}

pub(super) fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let data = HEAD + CHUNK_HEAD;
    let u16_at = |at| Some(u32::from(u16::from_le_bytes(part(bytes, at, 2)?.try_into().ok()?)));
    match part(bytes, HEAD, 4)? {
        b"VP8X" => {
            let u24_at = |at| Some(little_endian_u32(bytes, at)? & 0x00ff_ffff);
            // The three bytes of the height are the last ones of the chunk, so they are read together with the byte
            // before them.
            Some((u24_at(data + 4)? + 1, (little_endian_u32(bytes, data + 6)? >> 8) + 1))
        }
        b"VP8L" if *bytes.get(data)? == 0x2f => {
            let bits = little_endian_u32(bytes, data + 1)?;
            Some(((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1))
        }
        b"VP8 " if part(bytes, data + 3, 3)? == b"\x9d\x01\x2a" => {
            Some((u16_at(data + 6)? & 0x3fff, u16_at(data + 8)? & 0x3fff))
        }
        _ => None,
    }
}

pub(super) fn end(bytes: &[u8]) -> Result<usize, NoEnd> {
    let size = little_endian_u32(bytes, 4).ok_or(NoEnd::Cut)?;
    let end = usize::try_from(size).ok().and_then(|size| size.checked_add(8)).ok_or(NoEnd::Cut)?;
    if end > bytes.len() {
        return Err(NoEnd::Cut);
    }
    let mut at = HEAD;
    let mut has_pixels = false;
    // A rest that is too short for a chunk is ignored.
    while at + CHUNK_HEAD <= end {
        let name = part(bytes, at, 4).ok_or(NoEnd::Broken("a chunk passes its end"))?;
        let length = little_endian_u32(bytes, at + 4).ok_or(NoEnd::Broken("a chunk passes its end"))?;
        let next = usize::try_from(length).ok().and_then(|length| (at + CHUNK_HEAD).checked_add(length));
        let next = next.filter(|next| *next <= end).ok_or(NoEnd::Broken("a chunk passes its end"))?;
        has_pixels |= matches!(name, b"VP8 " | b"VP8L" | b"ANMF");
        // Chunks with an odd length are padded.
        at = next + next % 2;
    }
    if has_pixels { Ok(end) } else { Err(NoEnd::Broken("it has no pixels")) }
}
