//! A video or a sound as its bytes arrive: what it is, and whether it is whole. The bytes themselves are not kept.
//!
//! A file is recognized by its bytes alone. MP4 and its kin are walked box by box, so a file that was cut off is seen
//! as such wherever its index stands; a WAV says its own length; an MP3 doesn't, and there the length that the host has
//! announced must do.

mod boxes;
mod wav;

use sha2::{Digest as _, Sha256};

use super::FileKind;
use super::image::trouble::Trouble;
use super::image::{FetchError, foreign};
use boxes::{Boxes, Flaw};

/// The bytes at the start that are kept for recognizing the file.
const HEAD_BYTES: usize = 512;
/// What recognizing takes: the brands of a container may be some twenty.
const RECOGNIZED_BYTES: usize = 64;

/// The formats that are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaFormat {
    Mp4,
    QuickTime,
    Mp3,
    Wav,
    M4a,
}

/// What is known of a whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    pub format: MediaFormat,
    pub bytes: u64,
    /// In pixels, of a video whose index says so.
    pub size: Option<(u32, u32)>,
    pub duration_ms: Option<u64>,
    /// SHA-256 of the bytes, in lower-case hex.
    pub sha256: String,
}

/// Reads one file.
#[derive(Debug)]
pub struct MediaReader {
    kind: FileKind,
    head: Vec<u8>,
    format: Option<MediaFormat>,
    boxes: Boxes,
    bytes: u64,
    digest: Sha256,
}

impl MediaFormat {
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Mp4 => "video/mp4",
            Self::QuickTime => "video/quicktime",
            Self::Mp3 => "audio/mpeg",
            Self::Wav => "audio/wav",
            Self::M4a => "audio/mp4",
        }
    }

    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::QuickTime => "mov",
            Self::Mp3 => "mp3",
            Self::Wav => "wav",
            Self::M4a => "m4a",
        }
    }

    fn has_boxes(self) -> bool {
        match self {
            Self::Mp4 | Self::QuickTime | Self::M4a => true,
            Self::Mp3 | Self::Wav => false,
        }
    }

    /// `None` if the bytes begin none that is stored as this kind.
    fn of(kind: FileKind, head: &[u8]) -> Option<Self> {
        let is_sound = kind == FileKind::Audio;
        let found = match head {
            [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => match brand.get(..4)? {
                // Pictures in the same container.
                b"heic" | b"heix" | b"mif1" | b"msf1" | b"avif" | b"avis" => return None,
                b"qt  " => Self::QuickTime,
                _ if is_sound => Self::M4a,
                _ => Self::Mp4,
            },
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Self::Wav,
            [b'I', b'D', b'3', ..] => Self::Mp3,
            [0xff, second, third, ..] if begins_frame(*second, *third) => Self::Mp3,
            _ => return None,
        };
        let is_of_kind = match found {
            Self::Mp4 | Self::QuickTime => kind == FileKind::Video,
            Self::Mp3 | Self::Wav | Self::M4a => is_sound,
        };
        is_of_kind.then_some(found)
    }
}

/// Whether these follow the first byte of a frame of an MP3: the rest of eleven ones, layer III, and a version, bit
/// rate and sample rate that exist.
fn begins_frame(second: u8, third: u8) -> bool {
    let (version, layer) = (second & 0x18, second & 0x06);
    second & 0xe0 == 0xe0 && version != 0x08 && layer == 0x02 && third & 0xf0 != 0xf0 && third & 0x0c != 0x0c
}

impl MediaReader {
    /// `kind` is what the file should be: [`FileKind::Video`] or [`FileKind::Audio`].
    #[must_use]
    pub fn new(kind: FileKind) -> Self {
        let (head, boxes, digest) = (Vec::new(), Boxes::default(), Sha256::new());
        Self { kind, head, format: None, boxes, bytes: 0, digest }
    }

    /// Reads the next bytes.
    ///
    /// # Errors
    ///
    /// They are not those of a file of this kind, which is known after the first few and at a wrong box.
    pub fn read(&mut self, chunk: &[u8]) -> Result<(), FetchError> {
        let room = HEAD_BYTES.saturating_sub(self.head.len()).min(chunk.len());
        self.head.extend(chunk.iter().take(room));
        self.digest.update(chunk);
        self.bytes = self.bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        if self.format.is_none() && self.head.len() >= RECOGNIZED_BYTES {
            self.format = Some(self.recognized()?);
        }
        // The walk needs no format, so it doesn't have to begin again when there is one.
        match (self.boxes.read(chunk), self.format) {
            (Err(flaw), Some(format)) if format.has_boxes() => Err(self.wrong(format, flaw)),
            _ => Ok(()),
        }
    }

    /// What the file is; `None` before enough of it is there.
    #[must_use]
    pub fn format(&self) -> Option<MediaFormat> {
        self.format
    }

    /// After the last bytes.
    ///
    /// # Errors
    ///
    /// The file isn't whole, or none of this kind.
    pub fn finish(self) -> Result<Media, FetchError> {
        let format = match self.format {
            Some(format) => format,
            None => self.recognized()?,
        };
        let mut media =
            Media { format, bytes: self.bytes, size: None, duration_ms: None, sha256: String::new() };
        if format.has_boxes() {
            self.boxes.whole().map_err(|flaw| self.wrong(format, flaw))?;
            (media.size, media.duration_ms) = self.boxes.described();
        } else if format == MediaFormat::Wav {
            media.duration_ms =
                wav::duration_ms(&self.head, self.bytes).map_err(|_| self.wrong(format, Flaw::Cut))?;
        }
        media.sha256 = hex::encode(self.digest.finalize());
        Ok(media)
    }

    fn recognized(&self) -> Result<MediaFormat, FetchError> {
        MediaFormat::of(self.kind, &self.head).ok_or_else(|| {
            let expected = match self.kind {
                FileKind::Image => "a picture",
                FileKind::Video => "an MP4 or QuickTime video",
                FileKind::Audio => "an MP3, WAV or M4A sound",
            };
            foreign(&self.head, expected)
        })
    }

    fn wrong(&self, format: MediaFormat, flaw: Flaw) -> FetchError {
        let (media_type, bytes) = (format.content_type(), self.bytes);
        match flaw {
            Flaw::Cut => {
                let what = format!("{media_type} that ends before its end, after {bytes} bytes");
                FetchError::new(Trouble::Cut, what)
            }
            Flaw::Broken(part) => {
                FetchError::new(Trouble::Broken, format!("{media_type} that is wrong inside: {part}"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
