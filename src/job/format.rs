//! What the bytes of a picture are: the format, the number of pixels, and whether the picture is complete.
//!
//! Nothing is decoded, since the structure of each format says where it ends. A picture whose end is present is
//! whole, whatever follows it: some encoders and cameras append a second picture or notes. Pure.

mod jpeg;
mod png;
mod webp;

/// The formats that are read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Png,
    Jpeg,
    Webp,
}

/// A picture whose end is present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    pub format: Format,
    pub width: u32,
    pub height: u32,
    /// The length of the picture itself, in bytes; more bytes may follow it.
    pub length: usize,
}

/// Why bytes are not a whole picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// They don't begin like any of these formats.
    Foreign,
    /// They begin like a picture, but end before it does.
    Cut(Format),
    /// Their structure is wrong; the text names the part.
    Broken(Format, &'static str),
}

impl Format {
    const ALL: [Self; 3] = [Self::Png, Self::Jpeg, Self::Webp];

    /// Recognizes the format by the first bytes alone.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|format| match format {
            Self::Png => bytes.starts_with(png::SIGNATURE),
            Self::Jpeg => bytes.starts_with(jpeg::SIGNATURE),
            Self::Webp => webp::begins(bytes),
        })
    }

    /// The format that such a short beginning may belong to.
    fn begun_by(bytes: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|format| match format {
            Self::Png => png::SIGNATURE.starts_with(bytes),
            Self::Jpeg => jpeg::SIGNATURE.starts_with(bytes),
            Self::Webp => webp::may_begin(bytes),
        })
    }

    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }

    /// The extension of a file's name, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Webp => "webp",
        }
    }
}

/// Width and height in pixels. The end of the picture may be missing. `None` if the bytes don't contain them.
#[must_use]
pub fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    match Format::of(bytes)? {
        Format::Png => png::size(bytes),
        Format::Jpeg => jpeg::size(bytes),
        Format::Webp => webp::size(bytes),
    }
}

/// # Errors
///
/// [`Flaw`] says what these bytes are instead of a whole picture.
pub fn whole(bytes: &[u8]) -> Result<Whole, Flaw> {
    let Some(format) = Format::of(bytes) else {
        return Err(Format::begun_by(bytes).filter(|_| !bytes.is_empty()).map_or(Flaw::Foreign, Flaw::Cut));
    };
    let end = match format {
        Format::Png => png::end(bytes),
        Format::Jpeg => jpeg::end(bytes),
        Format::Webp => webp::end(bytes),
    };
    let length = end.map_err(|end| match end {
        NoEnd::Cut => Flaw::Cut(format),
        NoEnd::Broken(what) => Flaw::Broken(format, what),
    })?;
    match size(bytes) {
        Some((width, height)) if width > 0 && height > 0 => Ok(Whole { format, width, height, length }),
        Some(_) | None => Err(Flaw::Broken(format, "its dimensions")),
    }
}

/// Why no end of the picture was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoEnd {
    Cut,
    Broken(&'static str),
}

/// Returns `length` bytes from `at` on.
fn part(bytes: &[u8], at: usize, length: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(length)?)
}

fn big_endian_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(part(bytes, at, 4)?.try_into().ok()?))
}

fn big_endian_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(part(bytes, at, 2)?.try_into().ok()?))
}

fn little_endian_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(part(bytes, at, 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
