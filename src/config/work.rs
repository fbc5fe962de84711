//! How jobs are processed: how many, how long, how often polled, and what is published.

use std::str::FromStr;
use std::time::Duration;

use super::reader::Reader;
use super::services::{Amqp, Api};

const DAY_S: u64 = 86_400;

/// The limits of one worker.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Jobs held at once: RabbitMQ's prefetch. 1 to 65535.
    pub max_in_flight: u16,
}

/// What is paid for.
#[derive(Debug, Clone)]
pub struct Generation {
    /// From the accepted POST until the worker gives up; a job's own `timeout_s` takes precedence.
    pub timeout: Duration,
    /// After this time an unanswered POST can't arrive any more.
    pub quiet: Duration,
    /// A POST leaves within this time after it was allowed, or not at all.
    pub gate: Duration,
    pub on_unknown_submit: OnUnknownSubmit,
    /// Generations for one job, one after the other, as long as their tasks fail; each is paid for.
    pub max_attempts: u32,
    pub receipts: bool,
    /// The account's cap on the images that are generated at a time; 0 = none.
    pub max_running: u32,
}

/// What to do if it stays unknown whether a POST was accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnUnknownSubmit {
    /// The job ends as `outcome_unknown`, with a dead-letter copy for a person.
    #[default]
    Park,
    /// A look-up that finds nothing after the quiet period means that nothing was accepted: submit again, under the
    /// same external id.
    TrustLookup,
}

/// How often a running generation is polled.
#[derive(Debug, Clone)]
pub struct Poll {
    /// From the accepted POST to the first poll; may be zero.
    pub first: Duration,
    /// The shortest pause between two polls, above zero.
    pub min: Duration,
    /// The longest pause, at least `min`.
    pub max: Duration,
}

/// What is published besides the ends of jobs, and under which source.
#[derive(Debug, Clone)]
pub struct Events {
    /// Whether `job.submitted` is published as well.
    pub submitted: bool,
    /// The `source` of every CloudEvent.
    pub source: String,
}

impl FromStr for OnUnknownSubmit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "park" => Ok(Self::Park),
            "trust_lookup" => Ok(Self::TrustLookup),
            _ => Err("must be \"park\" or \"trust_lookup\"".to_owned()),
        }
    }
}

impl Worker {
    pub(super) fn read(from: &mut Reader) -> Self {
        Self { max_in_flight: from.number("worker.max_in_flight", 1..=65_535) }
    }
}

impl Generation {
    pub(super) fn read(from: &mut Reader) -> Self {
        Self {
            timeout: from.seconds("generation.timeout_s", 1..=7 * DAY_S),
            quiet: from.seconds("generation.quiet_s", 0..=DAY_S),
            gate: from.seconds("generation.gate_s", 1..=600),
            on_unknown_submit: from.word("generation.on_unknown_submit"),
            max_attempts: from.number("generation.max_attempts", 1..=10),
            receipts: from.flag("generation.receipts"),
            max_running: from.number("generation.max_running", 0..=1_000_000),
        }
    }

    /// A delivery is requeued at half of the consumer timeout. A POST that has begun by then still runs to its end,
    /// and must be recorded before the broker closes the channel.
    pub(super) fn check(&self, amqp: &Amqp, api: &Api, from: &mut Reader) {
        let (submit, gate, consumer) =
            ("api.submit_timeout_s", "generation.gate_s", "amqp.consumer_timeout_s");
        let fits = (api.submit_timeout + self.gate) * 3 <= amqp.consumer_timeout;
        from.must(&[submit, gate, consumer], fits, |from| {
            let (submit, gate, consumer) = (from.says(submit), from.says(gate), from.says(consumer));
            format!(
                "{submit} + {gate} must be at most a third of {consumer}: a delivery is handed back at half of \
                 that, and a POST under way then still runs to its end"
            )
        });
    }
}

impl Poll {
    pub(super) fn read(from: &mut Reader) -> Self {
        const HOUR_MS: u64 = 3_600_000;
        let poll = Self {
            first: from.milliseconds("poll.first_ms", 0..=HOUR_MS),
            min: from.milliseconds("poll.min_ms", 1..=HOUR_MS),
            max: from.milliseconds("poll.max_ms", 1..=HOUR_MS),
        };
        let (min, max) = ("poll.min_ms", "poll.max_ms");
        from.must(&[min, max], poll.min <= poll.max, |from| {
            format!("{} must be at most {}", from.says(min), from.says(max))
        });
        poll
    }
}

impl Events {
    pub(super) fn read(from: &mut Reader) -> Self {
        Self {
            submitted: from.flag("events.submitted"),
            source: from.parsed("events.source", |text| {
                let plain = !text.chars().any(|c| c.is_control() || c.is_whitespace());
                let fits = (1..=255).contains(&text.len()) && plain;
                fits.then(|| text.to_owned())
                    .ok_or_else(|| "must be a URI or a path of 1 to 255 bytes without spaces".to_owned())
            }),
        }
    }
}
