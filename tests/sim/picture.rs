//! Real pictures, made here: PNG and JPEG files with the requested aspect ratio, different for every task and index.
//!
//! Compressing is the expensive part, so it is done once: a PNG keeps its compressed pixels and gets a palette of its
//! own; a JPEG is made in sixteen tints. Both contain their task and index as text, which makes every file differ in
//! its bytes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;

use crate::chance::mix;

const TINTS: u64 = 16;

/// Width to height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct AspectRatio {
    name: &'static str,
    width: u32,
    height: u32,
}

impl AspectRatio {
    const ALL: [Self; 8] = [
        Self::of("16:9", 16, 9),
        Self::of("9:16", 9, 16),
        Self::of("1:1", 1, 1),
        Self::of("4:3", 4, 3),
        Self::of("3:4", 3, 4),
        Self::of("3:2", 3, 2),
        Self::of("2:3", 2, 3),
        Self::of("21:9", 21, 9),
    ];
    pub(crate) const DEFAULT: Self = Self::of("16:9", 16, 9);

    const fn of(name: &'static str, width: u32, height: u32) -> Self {
        Self { name, width, height }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ratio| ratio.name == name)
    }

    /// Width and height with `long_px` on the long side.
    pub(crate) fn size(self, long_px: u16) -> (u16, u16) {
        let long = self.width.max(self.height);
        let side = |part: u32| {
            let px = (u32::from(long_px) * part + long / 2) / long;
            u16::try_from(px.max(1)).unwrap_or(long_px)
        };
        (side(self.width), side(self.height))
    }
}

/// What kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    Png,
    Jpeg,
    Mp4,
    Mp3,
    Wav,
}

impl Format {
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Mp4 => "mp4",
            Self::Mp3 => "mp3",
            Self::Wav => "wav",
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Mp4 => "video/mp4",
            Self::Mp3 => "audio/mpeg",
            Self::Wav => "audio/wav",
        }
    }
}

/// Draws pictures and keeps what was dear to make.
#[derive(Debug)]
pub(crate) struct Pictures {
    long_px: u16,
    kept: Mutex<HashMap<Plate, Arc<[u8]>>>,
}

/// The part of a picture that many share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Plate {
    /// Compressed palette indices: the data of the IDAT chunk.
    Png(AspectRatio),
    /// A whole file in one tint.
    Jpeg(AspectRatio, u64),
}

impl Pictures {
    pub(crate) fn new(long_px: u16) -> Self {
        Self { long_px, kept: Mutex::default() }
    }

    /// The file of the image `index` of the task: the same bytes every time.
    pub(crate) fn draw(
        &self,
        task_id: u64,
        index: u8,
        ratio: AspectRatio,
        format: Format,
    ) -> anyhow::Result<Vec<u8>> {
        let tint = mix(task_id, u64::from(index));
        let label = format!("comet-sim task {task_id} image {index}");
        match format {
            Format::Png => {
                let plate = self.plate(Plate::Png(ratio))?;
                png_file(ratio.size(self.long_px), palette(tint), label, &plate)
            }
            Format::Jpeg => {
                let plate = self.plate(Plate::Jpeg(ratio, tint % TINTS))?;
                labelled_jpeg(&plate, &label)
            }
            Format::Mp4 | Format::Mp3 | Format::Wav => anyhow::bail!("this is no picture"),
        }
    }

    fn plate(&self, plate: Plate) -> anyhow::Result<Arc<[u8]>> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = kept().get(&plate) {
            return Ok(Arc::clone(bytes));
        }
        let bytes: Arc<[u8]> = match plate {
            Plate::Png(ratio) => png_plate(ratio.size(self.long_px))?.into(),
            Plate::Jpeg(ratio, tint) => jpeg_file(ratio.size(self.long_px), &palette(tint))?.into(),
        };
        kept().insert(plate, Arc::clone(&bytes));
        Ok(bytes)
    }
}

/// Brightness of each pixel: rings around the middle of the upper left third, over a slope.
fn pattern((width, height): (u16, u16)) -> Vec<u8> {
    let (width, height) = (u32::from(width), u32::from(height));
    let pixel = |x: u32, y: u32| {
        let (dx, dy) = (x.abs_diff(width / 3), y.abs_diff(height / 3));
        let ring = ((dx * dx + dy * dy) / (width + height)) % 64;
        let slope = (x + y) * 191 / (width + height);
        u8::try_from(ring + slope).unwrap_or(u8::MAX)
    };
    (0..height).flat_map(|y| (0..width).map(move |x| pixel(x, y))).collect()
}

/// 256 colours from dark to light between two that come from the tint.
fn palette(tint: u64) -> Vec<u8> {
    let [r1, g1, b1, r2, g2, b2, _, _] = mix(tint, 0).to_le_bytes();
    let between = |from: u8, to: u8, step: u32| {
        let (from, to) = (u32::from(from / 3), u32::from(to / 2) + 128);
        u8::try_from((from * (255 - step) + to * step) / 255).unwrap_or(u8::MAX)
    };
    (0..=255).flat_map(|step| [between(r1, r2, step), between(g1, g2, step), between(b1, b2, step)]).collect()
}

fn png_encoder(
    out: &mut Vec<u8>,
    (width, height): (u16, u16),
    palette: Vec<u8>,
) -> png::Encoder<'static, &mut Vec<u8>> {
    let mut encoder = png::Encoder::new(out, width.into(), height.into());
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette);
    encoder
}

fn png_plate(size: (u16, u16)) -> anyhow::Result<Vec<u8>> {
    let mut file = Vec::new();
    let mut writer = png_encoder(&mut file, size, palette(0)).write_header()?;
    writer.write_image_data(&pattern(size))?;
    writer.finish()?;
    Ok(png_chunks(&file)
        .filter(|(name, _)| *name == png::chunk::IDAT.0)
        .flat_map(|(_, data)| data.iter().copied())
        .collect())
}

fn png_file(size: (u16, u16), palette: Vec<u8>, label: String, plate: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut file = Vec::with_capacity(plate.len() + 1200);
    let mut encoder = png_encoder(&mut file, size, palette);
    encoder.add_text_chunk("Comment".to_owned(), label)?;
    let mut writer = encoder.write_header()?;
    writer.write_chunk(png::chunk::IDAT, plate)?;
    writer.finish()?;
    Ok(file)
}

/// The chunks of a PNG file: name and data.
fn png_chunks(file: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = file.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (name, after) = after.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (data, after) = after.split_at_checked(length)?;
        rest = after.get(4..).unwrap_or_default();
        Some((*name, data))
    })
}

fn jpeg_file(size: (u16, u16), palette: &[u8]) -> anyhow::Result<Vec<u8>> {
    let colour = |step: u8| palette.chunks_exact(3).nth(usize::from(step)).unwrap_or(&[0; 3]);
    let pixels: Vec<u8> = pattern(size).into_iter().flat_map(colour).copied().collect();
    let mut file = Vec::new();
    jpeg_encoder::Encoder::new(&mut file, 80)
        .encode(&pixels, size.0, size.1, jpeg_encoder::ColorType::Rgb)
        .context("encoding a JPEG")?;
    Ok(file)
}

/// The file with a comment segment behind its start marker.
fn labelled_jpeg(file: &[u8], label: &str) -> anyhow::Result<Vec<u8>> {
    const COMMENT: [u8; 2] = [0xff, 0xfe];
    let (start, rest) = file.split_at_checked(2).context("a JPEG without a start")?;
    let length = u16::try_from(label.len() + 2)?.to_be_bytes();
    Ok([start, &COMMENT, &length, label.as_bytes(), rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_what_they_say_in_every_ratio() {
        let pictures = Pictures::new(640);
        for ratio in AspectRatio::ALL {
            for format in [Format::Png, Format::Jpeg] {
                let file = pictures.draw(178, 0, ratio, format).unwrap();
                assert_eq!(infer::get(&file).unwrap().mime_type(), format.content_type());
                let size = imagesize::blob_size(&file).unwrap();
                let (width, height) = ratio.size(640);
                assert_eq!((size.width, size.height), (width.into(), height.into()), "{ratio:?} {format:?}");
                assert_eq!(width.max(height), 640);
            }
        }
        assert_eq!(AspectRatio::DEFAULT.size(640), (640, 360));
    }

    #[test]
    fn a_png_decodes_to_its_last_pixel() {
        let file = Pictures::new(640).draw(1, 0, AspectRatio::DEFAULT, Format::Png).unwrap();
        let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        reader.finish().unwrap();
        assert_eq!(pixels.len(), 640 * 360 * 3);
        assert_ne!(pixels[..3], pixels[pixels.len() - 3..]);
    }

    #[test]
    fn a_jpeg_begins_and_ends_as_one() {
        let file = Pictures::new(640).draw(1, 0, AspectRatio::DEFAULT, Format::Jpeg).unwrap();
        assert!(file.starts_with(&[0xff, 0xd8, 0xff, 0xfe]));
        assert!(file.ends_with(&[0xff, 0xd9]));
    }

    #[test]
    fn tasks_and_indices_have_pictures_of_their_own_and_keep_them() {
        let pictures = Pictures::new(64);
        for format in [Format::Png, Format::Jpeg] {
            let draw = |task, index| pictures.draw(task, index, AspectRatio::DEFAULT, format).unwrap();
            let all: std::collections::HashSet<_> = (0..20)
                .flat_map(|task| (0..9).map(move |index| (task, index)))
                .map(|(t, i)| draw(t, i))
                .collect();
            assert_eq!(all.len(), 180);
            assert_eq!(draw(7, 3), draw(7, 3));
        }
    }
}
