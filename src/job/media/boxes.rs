//! The boxes of an MP4 (ISO/IEC 14496-12), of QuickTime and of M4A: a length, a name and a content each, one behind the
//! other to the end of the file. The index (`moov`) may stand before the data or behind it.

use mp4_atom::{Atom as _, DecodeMaybe as _, Header, Mvhd, Tkhd};

/// An index that is larger is not read, and the file is stored without size and duration. That of a video of three
/// minutes has some hundred kilobytes.
const INDEX_BYTES_MAX: usize = 1024 * 1024;
/// A length, a name, and a longer length.
const HEADER_BYTES_MAX: usize = 16;

/// The boxes that a file consists of. Another name behind a whole file is none.
const NAMES: [&[u8; 4]; 15] = [
    b"ftyp", b"styp", b"moov", b"mdat", b"moof", b"mfra", b"sidx", b"free", b"skip", b"wide", b"meta",
    b"udta", b"uuid", b"emsg", b"prft",
];

/// Walks over the boxes while they arrive.
#[derive(Debug, Default)]
pub(super) struct Boxes {
    state: State,
    /// The box that has begun last.
    name: [u8; 4],
    index: Vec<u8>,
    has_index: bool,
    has_data: bool,
    /// The data comes in pieces, each behind an index of its own.
    is_fragmented: bool,
    /// The data of the last such index hasn't come.
    owes_data: bool,
    /// What was wrong; nothing is read after that.
    flaw: Option<&'static str>,
}

#[derive(Debug)]
enum State {
    /// The bytes of a header that have come.
    Header(Vec<u8>),
    /// The bytes of a content that are still to come.
    Content(u64),
    /// A content that goes to the end of the file.
    ToTheEnd,
}

/// Why this is no whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It ends within a box.
    Cut,
    Broken(&'static str),
}

impl Default for State {
    fn default() -> Self {
        Self::Header(Vec::with_capacity(HEADER_BYTES_MAX))
    }
}

impl Boxes {
    /// # Errors
    ///
    /// The bytes are no boxes.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<(), Flaw> {
        while let (None, [first, rest @ ..]) = (self.flaw, bytes) {
            match &mut self.state {
                State::Header(header) => {
                    header.push(*first);
                    bytes = rest;
                    self.flaw = self.begin().err();
                }
                State::Content(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    let (content, behind) = bytes.split_at(here);
                    *left = left.saturating_sub(u64::try_from(here).unwrap_or(u64::MAX));
                    if *left == 0 {
                        self.state = State::default();
                    }
                    self.note(content);
                    bytes = behind;
                }
                State::ToTheEnd => {
                    self.note(bytes);
                    bytes = &[];
                }
            }
        }
        self.flaw.map_or(Ok(()), |part| Err(Flaw::Broken(part)))
    }

    /// Whether the file may end here. What stands behind a whole file and is no box is no fault of it.
    pub(super) fn whole(&self) -> Result<(), Flaw> {
        let may_end = match &self.state {
            State::Header(header) => header.is_empty() || (self.has_both() && !self.is_fragmented),
            State::Content(_) => self.has_both() && !NAMES.contains(&&self.name),
            State::ToTheEnd => true,
        };
        match self.flaw {
            Some(part) => Err(Flaw::Broken(part)),
            None if !may_end || self.owes_data => Err(Flaw::Cut),
            None if !self.has_index => Err(Flaw::Broken("no moov")),
            None if !self.has_data => Err(Flaw::Broken("no mdat")),
            None => Ok(()),
        }
    }

    /// The size of the picture in pixels and the duration in milliseconds, as far as the index says.
    pub(super) fn described(&self) -> (Option<(u32, u32)>, Option<u64>) {
        let (mut size, mut duration) = (None, None);
        for (kind, mut body) in children(&self.index) {
            match &kind {
                b"mvhd" => {
                    duration = Mvhd::decode_body(&mut body).ok().and_then(|header| duration_ms(&header))
                }
                b"trak" => size = size.or_else(|| children(body).find_map(picture_size)),
                _ => {}
            }
        }
        (size, duration)
    }

    /// Begins a content once its header is there.
    fn begin(&mut self) -> Result<(), &'static str> {
        let State::Header(header) = &self.state else { return Ok(()) };
        let [a, b, c, d, kind @ ..] = header.as_slice() else { return Ok(()) };
        let Some((kind, long)) = kind.split_first_chunk::<4>() else { return Ok(()) };
        let name = *kind;
        let content = match u32::from_be_bytes([*a, *b, *c, *d]) {
            0 => None,
            1 => match long.try_into().map(u64::from_be_bytes) {
                Ok(length) => Some(length.checked_sub(16).ok_or("a box that is shorter than its header")?),
                Err(_) => return Ok(()),
            },
            length => Some(u64::from(length).checked_sub(8).ok_or("a box that is shorter than its header")?),
        };
        let is_name = name.iter().all(|byte| (0x20..0x7f).contains(byte) || *byte >= 0xa0);
        if !is_name {
            // Notes, or the zeros by which some programs fill a file up.
            self.state = State::ToTheEnd;
            self.name = name;
            return if self.has_both() { Ok(()) } else { Err("a box without a name") };
        }
        self.name = name;
        self.has_index |= name == *b"moov";
        self.has_data |= name == *b"mdat";
        self.is_fragmented |= name == *b"moof";
        self.owes_data = name == *b"moof" || (self.owes_data && name != *b"mdat");
        self.state = match content {
            None => State::ToTheEnd,
            Some(0) => State::default(),
            Some(length) => State::Content(length),
        };
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn index_bytes(&self) -> usize {
        self.index.len()
    }

    fn has_both(&self) -> bool {
        self.has_index && self.has_data
    }

    fn note(&mut self, content: &[u8]) {
        if self.name == *b"moov" {
            let room = INDEX_BYTES_MAX.saturating_sub(self.index.len()).min(content.len());
            self.index.extend(content.iter().take(room));
        }
    }
}

/// The boxes within a box, up to the first that isn't whole.
fn children(mut bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let header = Header::decode_maybe(&mut bytes).ok()??;
        let (body, behind) = bytes.split_at_checked(header.size.unwrap_or(bytes.len()))?;
        bytes = behind;
        Some((header.kind.into(), body))
    })
}

/// Of the first track that has one.
fn picture_size((kind, mut body): ([u8; 4], &[u8])) -> Option<(u32, u32)> {
    let header = (&kind == b"tkhd").then(|| Tkhd::decode_body(&mut body).ok())??;
    let (width, height) = (header.width.integer(), header.height.integer());
    (width > 0 && height > 0).then(|| (width.into(), height.into()))
}

/// A duration of all ones is unknown, and a file in fragments says zero.
fn duration_ms(header: &Mvhd) -> Option<u64> {
    let is_known = header.duration > 0 && header.duration < u64::from(u32::MAX);
    let ms = u128::from(header.duration) * 1000;
    let ms = is_known.then(|| ms.checked_div(u128::from(header.timescale)))??;
    u64::try_from(ms).ok()
}
