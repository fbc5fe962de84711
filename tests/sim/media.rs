//! Videos and sounds, made here: an MP4 with an index that any reader understands, an MP3 of silence, a WAV of silence.
//! The task's id is in each, so no two tasks have the same bytes.

use mp4_atom::{Encode as _, FourCC, Ftyp, Hdlr, Mdat, Mdhd, Mdia, Minf, Moov, Mvhd, Tkhd, Trak, Vmhd};

use crate::picture::{AspectRatio, Format};

const LONG_SIDE_PX: u16 = 1280;
/// What the provider makes is a little longer than what was asked for.
pub(crate) const VIDEO_MS: u64 = 5_041;
const MP3_FRAMES: usize = 40;
/// MPEG 1, layer III, 128 kbit/s, 44.1 kHz: a frame has 417 bytes.
const MP3_HEADER: [u8; 4] = [0xff, 0xfb, 0x90, 0x00];
const MP3_FRAME_BYTES: usize = 417;
const WAV_BYTES_A_SECOND: u32 = 8_000;

/// The file of a task, of about this many bytes if it is a video.
pub(crate) fn make(
    task_id: u64,
    format: Format,
    ratio: AspectRatio,
    video_bytes: usize,
) -> anyhow::Result<Vec<u8>> {
    match format {
        Format::Mp4 => video(task_id, ratio, video_bytes),
        Format::Mp3 => Ok(mp3(task_id)),
        Format::Wav => Ok(wav(task_id)),
        Format::Png | Format::Jpeg => anyhow::bail!("a picture is drawn"),
    }
}

/// Every second video has its index behind the data, as a file that was written in one go has.
fn video(task_id: u64, ratio: AspectRatio, bytes: usize) -> anyhow::Result<Vec<u8>> {
    let brand = FourCC::new(b"isom");
    let start =
        Ftyp { major_brand: brand, minor_version: 512, compatible_brands: vec![brand, FourCC::new(b"mp41")] };
    let (width, height) = ratio.size(LONG_SIDE_PX);
    let index = Moov {
        mvhd: Mvhd { timescale: 1000, duration: VIDEO_MS, ..Mvhd::default() },
        trak: vec![Trak {
            tkhd: Tkhd {
                track_id: 1,
                duration: VIDEO_MS,
                enabled: true,
                width: width.into(),
                height: height.into(),
                ..Tkhd::default()
            },
            mdia: Mdia {
                mdhd: Mdhd {
                    timescale: 1000,
                    duration: VIDEO_MS,
                    language: "und".to_owned(),
                    ..Mdhd::default()
                },
                hdlr: Hdlr { handler: FourCC::new(b"vide"), name: "comet-sim".to_owned() },
                minf: Minf { vmhd: Some(Vmhd::default()), ..Minf::default() },
            },
            ..Trak::default()
        }],
        ..Moov::default()
    };
    let mut data = task_id.to_be_bytes().to_vec();
    data.resize(bytes.max(data.len()), 0);
    let data = Mdat { data };
    let mut file = Vec::with_capacity(bytes + 1024);
    start.encode(&mut file)?;
    if task_id.is_multiple_of(2) {
        index.encode(&mut file)?;
        data.encode(&mut file)?;
    } else {
        data.encode(&mut file)?;
        index.encode(&mut file)?;
    }
    Ok(file)
}

fn mp3(task_id: u64) -> Vec<u8> {
    let frame = MP3_HEADER.into_iter().chain(task_id.to_be_bytes()).chain(std::iter::repeat(0));
    let frame: Vec<u8> = frame.take(MP3_FRAME_BYTES).collect();
    frame.repeat(MP3_FRAMES)
}

/// A second of it, eight bits a sample.
fn wav(task_id: u64) -> Vec<u8> {
    let mut data = vec![0x80; 8_000];
    data.splice(..8, task_id.to_be_bytes());
    let rate = WAV_BYTES_A_SECOND.to_le_bytes();
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    let format = [&[1, 0, 1, 0][..], &rate, &rate, &[1, 0, 8, 0]].concat();
    let parts: [&[u8]; 6] =
        [b"WAVEfmt ", &length(format.len()), &format, b"data", &length(data.len()), &data];
    let body = parts.concat();
    [b"RIFF", &length(body.len())[..], &body].concat()
}
