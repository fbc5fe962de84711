//! What bytes are, by themselves: no header, no extension, no decoding.
//!
//! Only the kinds that are stored: PNG, JPEG, WebP. Pure.

/// Pixels of the largest image taken: more is a bomb for whoever decodes it.
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
/// Says what is wrong with the bytes, for people.
pub(super) fn sniff(bytes: &[u8]) -> Result<Sniffed, String> {
    let kind = infer::get(bytes).map(|kind| kind.mime_type());
    let (content_type, extension, read_as) = match kind {
        Some("image/png") => ("image/png", "png", imagesize::ImageType::Png),
        Some("image/jpeg") => ("image/jpeg", "jpg", imagesize::ImageType::Jpeg),
        Some("image/webp") => ("image/webp", "webp", imagesize::ImageType::Webp),
        Some(other) => return Err(format!("{other} instead of a PNG, JPEG or WebP image")),
        None if bytes.is_empty() => return Err("an empty body".to_owned()),
        None => return Err("no PNG, JPEG or WebP image".to_owned()),
    };
    if imagesize::image_type(bytes).ok() != Some(read_as) {
        return Err(format!("only the first bytes are those of {content_type}"));
    }
    let size =
        imagesize::blob_size(bytes).map_err(|error| format!("{content_type} without dimensions: {error}"))?;
    let (Ok(width), Ok(height)) = (u32::try_from(size.width), u32::try_from(size.height)) else {
        return Err(format!("{content_type} of impossible dimensions"));
    };
    match u64::from(width).checked_mul(u64::from(height)) {
        Some(1..=PIXELS_MAX) => Ok(Sniffed { content_type, extension, width, height }),
        Some(_) | None => Err(format!("{content_type} of {width} x {height} pixels")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of a PNG of these dimensions.
    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes.extend([8, 6, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    fn jpeg(width: u16, height: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        let pixels = vec![0; usize::from(width) * usize::from(height) * 3];
        jpeg_encoder::Encoder::new(&mut bytes, 80)
            .encode(&pixels, width, height, jpeg_encoder::ColorType::Rgb)
            .unwrap();
        bytes
    }

    fn webp() -> Vec<u8> {
        let mut bytes = b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0".to_vec();
        bytes.extend([0x4f, 0x05, 0, 0xff, 0x02, 0, 0, 0]); // 1360 x 768, each less one
        bytes
    }

    #[test]
    fn the_three_kinds_are_known_with_their_dimensions() {
        let sniffed = |bytes: &[u8]| {
            let Sniffed { content_type, extension, width, height } = sniff(bytes).unwrap();
            (content_type, extension, width, height)
        };
        assert_eq!(sniffed(&png(1360, 768)), ("image/png", "png", 1360, 768));
        assert_eq!(sniffed(&jpeg(24, 16)), ("image/jpeg", "jpg", 24, 16));
        assert_eq!(sniffed(&webp()), ("image/webp", "webp", 1360, 768));
        assert!(sniff(&png(10_000, 10_000)).is_ok());
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        for (bytes, why) in [
            (b"".to_vec(), "empty"),
            (b"<!doctype html><h1>403</h1>".to_vec(), "html"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(), ""),
            (b"GIF89a\x01\0\x01\0\0\0\0".to_vec(), "image/gif"),
            (b"%PDF-1.7".to_vec(), "pdf"),
            (b"\x89PNG\r\n\x1a\n".to_vec(), ""),
            (b"\xff\xd8\xff\xe0".to_vec(), ""),
            (png(0, 768), "0 x 768"),
            (png(10_001, 10_000), "10001 x 10000"),
            (png(u32::MAX, u32::MAX), "4294967295"),
        ] {
            let refusal = sniff(&bytes).unwrap_err();
            assert!(refusal.contains(why), "{refusal}");
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
