use super::*;

fn sized(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 8).unwrap();
    [&length.to_be_bytes()[..], name, content].concat()
}

fn start() -> Vec<u8> {
    sized(b"ftyp", b"isom\0\0\x02\0isomiso2avc1mp41")
}

/// An index with a duration of 5041 ms, a track without a picture and one of 1280 x 720.
fn index() -> Vec<u8> {
    use mp4_atom::{Encode as _, Hdlr, Mdia, Moov, Mvhd, Tkhd, Trak};
    let track = |width: u16, height: u16| Trak {
        tkhd: Tkhd { track_id: 1, width: width.into(), height: height.into(), ..Tkhd::default() },
        mdia: Mdia { hdlr: Hdlr::default(), ..Mdia::default() },
        ..Trak::default()
    };
    let mut bytes = Vec::new();
    Moov {
        mvhd: Mvhd { timescale: 600, duration: 3025, ..Mvhd::default() },
        trak: vec![track(0, 0), track(1280, 720)],
        ..Moov::default()
    }
    .encode(&mut bytes)
    .unwrap();
    bytes
}

fn video() -> Vec<u8> {
    [start(), index(), sized(b"free", b""), sized(b"mdat", &[7; 3000])].concat()
}

fn wav_of(bytes: u32, announced: u32) -> Vec<u8> {
    let format =
        [&[1, 0, 1, 0][..], &8000_u32.to_le_bytes(), &8000_u32.to_le_bytes(), &[1, 0, 8, 0]].concat();
    let mut file = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
    file.extend(format);
    file.extend(b"data");
    file.extend(announced.to_le_bytes());
    file.extend(vec![0x80; bytes as usize]);
    file
}

fn mp3() -> Vec<u8> {
    [&[0xff, 0xfb, 0x90, 0x00][..], &[0; 413]].concat().repeat(3)
}

/// The file in chunks of this size.
fn read(kind: FileKind, bytes: &[u8], chunk: usize) -> Result<Media, FetchError> {
    let mut reader = MediaReader::new(kind);
    for chunk in bytes.chunks(chunk) {
        reader.read(chunk)?;
    }
    reader.finish()
}

#[test]
fn a_video_is_described_by_its_index_wherever_that_stands_and_however_it_arrives() {
    let fast = video();
    let slow = [start(), sized(b"mdat", &[7; 3000]), index()].concat();
    // The length of the data in eight bytes, and data to the end of the file.
    let long = [&1_u32.to_be_bytes()[..], b"mdat", &3016_u64.to_be_bytes(), &[7; 3000]].concat();
    let long = [start(), index(), long].concat();
    let open = [start(), index(), [&[0; 4][..], b"mdat", &[7; 3000]].concat()].concat();
    for (name, bytes) in [("fast", fast), ("slow", slow), ("long", long), ("open", open)] {
        for chunk in [1, 7, 1000, usize::MAX] {
            let media =
                read(FileKind::Video, &bytes, chunk).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(media.format, MediaFormat::Mp4, "{name}");
            assert_eq!(media.bytes, bytes.len() as u64, "{name}");
            assert_eq!(media.size, Some((1280, 720)), "{name}");
            assert_eq!(media.duration_ms, Some(5041), "{name}");
            assert_eq!(media.sha256, hex::encode(Sha256::digest(&bytes)), "{name}");
        }
    }
}

#[test]
fn a_video_that_stops_anywhere_is_no_whole_one() {
    let bytes = [start(), index(), sized(b"mdat", &[7; 300]), sized(b"free", &[0; 40])].concat();
    for end in 0..bytes.len() {
        let data_is_whole = end >= bytes.len() - 48;
        match read(FileKind::Video, &bytes[..end], 64) {
            // What is missing then is a part that holds nothing.
            Ok(_) => assert!(data_is_whole, "{end}"),
            Err(error) => {
                let cut = matches!(error.trouble, Trouble::Cut | Trouble::Broken | Trouble::NoPicture);
                assert!(cut, "{end}: {error:?}");
            }
        }
    }
    for without in [index(), sized(b"mdat", &[7; 30])] {
        let error = read(FileKind::Video, &[start(), without].concat(), 64).unwrap_err();
        assert_eq!(error.trouble, Trouble::Broken, "{error}");
    }
}

#[test]
fn what_stands_behind_a_whole_video_is_no_fault_of_it() {
    for behind in [&b"\0\0and some notes"[..], &[0; 64], b"\xff", b"<!-- served by a cache -->"] {
        let bytes = [&video()[..], behind].concat();
        assert!(read(FileKind::Video, &bytes, 100).is_ok(), "{behind:?}");
    }
    // A piece of a video in pieces is a part of it.
    let pieces = [start(), index(), sized(b"moof", &[0; 16]), sized(b"mdat", &[7; 30])].concat();
    assert!(read(FileKind::Video, &pieces, 100).is_ok());
    let more = [&pieces[..], &sized(b"moof", &[0; 16])[..20]].concat();
    assert_eq!(read(FileKind::Video, &more, 100).unwrap_err().trouble, Trouble::Cut);
    assert_eq!(read(FileKind::Video, &more[..pieces.len() + 4], 100).unwrap_err().trouble, Trouble::Cut);
    let owing = [&pieces[..], &sized(b"moof", &[0; 16])].concat();
    assert_eq!(read(FileKind::Video, &owing, 100).unwrap_err().trouble, Trouble::Cut, "its data is missing");
}

#[test]
fn other_files_are_refused_with_what_they_are() {
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0".to_vec();
    let page = b"<!doctype html><h1>403</h1>".to_vec();
    let heic = sized(b"ftyp", b"heic\0\0\0\0mif1heic");
    for (kind, bytes, trouble, said) in [
        (FileKind::Video, png.clone(), Trouble::AnotherKind, "image/png instead of an MP4"),
        (FileKind::Video, page.clone(), Trouble::NoPicture, "text/html"),
        (FileKind::Video, Vec::new(), Trouble::NoPicture, "an empty body"),
        (FileKind::Video, mp3(), Trouble::AnotherKind, "audio/mpeg"),
        (FileKind::Video, heic, Trouble::AnotherKind, "image/heif"),
        (FileKind::Audio, page, Trouble::NoPicture, "text/html"),
        (FileKind::Audio, png, Trouble::AnotherKind, "instead of an MP3, WAV or M4A sound"),
        (FileKind::Audio, b"{\"error\":\"expired\"}".to_vec(), Trouble::NoPicture, "something else"),
    ] {
        let error = read(kind, &bytes, 8).unwrap_err();
        assert_eq!(error.trouble, trouble, "{error}");
        assert!(error.message.contains(said), "{error}");
    }
    // A box that is shorter than its own header, and one without a name.
    for wrong in [&[0, 0, 0, 4, b'm', b'o', b'o', b'v'][..], &[0, 0, 0, 40, 1, 2, 3, 4]] {
        let error = read(FileKind::Video, &[&start()[..], wrong].concat(), 8).unwrap_err();
        assert_eq!(error.trouble, Trouble::Broken, "{error}");
    }
}

#[test]
fn sounds_are_known_and_a_wav_says_how_long_it_is() {
    let media = read(FileKind::Audio, &mp3(), 100).unwrap();
    assert_eq!((media.format, media.duration_ms), (MediaFormat::Mp3, None));
    let tagged = [&b"ID3\x03\0\0\0\0\0\0"[..], &mp3()].concat();
    assert_eq!(read(FileKind::Audio, &tagged, 100).unwrap().format, MediaFormat::Mp3);
    let media = read(FileKind::Audio, &wav_of(4000, 4000), 100).unwrap();
    assert_eq!((media.format, media.duration_ms), (MediaFormat::Wav, Some(500)));
    let streamed = read(FileKind::Audio, &wav_of(4000, u32::MAX), 100).unwrap();
    assert_eq!(streamed.duration_ms, None, "written into a pipe");
    assert_eq!(read(FileKind::Audio, &wav_of(3999, 4000), 100).unwrap_err().trouble, Trouble::Cut);
    // A list of 600 bytes stands before the sound.
    let mut long = wav_of(4000, 4000);
    long.splice(12..12, [&b"LIST\x58\x02\0\0"[..], &[0; 600]].concat());
    let whole = u32::try_from(long.len() - 8).unwrap();
    long.splice(4..8, whole.to_le_bytes());
    assert_eq!(read(FileKind::Audio, &long, 100).unwrap().duration_ms, None);
    assert_eq!(read(FileKind::Audio, &long[..long.len() - 1], 100).unwrap_err().trouble, Trouble::Cut);
    // A text in UTF-16 begins as a frame of another layer does.
    for text in ["<html>Forbidden</html>", "{\"error\": \"expired\"}"] {
        let page: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let trouble =
            read(FileKind::Audio, &page, 100).map(|media| media.format).map_err(|error| error.trouble);
        assert_eq!(trouble, Err(Trouble::NoPicture), "{text}");
    }
    let m4a = [sized(b"ftyp", b"M4A \0\0\0\0M4A mp42"), index(), sized(b"mdat", &[1; 9])].concat();
    assert_eq!(read(FileKind::Audio, &m4a, 100).unwrap().format, MediaFormat::M4a);
}

/// The index is kept up to a bound, and a file with a larger one is stored all the same.
#[test]
fn an_index_without_end_takes_no_memory() {
    let mut reader = MediaReader::new(FileKind::Video);
    reader.read(&start()).unwrap();
    reader.read(&[&u32::MAX.to_be_bytes()[..], b"moov"].concat()).unwrap();
    for _ in 0..100 {
        reader.read(&vec![0; 100_000]).unwrap();
    }
    assert!(reader.boxes.index_bytes() <= 1024 * 1024);
}

proptest::proptest! {
    #[test]
    fn no_bytes_bring_it_down(head in 0_usize..4, tail: Vec<u8>, chunk in 1_usize..50) {
        let heads = [video(), start(), wav_of(0, 10), Vec::new()];
        let bytes = [&heads[head][..], &tail].concat();
        for kind in FileKind::ALL {
            let _ = read(kind, &bytes, chunk);
        }
    }
}
