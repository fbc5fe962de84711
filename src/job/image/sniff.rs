//! Recognizes bytes by themselves: without a header, an extension, or decoding.
//!
//! It accepts only the formats that are stored (PNG, JPEG, WebP), and only whole pictures. Pure.

use super::FetchError;
use super::trouble::Trouble;
use crate::job::format::{self, Flaw, Format, Whole};

/// The most pixels that an image may have; a larger one is a bomb for any program that decodes it.
const PIXELS_MAX: u64 = 100_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sniffed {
    pub(super) content_type: &'static str,
    pub(super) extension: &'static str,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// # Errors
///
/// The error says what is wrong with the bytes, and whose fault that is.
pub(super) fn sniff(bytes: &[u8]) -> Result<Sniffed, FetchError> {
    if let (Some(format), Some((width, height))) = (Format::of(bytes), format::size(bytes))
        && u64::from(width) * u64::from(height) > PIXELS_MAX
    {
        let what = format!("{} of {width} x {height} pixels", format.media_type());
        return Err(FetchError::new(Trouble::AnotherKind, what));
    }
    match format::whole(bytes) {
        Ok(Whole { format, width, height, .. }) => {
            Ok(Sniffed { content_type: format.media_type(), extension: format.extension(), width, height })
        }
        Err(Flaw::Foreign) => Err(foreign(bytes, "a PNG, JPEG or WebP image")),
        Err(Flaw::Cut(format)) => {
            let what =
                format!("{} that ends before its end, after {} bytes", format.media_type(), bytes.len());
            Err(FetchError::new(Trouble::Cut, what))
        }
        Err(Flaw::Broken(format, part)) => Err(FetchError::new(
            Trouble::Broken,
            format!("{} that is wrong inside: {part}", format.media_type()),
        )),
    }
}

/// A file of a known kind was made by the provider for the job; a text, or nothing, is what a host sends instead of
/// it.
pub(in crate::job) fn foreign(bytes: &[u8], expected: &str) -> FetchError {
    let is_media = |kind: infer::Type| {
        use infer::MatcherType::{Audio, Image, Video};
        matches!(kind.matcher_type(), Audio | Image | Video)
    };
    let (trouble, what) = match infer::get(bytes) {
        Some(kind) => {
            let trouble = if is_media(kind) { Trouble::AnotherKind } else { Trouble::NoPicture };
            (trouble, format!("{} instead of {expected}", kind.mime_type()))
        }
        None if bytes.is_empty() => (Trouble::NoPicture, "an empty body".to_owned()),
        None => (Trouble::NoPicture, format!("something else than {expected}")),
    };
    FetchError::new(trouble, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of a PNG with these dimensions.
    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes.extend([8, 6, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    /// A file that an encoder has written.
    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/fixtures/pictures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn the_three_kinds_are_known_with_their_dimensions() {
        for (name, content_type, extension) in [
            ("pillow.png", "image/png", "png"),
            ("pillow-progressive.jpg", "image/jpeg", "jpg"),
            ("pillow-alpha.webp", "image/webp", "webp"),
        ] {
            let expected = Sniffed { content_type, extension, width: 40, height: 24 };
            assert_eq!(sniff(&fixture(name)), Ok(expected), "{name}");
        }
    }

    #[test]
    fn everything_else_is_sorted_with_a_reason() {
        let half = |name: &str| {
            let bytes = fixture(name);
            bytes[..bytes.len() / 2].to_vec()
        };
        for (bytes, trouble, why) in [
            (b"".to_vec(), Trouble::NoPicture, "empty"),
            (b"<!doctype html><h1>403</h1>".to_vec(), Trouble::NoPicture, "html"),
            (
                b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>".to_vec(),
                Trouble::NoPicture,
                "xml",
            ),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(), Trouble::NoPicture, ""),
            (b"{\"error\":\"expired\"}".to_vec(), Trouble::NoPicture, ""),
            (b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec(), Trouble::NoPicture, "gzip"),
            (vec![7; 64], Trouble::NoPicture, ""),
            (fixture("pillow.gif"), Trouble::AnotherKind, "image/gif"),
            (fixture("pillow.avif"), Trouble::AnotherKind, "image/avif"),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".to_vec(), Trouble::AnotherKind, "image/heif"),
            (b"%PDF-1.7".to_vec(), Trouble::NoPicture, "pdf"),
            (b"\x89PNG\r\n\x1a\n".to_vec(), Trouble::Cut, "image/png"),
            (b"\xff\xd8\xff\xe0".to_vec(), Trouble::Cut, "image/jpeg"),
            (half("pillow.png"), Trouble::Cut, "image/png"),
            (half("pillow-progressive.jpg"), Trouble::Cut, "image/jpeg"),
            (half("pillow-lossy.webp"), Trouble::Cut, "image/webp"),
            (b"\xff\xd8\xff\xd9".to_vec(), Trouble::Broken, "image/jpeg"),
            (png(0, 768), Trouble::Cut, "image/png"),
            (png(10_000, 10_000), Trouble::Cut, "image/png"),
            (png(10_001, 10_000), Trouble::AnotherKind, "10001 x 10000"),
            (png(u32::MAX, u32::MAX), Trouble::AnotherKind, "4294967295"),
        ] {
            let refusal = sniff(&bytes).unwrap_err();
            assert_eq!(refusal.trouble, trouble, "{refusal}");
            assert!(refusal.message.contains(why), "{refusal}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_bring_it_down(head in 0_usize..4, tail: Vec<u8>) {
            let heads: [&[u8]; 4] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b""];
            let _ = sniff(&[heads[head], &tail].concat());
        }
    }
}
