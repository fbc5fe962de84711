//! JPEG: segments after markers, and scans of coded pixels between them, up to the end marker ([ITU-T T.81, annex
//! B](https://www.w3.org/Graphics/JPEG/itu-t81.pdf)).
//!
//! A marker is `ff` and a code. Any number of further `ff` may precede it as fill bytes. In a scan, a coded `ff` is
//! followed by `00`, and restart markers belong to the scan. A thumbnail with its own end marker lies inside a
//! segment, and the length of that segment leads past it.

use super::{NoEnd, big_endian_u16};

pub(super) const SIGNATURE: &[u8] = b"\xff\xd8\xff";

/// Where the first segment's marker is.
const FIRST: usize = 2;

const START: u8 = 0xd8;
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;
/// It gives the number of lines if the frame's header leaves that open.
const LINES: u8 = 0xdc;
/// For private use, without a segment.
const TEMPORARY: u8 = 0x01;

pub(super) fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut at = FIRST;
    let mut width = None;
    loop {
        let (code, segment) = marker(bytes, at)?;
        match (code, width) {
            (START | TEMPORARY, _) => {
                at = segment;
                continue;
            }
            (END, _) => return None,
            (LINES, Some(width)) => return Some((width, big_endian_u16(bytes, segment + 2)?.into())),
            (code, None) if begins_frame(code) => {
                let height = big_endian_u16(bytes, segment + 3)?;
                let found = big_endian_u16(bytes, segment + 5)?.into();
                if height > 0 {
                    return Some((found, height.into()));
                }
                width = Some(found);
            }
            (_, _) => {}
        }
        at = segment + usize::from(big_endian_u16(bytes, segment)?.max(2));
    }
}

pub(super) fn end(bytes: &[u8]) -> Result<usize, NoEnd> {
    let mut at = FIRST;
    let (mut has_frame, mut has_scan) = (false, false);
    loop {
        let (code, segment) = marker(bytes, at).ok_or(NoEnd::Cut)?;
        match code {
            START | TEMPORARY => at = segment,
            END if has_frame && has_scan => return Ok(segment),
            END => return Err(NoEnd::Broken("it ends before its pixels")),
            _ => {
                let length = big_endian_u16(bytes, segment).ok_or(NoEnd::Cut)?;
                if length < 2 {
                    return Err(NoEnd::Broken("the length of a segment"));
                }
                has_frame |= begins_frame(code);
                has_scan |= code == SCAN;
                at = segment + usize::from(length);
            }
        }
    }
}

/// Returns the code of the next marker, and where its segment begins.
///
/// The bytes before it are the coded pixels of a scan, or bytes that don't belong there and that decoders skip too.
fn marker(bytes: &[u8], from: usize) -> Option<(u8, usize)> {
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == 0xff)?;
        at += bytes.get(at..)?.iter().position(|byte| *byte != 0xff)?;
        let code = *bytes.get(at)?;
        at += 1;
        if code != 0 && !(0xd0..=0xd7).contains(&code) {
            return Some((code, at));
        }
    }
}

/// Three of the codes from `c0` to `cf` are not frames: two are tables and one is reserved.
fn begins_frame(code: u8) -> bool {
    (0xc0..=0xcf).contains(&code) && !matches!(code, 0xc4 | 0xc8 | 0xcc)
}
