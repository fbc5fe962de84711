//! PNG: a signature, and chunks up to `IEND`. Each chunk has a length, a name, data and a checksum
//! ([specification](https://www.w3.org/TR/png-3/#5DataRep)).

use super::{NoEnd, big_endian_u32, part};

pub(super) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Length, name and checksum of a chunk.
const FRAME: usize = 12;
/// The specification's limit for a chunk's data.
const LONGEST: u32 = i32::MAX.cast_unsigned();

pub(super) fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let first = SIGNATURE.len();
    let is_header = part(bytes, first + 4, 4)? == b"IHDR";
    let size = (big_endian_u32(bytes, first + 8)?, big_endian_u32(bytes, first + 12)?);
    is_header.then_some(size)
}

pub(super) fn end(bytes: &[u8]) -> Result<usize, NoEnd> {
    let mut at = SIGNATURE.len();
    let mut has_pixels = false;
    loop {
        let length = big_endian_u32(bytes, at).ok_or(NoEnd::Cut)?;
        if length > LONGEST {
            return Err(NoEnd::Broken("the length of a chunk"));
        }
        let name = part(bytes, at + 4, 4).ok_or(NoEnd::Cut)?;
        if !name.iter().all(u8::is_ascii_alphabetic) {
            return Err(NoEnd::Broken("the name of a chunk"));
        }
        if at == SIGNATURE.len() && name != b"IHDR" {
            return Err(NoEnd::Broken("its first chunk"));
        }
        has_pixels |= name == b"IDAT";
        let length = usize::try_from(length).map_err(|_| NoEnd::Cut)?;
        let next = at + FRAME + length;
        if next > bytes.len() {
            return Err(NoEnd::Cut);
        }
        at = next;
        if name == b"IEND" {
            return if has_pixels { Ok(at) } else { Err(NoEnd::Broken("it has no pixels")) };
        }
    }
}
