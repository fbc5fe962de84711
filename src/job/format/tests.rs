use proptest::prelude::*;

use super::*;

/// Files that encoders have written, with their formats.
const PICTURES: &[(&str, Format)] = &[
    ("pillow-baseline.jpg", Format::Jpeg),
    ("pillow-progressive.jpg", Format::Jpeg),
    ("pillow-restarts.jpg", Format::Jpeg),
    ("pillow-cmyk.jpg", Format::Jpeg),
    ("pillow-grey.jpg", Format::Jpeg),
    ("pillow-exif-thumbnail.jpg", Format::Jpeg),
    ("pillow.png", Format::Png),
    ("pillow-palette.png", Format::Png),
    ("pillow-animated.png", Format::Png),
    ("pillow-lossy.webp", Format::Webp),
    ("pillow-lossless.webp", Format::Webp),
    ("pillow-alpha.webp", Format::Webp),
    ("pillow-exif.webp", Format::Webp),
    ("pillow-animated.webp", Format::Webp),
];

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/pictures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn encoded_png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(::png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    let pixels: Vec<u8> =
        (0..width * height * 3).map(|at| u8::try_from(at * at % 251).unwrap_or_default()).collect();
    writer.write_image_data(&pixels).unwrap();
    writer.finish().unwrap();
    bytes
}

fn encoded_jpeg(width: u16, height: u16, progressive: bool, restarts: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let pixels: Vec<u8> = (0..u32::from(width) * u32::from(height) * 3)
        .map(|at| u8::try_from(at * at % 251).unwrap_or_default())
        .collect();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 90);
    encoder.set_progressive(progressive);
    if restarts > 0 {
        encoder.set_restart_interval(restarts);
    }
    encoder.encode(&pixels, width, height, jpeg_encoder::ColorType::Rgb).unwrap();
    bytes
}

/// All pictures, as names and bytes.
fn pictures() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> =
        PICTURES.iter().map(|(name, _)| ((*name).to_owned(), fixture(name))).collect();
    all.push(("png".to_owned(), encoded_png(40, 24)));
    for progressive in [false, true] {
        for restarts in [0, 2] {
            let name = format!("jpeg {progressive} {restarts}");
            all.push((name, encoded_jpeg(40, 24, progressive, restarts)));
        }
    }
    all
}

/// The places where a JPEG's markers outside of its scans begin, without the first one.
fn markers(jpeg: &[u8]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut at = 2;
    while jpeg[at + 1] != 0xda {
        places.push(at);
        at += 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
    }
    places.push(at);
    places.push(jpeg.len() - 2);
    places
}

#[test]
fn every_encoders_pictures_are_whole_with_their_dimensions_and_their_length() {
    for (name, bytes) in pictures() {
        let whole = whole(&bytes).unwrap_or_else(|flaw| panic!("{name}: {flaw:?}"));
        assert_eq!((whole.width, whole.height), (40, 24), "{name}");
        assert_eq!(whole.length, bytes.len(), "{name}");
    }
    for (name, format) in PICTURES {
        assert_eq!(whole(&fixture(name)).unwrap().format, *format, "{name}");
    }
}

#[test]
fn every_beginning_of_a_picture_that_is_not_all_of_it_is_cut() {
    for (name, bytes) in pictures() {
        for length in 1..bytes.len() {
            let flaw = whole(&bytes[..length]).unwrap_err();
            assert!(matches!(flaw, Flaw::Cut(_)), "{name}: {length} of {} bytes: {flaw:?}", bytes.len());
        }
    }
}

#[test]
fn bytes_behind_the_end_are_harmless() {
    for (name, bytes) in pictures() {
        for behind in [&b"\0"[..], b"\xff\xd8\xff\xe0", b"\r\n--boundary--", &bytes] {
            let whole = whole(&[&bytes, behind].concat()).unwrap();
            assert_eq!(whole.length, bytes.len(), "{name}");
        }
    }
}

#[test]
fn fill_bytes_before_any_marker_of_a_jpeg_are_legal() {
    for name in ["pillow-baseline.jpg", "pillow-progressive.jpg", "pillow-restarts.jpg"] {
        let bytes = fixture(name);
        for place in markers(&bytes) {
            for fill in [1, 2, 300] {
                let (before, behind) = bytes.split_at(place);
                let filled = [before, &vec![0xff; fill], behind].concat();
                let whole = whole(&filled).unwrap_or_else(|flaw| panic!("{name} at {place}: {flaw:?}"));
                assert_eq!((whole.width, whole.height, whole.length), (40, 24, filled.len()));
                assert_eq!(size(&filled), Some((40, 24)), "{name} at {place}");
            }
        }
    }
}

/// A special marker in each place where decoders are known to meet one.
#[test]
fn odd_but_legal_jpegs_are_whole() {
    let bytes = fixture("pillow-baseline.jpg");
    let at = markers(&bytes);
    let with = |place: usize, more: &[u8]| [&bytes[..place], more, &bytes[place..]].concat();
    let end = *at.last().unwrap();
    for (what, odd) in [
        ("a comment behind the scan", with(end, b"\xff\xfe\0\x04hi")),
        ("a comment that has an end marker in it", with(at[0], b"\xff\xfe\0\x06\xff\xd9\xff\xd9")),
        ("an empty segment", with(at[1], b"\xff\xe5\0\x02")),
        ("bytes that belong nowhere between segments", with(at[1], b"\0\0\0")),
        ("the marker for private use", with(at[1], b"\xff\x01")),
        ("a coded ff behind fill bytes", with(end, b"\xff\xff\0")),
    ] {
        assert_eq!(whole(&odd).map(|whole| whole.length), Ok(odd.len()), "{what}");
    }
}

#[test]
fn the_lines_of_a_jpeg_may_be_told_behind_its_scan() {
    let mut bytes = fixture("pillow-baseline.jpg");
    let frame = *markers(&bytes).iter().find(|at| bytes[**at + 1] == 0xc0).unwrap();
    bytes[frame + 5..frame + 7].fill(0);
    let end = bytes.len() - 2;
    assert_eq!(whole(&bytes), Err(Flaw::Broken(Format::Jpeg, "its dimensions")));
    let told = [&bytes[..end], b"\xff\xdc\0\x04\0\x18", &bytes[end..]].concat();
    let whole = whole(&told).unwrap();
    assert_eq!((whole.width, whole.height), (40, 24));
}

#[test]
fn what_only_begins_like_a_picture_is_broken_or_cut_and_never_whole() {
    let header = encoded_png(40, 24)[..33].to_vec();
    let iend = b"\0\0\0\0IEND\xae\x42\x60\x82";
    let riff = |size: u32, rest: &[u8]| [b"RIFF", &size.to_le_bytes()[..], b"WEBP", rest].concat();
    for (what, bytes) in [
        ("a PNG of 33 bytes", header.clone()),
        ("a PNG without pixels", [&header[..], iend].concat()),
        ("a PNG that begins with its end", [png::SIGNATURE, iend].concat()),
        ("a PNG with a chunk of 4 GiB", [&header[..], b"\xff\xff\xff\xffIDAT"].concat()),
        ("a PNG with a chunk of no name", [&header[..], b"\0\0\0\x01\0\0\0\0a\0\0\0\0", iend].concat()),
        ("a JPEG of its two ends", b"\xff\xd8\xff\xd9".to_vec()),
        ("a JPEG without a scan", {
            let bytes = fixture("pillow-baseline.jpg");
            let scan = markers(&bytes)[markers(&bytes).len() - 2];
            [&bytes[..scan], b"\xff\xd9"].concat()
        }),
        ("a JPEG with a segment of no length", b"\xff\xd8\xff\xe0\0\0\xff\xd9".to_vec()),
        ("a WebP without a chunk", riff(4, b"")),
        ("a WebP of no length", riff(0, b"VP8L\0\0\0\0")),
        ("a WebP with only its extended head", riff(22, b"VP8X\x0a\0\0\0\0\0\0\0\x27\0\0\x17\0\0")),
        ("a WebP whose chunk passes its end", riff(20, b"VP8L\xff\0\0\0\x2f\0\0\0")),
    ] {
        let flaw = whole(&bytes).unwrap_err();
        assert!(!matches!(flaw, Flaw::Foreign), "{what}: {flaw:?}");
    }
}

#[test]
fn what_begins_as_something_else_is_foreign() {
    for bytes in [b"".to_vec(), b"<!doctype html>".to_vec(), fixture("pillow.gif"), fixture("pillow.avif")] {
        assert_eq!(whole(&bytes), Err(Flaw::Foreign));
        assert_eq!(size(&bytes), None);
    }
}

proptest! {
    #[test]
    fn pictures_of_any_size_are_whole_and_cut_at_any_place_they_are_not(
        (width, height) in (1_u16..80, 1_u16..80),
        (progressive, restarts) in (any::<bool>(), 0_u16..4),
        place in any::<prop::sample::Index>(),
        behind in any::<Vec<u8>>(),
    ) {
        for bytes in [
            encoded_jpeg(width, height, progressive, restarts),
            encoded_png(width.into(), height.into()),
        ] {
            let expected = (u32::from(width), u32::from(height), bytes.len());
            let found = whole(&[&bytes[..], &behind].concat()).unwrap();
            prop_assert_eq!((found.width, found.height, found.length), expected);
            let cut = 1 + place.index(bytes.len() - 1);
            prop_assert!(matches!(whole(&bytes[..cut]), Err(Flaw::Cut(_))), "{} of {}", cut, bytes.len());
        }
    }

    #[test]
    fn no_bytes_bring_it_down(head in 0_usize..5, tail: Vec<u8>) {
        let heads: [&[u8]; 5] =
            [png::SIGNATURE, jpeg::SIGNATURE, b"RIFF\x20\0\0\0WEBP", b"RIFF\x20\0\0\0WEBPVP8X", b""];
        let bytes = [heads[head], &tail].concat();
        let _ = (whole(&bytes), size(&bytes));
    }

    #[test]
    fn a_picture_with_any_byte_changed_brings_nothing_down(at in any::<prop::sample::Index>(), byte: u8) {
        for (_, mut bytes) in pictures() {
            let length = bytes.len();
            bytes[at.index(length)] = byte;
            let _ = (whole(&bytes), size(&bytes));
        }
    }
}
