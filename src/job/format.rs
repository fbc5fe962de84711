//! What the bytes of a picture are: which format, how many pixels, and whether all of it is there.
//!
//! Nothing is decoded: each format says by its own structure where it ends. A picture whose end is there is whole,
//! whatever comes behind it; some encoders and cameras put a second picture or notes of their own there. Pure.

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

/// A picture whose end is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    pub format: Format,
    pub width: u32,
    pub height: u32,
    /// The length of the picture itself, in bytes; more may follow it.
    pub length: usize,
}

/// Why bytes are no whole picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// They begin as none of these formats does.
    Foreign,
    /// They begin as a picture, and end before it does.
    Cut(Format),
    /// Their structure is wrong; the text names the part.
    Broken(Format, &'static str),
}

impl Format {
    const ALL: [Self; 3] = [Self::Png, Self::Jpeg, Self::Webp];

    /// By the first bytes alone.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|format| match format {
            Self::Png => bytes.starts_with(png::SIGNATURE),
            Self::Jpeg => bytes.starts_with(jpeg::SIGNATURE),
            Self::Webp => webp::begins(bytes),
        })
    }

    /// The format that so few bytes could be the beginning of.
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

    /// Of a file's name, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Webp => "webp",
        }
    }
}

/// Width and height in pixels, for which the end of the picture need not be there. `None` where they are not told.
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

/// Why a format's walk found no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoEnd {
    Cut,
    Broken(&'static str),
}

/// `length` bytes from `at` on.
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
