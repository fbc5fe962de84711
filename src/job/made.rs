//! What a job makes: the kinds of files, and where they are stored.

use schemars::JsonSchema;
use serde::Serialize;

/// A kind of file that a route makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    Image,
    Video,
    Audio,
}

impl FileKind {
    pub const ALL: [Self; 3] = [Self::Image, Self::Video, Self::Audio];

    /// The member of the provider's `task_result` and of the success event that lists such files, and their folder in
    /// the store.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Image => "images",
            Self::Video => "videos",
            Self::Audio => "audios",
        }
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }
}

/// What a job has made, as it is stored. A route makes one or more kinds; the others are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Made {
    pub images: Vec<StoredImage>,
    pub videos: Vec<StoredMedia>,
    pub audios: Vec<StoredMedia>,
}

/// One stored file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StoredFile {
    Image(StoredImage),
    Video(StoredMedia),
    Audio(StoredMedia),
}

impl Made {
    /// In the order of the files.
    #[must_use]
    pub fn of(files: impl IntoIterator<Item = StoredFile>) -> Self {
        let mut made = Self::default();
        for file in files {
            match file {
                StoredFile::Image(image) => made.images.push(image),
                StoredFile::Video(video) => made.videos.push(video),
                StoredFile::Audio(audio) => made.audios.push(audio),
            }
        }
        made
    }

    /// How many files it has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.images.len() + self.videos.len() + self.audios.len()
    }
}

/// One stored image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[schemars(rename = "image")]
pub struct StoredImage {
    /// Its place in the generation, from 0.
    pub index: u32,
    /// Where it is stored; stable.
    #[schemars(
        length(min = 1),
        example = "s3://bucket/images/order-8812/0-1f0ce2.png",
        example = "file:///srv/images/order-8812/0-1f0ce2.png"
    )]
    pub location: String,
    /// Where it can be fetched; only where the store has a public base or signs URLs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub url: Option<String>,
    /// By its bytes, and not by the header of the provider's server.
    #[schemars(example = "image/png")]
    pub content_type: String,
    /// Its length.
    #[schemars(range(min = 1))]
    pub bytes: u64,
    /// In pixels.
    #[schemars(range(min = 1))]
    pub width: u32,
    /// In pixels.
    #[schemars(range(min = 1))]
    pub height: u32,
    /// Of its bytes, in hex.
    #[schemars(length(equal = 64))]
    pub sha256: String,
}

/// One stored video or sound.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[schemars(rename = "media")]
pub struct StoredMedia {
    /// Its place in the generation, from 0. A sound in two formats is two files with a place each.
    pub index: u32,
    /// Where it is stored; stable.
    #[schemars(length(min = 1), example = "s3://bucket/videos/order-8812/0-1f0ce2.mp4")]
    pub location: String,
    /// Where it can be fetched; only where the store has a public base or signs URLs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub url: Option<String>,
    /// By its bytes, and not by the header of the provider's server.
    #[schemars(example = "video/mp4", example = "audio/mpeg")]
    pub content_type: String,
    /// Its length.
    #[schemars(range(min = 1))]
    pub bytes: u64,
    /// In pixels; only of a video that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub width: Option<u32>,
    /// In pixels; only of a video that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub height: Option<u32>,
    /// Only of a file that says so: MP4, QuickTime and WAV do, MP3 doesn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Of its bytes, in hex.
    #[schemars(length(equal = 64))]
    pub sha256: String,
}
