//! What Redis stores about a job. It is read strictly: a record that this version doesn't understand is never guessed
//! at.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use crate::job::route::RouteName;
use crate::job::{Charged, Digest, FailedTasks, SentUnder, TaskId};

/// The newest version that this worker reads. It writes 1, which knows all stages but `told`, and 2 for that stage.
pub const VERSION: u32 = 2;

/// How far a job is: `new → submitting → generating → done`, or [`Stage::Published`], which is stored as `told`, instead of `done`. A missing record is
/// `New { attempt: 1 }`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Stage {
    /// No submit is under way, and attempt `attempt` may be posted.
    New { attempt: u32 },
    /// The life that wrote `nonce` may have posted attempt `attempt`.
    Submitting { attempt: u32, nonce: Nonce },
    /// The provider has accepted the job.
    Generating {
        attempt: u32,
        task: TaskId,
        /// The time since the acceptance, by the clock of Redis, when the record was read.
        age: Duration,
    },
    /// The job has ended, and these are the bytes to publish.
    Done {
        event: Bytes,
        /// Whether it ended unpaid, as an invalid request: a corrected input may replace it.
        replaceable: bool,
    },
    /// The job has ended and its event is confirmed; only the receipt of the result has the bytes of the event.
    Published { event_id: String },
}

/// The record of a job when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    pub digest: Digest,
    /// Where the job is submitted and its task polled; `None` once it has ended.
    pub route: Option<RouteName>,
    /// 1, plus one for each corrected input that replaced an invalid one.
    pub round: u32,
    pub stage: Stage,
    /// The event of an unknown outcome, if a person has had the job submitted again: the new outcome corrects it.
    pub corrects: Option<Bytes>,
    /// The failed tasks of the generations before the one of this stage.
    pub failed: FailedTasks,
    /// The external id of the open or the accepted attempt.
    pub under: Option<SentUnder>,
    /// How many lives may have begun to store the images, including the one that submitted the job.
    pub entries: u32,
    /// How long the images have been tried for in vain.
    pub tried: Option<Duration>,
}

/// Everything that the ledger knows of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// `None` if there is no record, or Redis has lost it.
    pub record: Option<Box<Record>>,
    /// Whether the user has cancelled the job, which may be before a worker has seen it.
    pub cancelled: bool,
}

/// A new one for each ask for the right to post.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Nonce(String);

impl Nonce {
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a stored record can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A newer worker wrote it. Requeue the job, so that such a worker gets it.
    #[error("the record has version {0}; this worker reads up to {VERSION}")]
    Newer(String),
    /// No known version wrote it.
    #[error("the record is damaged: {0}")]
    Damaged(String),
}

impl Snapshot {
    /// Reads the fields of the Redis hash. A hash without a stage belongs to a job that was cancelled before a worker
    /// saw it. `now_ms` is the time of Redis, in Unix milliseconds.
    ///
    /// # Errors
    ///
    /// The same as in [`Record::from_fields`].
    pub fn from_fields(fields: &HashMap<String, Bytes>, now_ms: u64) -> Result<Self, Unreadable> {
        let cancelled = fields.get("cancelled").is_some_and(|value| value.as_ref() == b"1");
        let unseen = fields.is_empty() || (cancelled && !fields.contains_key("stage"));
        let record = if unseen { None } else { Some(Box::new(Record::from_fields(fields, now_ms)?)) };
        Ok(Self { record, cancelled })
    }
}

impl Record {
    /// Reads the fields of the Redis hash. `now_ms` is the time of Redis, in Unix milliseconds.
    ///
    /// # Errors
    ///
    /// [`Unreadable`]. An unknown stage or a missing field means damage, and never a new job.
    pub fn from_fields(fields: &HashMap<String, Bytes>, now_ms: u64) -> Result<Self, Unreadable> {
        let text = |name: &str| {
            let value = fields.get(name).ok_or_else(|| Unreadable::Damaged(format!("no field {name}")))?;
            std::str::from_utf8(value).map_err(|_| Unreadable::Damaged(format!("field {name} is no text")))
        };
        let number = |name: &str| {
            text(name)?.parse::<u64>().map_err(|_| Unreadable::Damaged(format!("field {name} is no number")))
        };
        let small = |name: &str| {
            u32::try_from(number(name)?)
                .map_err(|_| Unreadable::Damaged(format!("field {name} is too large")))
        };
        let version = text("version")?;
        if !matches!(version, "1" | "2") {
            return Err(Unreadable::Newer(version.chars().take(20).collect()));
        }
        let stage = match text("stage")? {
            "new" => Stage::New { attempt: small("attempt")? },
            "submitting" => {
                Stage::Submitting { attempt: small("attempt")?, nonce: Nonce(text("nonce")?.to_owned()) }
            }
            "generating" => Stage::Generating {
                attempt: small("attempt")?,
                task: TaskId::new(text("task")?)
                    .ok_or_else(|| Unreadable::Damaged("field task is no id".into()))?,
                age: Duration::from_millis(now_ms.saturating_sub(number("since_ms")?)),
            },
            "done" => Stage::Done {
                event: fields
                    .get("event")
                    .cloned()
                    .ok_or_else(|| Unreadable::Damaged("no field event".into()))?,
                replaceable: fields.get("replaceable").is_some_and(|value| value.as_ref() == b"1"),
            },
            "told" => Stage::Published { event_id: text("event_id")?.to_owned() },
            other => {
                let word: String = other.chars().take(20).collect();
                return Err(Unreadable::Damaged(format!("unknown stage {word:?}")));
            }
        };
        Ok(Self {
            digest: Digest::new(text("digest")?.to_owned()),
            route: match &stage {
                // The first records had no such field, since there was one route.
                Stage::New { .. } | Stage::Submitting { .. } | Stage::Generating { .. }
                    if !fields.contains_key("route") =>
                {
                    Some(RouteName::default_route().clone())
                }
                Stage::New { .. } | Stage::Submitting { .. } | Stage::Generating { .. } => {
                    let name = RouteName::new(text("route")?);
                    Some(name.ok_or_else(|| Unreadable::Damaged("field route is no name".into()))?)
                }
                Stage::Done { .. } | Stage::Published { .. } => None,
            },
            round: small("round")?,
            stage,
            corrects: fields.get("corrects").cloned(),
            failed: if fields.contains_key("failed_tasks") {
                failed_tasks(text("failed_tasks")?, text("failed_charged")?)
                    .ok_or_else(|| Unreadable::Damaged("field failed_tasks is none".into()))?
            } else {
                FailedTasks::NONE
            },
            under: if fields.get("under").is_some_and(|under| !under.is_empty()) {
                let under = SentUnder::from_words(text("under")?);
                Some(under.ok_or_else(|| Unreadable::Damaged("field under is no external id".into()))?)
            } else {
                None
            },
            entries: if fields.contains_key("entries") { small("entries")? } else { 0 },
            tried: if fields.contains_key("tried_ms") {
                Some(Duration::from_millis(number("tried_ms")?))
            } else {
                None
            },
        })
    }
}

fn failed_tasks(tasks: &str, charged: &str) -> Option<FailedTasks> {
    let charged = match charged {
        "no" => Charged::No,
        "yes" => Charged::Yes,
        "unknown" => Charged::Unknown,
        _ => return None,
    };
    FailedTasks::from_words(tasks, charged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> HashMap<String, Bytes> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Bytes::copy_from_slice(value.as_bytes())))
            .collect()
    }

    #[test]
    fn the_age_of_a_generation_is_by_the_clock_of_redis() {
        let stored = [
            ("version", "1"),
            ("digest", "d"),
            ("round", "1"),
            ("stage", "generating"),
            ("attempt", "2"),
            ("task", "t-1"),
            ("since_ms", "1000"),
        ];
        let record = Record::from_fields(&fields(&stored), 4500).unwrap();
        let Stage::Generating { attempt: 2, age, .. } = record.stage else { panic!("{record:?}") };
        assert_eq!(age, Duration::from_millis(3500));
        // If the clock has jumped back, the job is young; there is no panic.
        assert!(Record::from_fields(&fields(&stored), 10).is_ok());
    }

    #[test]
    fn a_record_names_its_route_and_the_first_ones_were_all_of_the_default_route() {
        let mut stored =
            fields(&[("version", "1"), ("digest", "d"), ("round", "1"), ("stage", "new"), ("attempt", "1")]);
        let route = |stored: &_| Record::from_fields(stored, 0).map(|record| record.route);
        assert_eq!(route(&stored), Ok(Some(RouteName::default_route().clone())));
        stored.insert("route".to_owned(), "dance".into());
        assert_eq!(route(&stored), Ok(RouteName::new("dance")));
        stored.insert("route".to_owned(), "a b".into());
        assert!(matches!(route(&stored), Err(Unreadable::Damaged(_))));
        stored.extend(fields(&[("stage", "told"), ("event_id", "a/succeeded")]));
        assert_eq!(route(&stored), Ok(None), "it has ended");
    }

    #[test]
    fn a_record_of_a_newer_version_is_told_apart_from_damage() {
        let newer = fields(&[("version", "3"), ("stage", "paused")]);
        assert_eq!(Record::from_fields(&newer, 0), Err(Unreadable::Newer("3".into())));
        for damaged in [
            fields(&[("stage", "new")]),
            fields(&[("version", "1"), ("digest", "d"), ("round", "1"), ("stage", "elsewhere")]),
            fields(&[
                ("version", "1"),
                ("digest", "d"),
                ("round", "1"),
                ("stage", "generating"),
                ("attempt", "1"),
            ]),
            fields(&[("version", "1"), ("digest", "d"), ("round", "x"), ("stage", "new"), ("attempt", "1")]),
            fields(&[
                ("version", "1"),
                ("digest", "d"),
                ("round", "1"),
                ("stage", "new"),
                ("attempt", "2"),
                ("failed_tasks", "t-1"),
                ("failed_charged", "perhaps"),
            ]),
        ] {
            assert!(matches!(Record::from_fields(&damaged, 0), Err(Unreadable::Damaged(_))), "{damaged:?}");
        }
    }
}
