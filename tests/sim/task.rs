//! A task of the provider. Its course is decided when it is made, and its state is derived from the clock after that.
//!
//! So a task needs no timer, ten thousand cost nothing while they run, and one that has ended stays ended.

use std::{sync::Arc, time::Duration};

use crate::{
    callback::Plan,
    chance::mix,
    duration::millis,
    faults::Fault,
    picture::{AspectRatio, Format},
    rules::{Family, GenerationRequest, Makes},
    switches::{Kept, KeptOf},
};

/// Failures come early: measured ones came within 2 s.
const FAILS_WITHIN: Duration = Duration::from_secs(2);
/// A task waits for a fifth of its time before it is worked on, and not longer than this.
const WAITS_MAX: Duration = Duration::from_secs(1);
const IMAGES_MAX: usize = 9;

/// How a task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Succeeds,
    /// With the text of `task_status_msg`.
    Fails(Option<&'static str>),
    NeverEnds,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Submitted,
    Processing,
    Succeed,
    Failed(Option<&'static str>),
}

impl Status {
    /// The provider's spelling.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Processing => "processing",
            Self::Succeed => "succeed",
            Self::Failed(_) => "failed",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) task_id: u64,
    /// Which account made it.
    pub(crate) account: usize,
    pub(crate) external_task_id: Option<Arc<str>>,
    /// What it is charged to in the report.
    pub(crate) job: Arc<str>,
    pub(crate) body_sha256: Arc<str>,
    pub(crate) family: Family,
    makes: Makes,
    pub(crate) is_series: bool,
    pub(crate) n: u8,
    pub(crate) aspect_ratio: AspectRatio,
    pub(crate) submitted_ms: u64,
    starts_ms: u64,
    /// `None`: never.
    pub(crate) ends_ms: Option<u64>,
    fate: Fate,
    /// Images that were paid for and not given back.
    pub(crate) charged: u8,
    pub(crate) polls: u64,
    pub(crate) downloads: u64,
    /// Polls that will still say task_not_exist.
    pub(crate) polls_missed: u64,
    pub(crate) image_faults: ImageFaults,
    pub(crate) callbacks: Option<Plan>,
    pub(crate) oddities: Oddities,
    /// Looks at it since it has succeeded.
    pub(crate) looks: u64,
    links: Links,
}

/// What was drawn about the downloads of one task.
#[derive(Debug, Default)]
pub(crate) struct ImageFaults {
    pub(crate) error: Kept,
    pub(crate) expired: Kept,
    pub(crate) expired_once: Kept,
    /// What is wrong with the files.
    pub(crate) file: KeptOf<Option<Fault>>,
    /// When each image was asked for first.
    pub(crate) first_ms: [Option<u64>; IMAGES_MAX],
    /// Errors that each image has answered with.
    pub(crate) errors: [u8; IMAGES_MAX],
}

/// How a task is told of, drawn when it is made.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Oddities {
    pub(crate) look: Option<Fault>,
    /// Looks by external id that find nothing.
    pub(crate) lookups_missed: u64,
    pub(crate) never_found: bool,
}

/// The signed URLs that a poll gives out: a later issue makes the earlier ones worthless.
#[derive(Debug, Default)]
struct Links {
    issue: u64,
    expire_ms: u64,
    spoilt: bool,
}

/// One result image as a poll shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u8,
    pub(crate) format: Format,
    pub(crate) expires_s: u64,
    pub(crate) key: u64,
}

/// What the provider tells of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskView {
    pub(crate) task_id: u64,
    pub(crate) external_task_id: Option<Arc<str>>,
    pub(crate) status: Status,
    pub(crate) created_ms: u64,
    pub(crate) updated_ms: u64,
    /// The provider's units, told with a success.
    pub(crate) units: u64,
    /// Only a query of a task that has succeeded has them.
    pub(crate) links: Vec<Link>,
    /// Its images are a series.
    pub(crate) is_series: bool,
    /// The shape that it is told in.
    pub(crate) look: Option<Fault>,
    pub(crate) looks: u64,
}

/// What a task is made of besides the request.
#[derive(Debug, Clone)]
pub(crate) struct Making {
    pub(crate) task_id: u64,
    pub(crate) account: usize,
    pub(crate) body_sha256: Arc<str>,
    pub(crate) fate: Fate,
    pub(crate) duration: Duration,
    pub(crate) polls_missed: u64,
    pub(crate) callbacks: Option<Plan>,
    pub(crate) now_ms: u64,
}

impl Task {
    pub(crate) fn new(request: &GenerationRequest, making: Making) -> Self {
        let now_ms = making.now_ms;
        let duration = match making.fate {
            Fate::Succeeds | Fate::NeverEnds => making.duration,
            Fate::Fails(_) => making.duration.min(FAILS_WITHIN),
        };
        let ends_ms = match making.fate {
            Fate::Succeeds | Fate::Fails(_) => Some(now_ms + millis(duration)),
            Fate::NeverEnds => None,
        };
        Self {
            task_id: making.task_id,
            account: making.account,
            external_task_id: request.external_task_id.clone(),
            job: request.job(),
            body_sha256: making.body_sha256,
            family: request.family,
            makes: request.makes,
            is_series: request.is_series,
            n: request.n,
            aspect_ratio: request.aspect_ratio,
            submitted_ms: now_ms,
            starts_ms: now_ms + millis((duration / 5).min(WAITS_MAX)),
            ends_ms,
            fate: making.fate,
            charged: request.n,
            polls: 0,
            downloads: 0,
            polls_missed: making.polls_missed,
            image_faults: ImageFaults::default(),
            callbacks: making.callbacks,
            oddities: Oddities::default(),
            looks: 0,
            links: Links::default(),
        }
    }

    pub(crate) fn fails(&self) -> bool {
        matches!(self.fate, Fate::Fails(_))
    }

    pub(crate) fn status(&self, now_ms: u64) -> Status {
        match (self.ends_ms, self.fate) {
            (Some(ends_ms), Fate::Succeeds) if now_ms >= ends_ms => Status::Succeed,
            (Some(ends_ms), Fate::Fails(message)) if now_ms >= ends_ms => Status::Failed(message),
            (_, Fate::Succeeds | Fate::Fails(_) | Fate::NeverEnds) if now_ms >= self.starts_ms => {
                Status::Processing
            }
            (_, Fate::Succeeds | Fate::Fails(_) | Fate::NeverEnds) => Status::Submitted,
        }
    }

    /// What a query shows, less the links.
    pub(crate) fn view(&self, units_per_image: u64, now_ms: u64) -> TaskView {
        TaskView {
            task_id: self.task_id,
            external_task_id: self.external_task_id.clone(),
            status: self.status(now_ms),
            created_ms: self.submitted_ms,
            updated_ms: self.updated_ms(now_ms),
            units: u64::from(self.charged) * units_per_image,
            links: Vec::new(),
            is_series: self.is_series,
            look: self.oddities.look,
            looks: self.looks,
        }
    }

    /// When its status changes, the making included.
    pub(crate) fn changes_ms(&self) -> Vec<u64> {
        let mut changes: Vec<u64> =
            [Some(self.submitted_ms), Some(self.starts_ms), self.ends_ms].into_iter().flatten().collect();
        changes.dedup();
        changes
    }

    pub(crate) fn updated_ms(&self, now_ms: u64) -> u64 {
        match self.status(now_ms) {
            Status::Submitted => self.submitted_ms,
            Status::Processing => self.starts_ms,
            Status::Succeed | Status::Failed(_) => self.ends_ms.unwrap_or(now_ms),
        }
    }

    /// Gives out URLs that hold now: the ones of before as long as they do, else fresh ones.
    pub(crate) fn issue_links(&mut self, issuer: &Issuer, now_ms: u64) -> Vec<Link> {
        if self.links.issue == 0 || self.links.spoilt || now_ms >= self.links.expire_ms {
            self.links = Links {
                issue: self.links.issue + 1,
                expire_ms: now_ms + millis(issuer.link_lifetime),
                spoilt: false,
            };
        }
        let link = |(index, format)| Link {
            index,
            format,
            expires_s: self.links.expire_ms.div_ceil(1000),
            key: issuer.key(self.task_id, index, self.links.issue),
        };
        self.files(issuer.formats).map(link).collect()
    }

    /// Its files, each with its place.
    fn files(&self, formats: Formats) -> impl Iterator<Item = (u8, Format)> {
        let task_id = self.task_id;
        let media: &[Format] = match self.makes {
            Makes::Pictures => &[],
            Makes::Video => &[Format::Mp4],
            Makes::Sound => &[Format::Mp3, Format::Wav],
            Makes::VideoAndSound => &[Format::Mp4, Format::Mp3, Format::Wav],
        };
        let pictures = if media.is_empty() { 0..self.n } else { 0..0 };
        let pictures = pictures.map(move |index| (index, formats.of(task_id, index)));
        pictures.chain((0..).zip(media.iter().copied()))
    }

    /// The format of one of its files.
    pub(crate) fn file(&self, formats: Formats, index: u8) -> Option<Format> {
        self.files(formats).find_map(|(place, format)| (place == index).then_some(format))
    }

    /// Does a key that came with a download open this image now?
    pub(crate) fn opens(&self, issuer: &Issuer, index: u8, key: u64, now_ms: u64) -> bool {
        key == issuer.key(self.task_id, index, self.links.issue)
            && self.links.issue > 0
            && now_ms < self.links.expire_ms
    }

    /// The URLs given out first, which `image-expired-once` spoils: the next poll issues others.
    pub(crate) fn spoil_first_links(&mut self) -> bool {
        let first = self.links.issue == 1;
        self.links.spoilt |= first;
        first
    }
}

/// What signs the URLs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Issuer {
    pub(crate) seed: u64,
    pub(crate) link_lifetime: Duration,
    pub(crate) formats: Formats,
}

impl Issuer {
    fn key(&self, task_id: u64, index: u8, issue: u64) -> u64 {
        mix(mix(self.seed, task_id), issue << 8 | u64::from(index))
    }
}

/// Which kind of file the results are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Formats {
    Png,
    Jpeg,
    /// by turns
    Mixed,
}

impl Formats {
    pub(crate) fn of(self, task_id: u64, index: u8) -> Format {
        match self {
            Self::Png => Format::Png,
            Self::Jpeg => Format::Jpeg,
            Self::Mixed if (task_id + u64::from(index)).is_multiple_of(2) => Format::Png,
            Self::Mixed => Format::Jpeg,
        }
    }
}
