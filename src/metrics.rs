//! What the worker counts and measures, for `/metrics`.
//!
//! Call sites name what happened; names, labels and buckets are in `families.rs`. Every label value is a word of
//! ours, never one that a user or the provider has sent. Series that alerts use exist from the start with 0, because
//! Prometheus sees no increase if a series only appears later.

mod families;
mod labels;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

pub use labels::{CallbackAnswer, HandedBack, PauseReason, Service, Standstill};

use crate::fleet::Queues;
use crate::fleet::spend::SpendState;
use crate::job::answers::{SubmitOutcome, TaskStatus};
use crate::job::event::EventKind;
use crate::job::request::DeadReason;
use crate::job::spend::Units;
use crate::job::stage::JobStage;
use crate::job::step::RequeueReason;
use crate::job::{Charged, Outcome, Timings};

use families::{Families, Labels};

/// The content type of what `encode` returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Families>);

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Families::new()))
    }

    /// A job has ended.
    pub fn job_finished(&self, outcome: &Outcome) {
        let (outcome, reason) = match outcome {
            Outcome::Succeeded(_) => ("succeeded", ""),
            Outcome::Failed(failure) => ("failed", failure.reason.as_str()),
            Outcome::Cancelled(_) => ("cancelled", ""),
        };
        count(&self.0.jobs_finished, [("outcome", outcome), ("reason", reason)]);
    }

    /// A job that this worker holds has gone from one stage to another; `None`: it was not held before, or isn't any
    /// more.
    pub fn moved(&self, from: Option<JobStage>, to: Option<JobStage>) {
        let gauge = |stage: JobStage| self.0.jobs_held.get_or_create_owned(&[("stage", stage.as_str())]);
        if let Some(from) = from {
            gauge(from).dec();
        }
        if let Some(to) = to {
            gauge(to).inc();
        }
    }

    /// Whether the worker takes no new jobs for this reason.
    pub fn paused(&self, reason: PauseReason, paused: bool) {
        self.0.paused.get_or_create(&[("reason", reason.as_str())]).set(i64::from(paused));
    }

    /// Whether there is a standstill of this kind.
    pub fn standstill(&self, what: Standstill, stands: bool) {
        self.0.standstill.get_or_create(&[("what", what.as_str())]).set(i64::from(stands));
    }

    /// Whether a pause for this reason has become a standstill.
    pub fn long_pause(&self, reason: PauseReason, stands: bool) {
        self.0.standstill.get_or_create(&[("what", reason.as_str())]).set(i64::from(stands));
    }

    /// A POST has ended with this, `took` after it was sent.
    pub fn submitted(&self, answer: &SubmitOutcome, took: Duration) {
        count(&self.0.submits, [("answer", answer.label())]);
        self.0.submit.observe(took.as_secs_f64());
    }

    /// A poll of a task returned this.
    pub fn polled(&self, status: &TaskStatus) {
        count(&self.0.polls, [("view", status.label())]);
    }

    /// A poll of a task returned an unknown status word.
    pub fn unknown_word(&self) {
        self.0.unknown_words.inc();
    }

    /// A request at the callback listener was answered with this.
    pub fn callback(&self, answer: CallbackAnswer) {
        count(&self.0.callbacks, [("answer", answer.as_str())]);
    }

    /// A lost connection to this service is established again.
    pub fn reconnected(&self, service: Service) {
        count(&self.0.reconnects, [("service", service.as_str())]);
    }

    pub fn event_published(&self, kind: EventKind) {
        count(&self.0.events_published, [("type", kind.event_type())]);
    }

    /// No queue took a terminal event.
    pub fn event_unrouted(&self) {
        self.0.events_unrouted.inc();
    }

    pub fn dead_letter(&self, reason: DeadReason) {
        count(&self.0.dead_letters, [("reason", reason.as_str())]);
    }

    /// A life requeued its delivery.
    pub fn requeued(&self, why: RequeueReason) {
        count(&self.0.handed_back, [("why", why.as_str())]);
    }

    /// A delivery was requeued or republished for another reason.
    pub fn handed_back(&self, why: HandedBack) {
        count(&self.0.handed_back, [("why", why.as_str())]);
    }

    /// The state machine got a result that doesn't fit its action.
    pub fn misfit(&self) {
        self.0.internal_faults.inc();
    }

    /// A job's life ended in a panic.
    pub fn job_panicked(&self) {
        self.0.job_panics.inc();
    }

    /// A generation failed, and another one follows.
    pub fn generated_again(&self) {
        self.0.generations_again.inc();
    }

    /// `generation.max_running`
    pub fn slots_allowed(&self, cap: u32) {
        self.0.slots_max.set(i64::from(cap));
    }

    /// A number that the ledger has for all workers together; unknown names are ignored.
    pub fn fleet(&self, name: &str, value: u64) {
        match name {
            "slots_taken" => drop(self.0.slots_taken.set(i64::try_from(value).unwrap_or(i64::MAX))),
            // The ledger counts it in 1000 seconds.
            "pace" => drop(self.0.pace.set(Duration::from_millis(value).as_secs_f64())),
            _ => {}
        }
    }

    /// A job has got its slots, `took` after it entered the line.
    pub fn waited_for_slots(&self, took: Duration) {
        self.0.slots_wait.observe(took.as_secs_f64());
    }

    /// All images of a job are stored.
    pub fn stored(&self, took: Duration) {
        self.0.store.observe(took.as_secs_f64());
    }

    /// At a job's end, how long it was queued and generated, as far as known. POSTs and storing are measured when
    /// they happen, by [`Self::submitted`] and [`Self::stored`].
    pub fn timings(&self, timings: &Timings) {
        let measured = [(&self.0.queued, timings.queued), (&self.0.generation, timings.generate)];
        for (histogram, took_ms) in measured {
            if let Some(took_ms) = took_ms {
                histogram.observe(Duration::from_millis(took_ms).as_secs_f64());
            }
        }
    }

    /// A job has ended after this many polls by the life that ended it; a job without a task had none.
    pub fn looked_at(&self, polls: u32) {
        if polls > 0 {
            self.0.polls_per_job.observe(f64::from(polls));
        }
    }

    /// A poll saw the end of a generation that was still running `gap` before.
    pub fn end_seen(&self, gap: Duration) {
        self.0.poll_gap.observe(gap.as_secs_f64());
    }

    /// What a job's end has cost: the units that the provider deducted, as far as it says, and whether there is nothing
    /// to show for it. `model` is one of the table's, or `other`.
    pub fn paid(&self, outcome: &Outcome, model: &'static str) {
        let (units, charged) = match outcome {
            Outcome::Succeeded(success) => (success.units.as_deref(), None),
            Outcome::Failed(failure) => (failure.units.as_deref(), Some(failure.charged)),
            Outcome::Cancelled(cancellation) => (None, Some(cancellation.charged)),
        };
        if let Some(units) = units.and_then(|units| units.trim().parse::<f64>().ok())
            && units.is_finite()
            && units > 0.0
        {
            self.0.units.get_or_create(&[("model", model)]).inc_by(units);
        }
        match charged {
            None | Some(Charged::No) => {}
            Some(Charged::Yes) => count(&self.0.paid_in_vain, [("charged", "yes")]),
            Some(Charged::Unknown) => count(&self.0.paid_in_vain, [("charged", "unknown")]),
        }
    }

    /// A call of Redis has ended.
    pub fn redis_called(&self, took: Duration, failed: bool) {
        self.0.redis.observe(took.as_secs_f64());
        if failed {
            count(&self.0.service_errors, [("service", Service::Redis.as_str())]);
        }
    }

    /// A publish was confirmed, or has failed.
    pub fn publish_ended(&self, took: Duration, failed: bool) {
        self.0.publish.observe(took.as_secs_f64());
        if failed {
            count(&self.0.service_errors, [("service", Service::RabbitMq.as_str())]);
        }
    }

    /// One try at a result file has ended.
    pub fn downloaded(&self, arrived: bool) {
        count(&self.0.downloads, [("result", if arrived { "arrived" } else { "failed" })]);
    }

    /// A result file of this many bytes is stored.
    pub fn file_stored(&self, bytes: u64) {
        self.0.stored_bytes.inc_by(bytes);
    }

    /// What waits for the whole fleet: messages ready in its queues, where known, and jobs that its workers hold. One
    /// worker of the fleet shows it; `None` for the others.
    pub fn backlog(&self, seen: Option<(&Queues, u64)>) {
        let queues = seen.map(|(queues, _)| *queues).unwrap_or_default();
        for (queue, messages) in [("jobs", queues.jobs), ("dead", queues.dead), ("unrouted", queues.unrouted)]
        {
            let labels = [("queue", queue)];
            match messages {
                Some(messages) => {
                    self.0.queue_messages.get_or_create(&labels).set(i64::from(messages));
                }
                None => drop(self.0.queue_messages.remove(&labels)),
            }
        }
        match seen.and_then(|(queues, held)| Some(u64::from(queues.jobs?) + held)) {
            Some(backlog) => {
                let backlog = i64::try_from(backlog).unwrap_or(i64::MAX);
                self.0.backlog.get_or_create(&[]).set(backlog);
            }
            None => drop(self.0.backlog.remove(&[])),
        }
    }

    /// What the whole fleet has spent today. One worker of the fleet shows it; `None` for the others.
    pub fn spent_today(&self, spend: Option<&SpendState>) {
        let units = |text: &str| text.parse::<Units>().unwrap_or_default().approximate();
        match spend {
            Some(spend) => {
                self.0.spent_today.get_or_create(&[]).set(units(&spend.units));
                self.0.spend_max.get_or_create(&[]).set(spend.max.as_deref().map_or(0.0, units));
            }
            None => {
                self.0.spent_today.remove(&[]);
                self.0.spend_max.remove(&[]);
            }
        }
    }

    /// All metrics as OpenMetrics text; its content type is [`CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a String can't fail; if it did, half of the text would be worse than none.
        match encode(&mut text, &self.0.registry) {
            Ok(()) => text,
            Err(_) => "# EOF\n".to_owned(),
        }
    }
}

fn count<const N: usize>(family: &Family<Labels<N>, Counter>, labels: Labels<N>) {
    family.get_or_create(&labels).inc();
}
