//! The names, helps, labels and buckets of all metrics.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use super::labels::{CallbackAnswer, HandedBack, PauseReason, Service, Standstill};
use crate::job::Reason;
use crate::job::answers::{SubmitOutcome, TaskStatus};
use crate::job::event::EventKind;
use crate::job::request::DeadReason;
use crate::job::route::table::ROUTES;
use crate::job::stage::JobStage;
use crate::job::step::RequeueReason;

const SUBMIT_S: [f64; 9] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
const GENERATION_S: [f64; 12] = [2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0, 300.0, 600.0, 900.0];
const STORE_S: [f64; 9] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];
const QUEUED_S: [f64; 11] = [0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];

const POLLS: [f64; 11] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 18.0, 30.0, 60.0, 120.0];
const ROUND_TRIP_S: [f64; 9] = [0.0005, 0.001, 0.0025, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0];
const GAP_S: [f64; 11] = [0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 60.0, 300.0];

pub(super) type Labels<const N: usize> = [(&'static str, &'static str); N];

#[derive(Debug)]
pub(super) struct Families {
    pub(super) registry: Registry,
    pub(super) jobs_finished: Family<Labels<2>, Counter>,
    pub(super) jobs_held: Family<Labels<1>, Gauge>,
    pub(super) paused: Family<Labels<1>, Gauge>,
    pub(super) standstill: Family<Labels<1>, Gauge>,
    pub(super) submits: Family<Labels<1>, Counter>,
    pub(super) polls: Family<Labels<1>, Counter>,
    pub(super) unknown_words: Counter,
    pub(super) callbacks: Family<Labels<1>, Counter>,
    pub(super) reconnects: Family<Labels<1>, Counter>,
    pub(super) events_published: Family<Labels<1>, Counter>,
    pub(super) events_unrouted: Counter,
    pub(super) dead_letters: Family<Labels<1>, Counter>,
    pub(super) handed_back: Family<Labels<1>, Counter>,
    pub(super) job_panics: Counter,
    pub(super) internal_faults: Counter,
    pub(super) generations_again: Counter,
    pub(super) slots_taken: Gauge,
    pub(super) pace: Gauge<f64, AtomicU64>,
    pub(super) slots_max: Gauge,
    pub(super) slots_wait: Histogram,
    pub(super) submit: Histogram,
    pub(super) generation: Histogram,
    pub(super) store: Histogram,
    pub(super) queued: Histogram,
    pub(super) polls_per_job: Histogram,
    pub(super) poll_gap: Histogram,
    pub(super) redis: Histogram,
    pub(super) publish: Histogram,
    pub(super) service_errors: Family<Labels<1>, Counter>,
    pub(super) downloads: Family<Labels<1>, Counter>,
    pub(super) stored_bytes: Counter,
    pub(super) units: Family<Labels<1>, Counter<f64, AtomicU64>>,
    pub(super) paid_in_vain: Family<Labels<1>, Counter>,
    pub(super) queue_messages: Family<Labels<1>, Gauge>,
    pub(super) backlog: Family<Labels<0>, Gauge>,
    pub(super) spent_today: Family<Labels<0>, Gauge<f64, AtomicU64>>,
    pub(super) spend_max: Family<Labels<0>, Gauge<f64, AtomicU64>>,
}

impl Families {
    pub(super) fn new() -> Self {
        let mut to = Registry::with_prefix("comet");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        to.register("build", "The running version of comet-worker", build);
        let families = Self {
            jobs_finished: add(
                &mut to,
                "jobs_finished",
                "Jobs that this worker has brought to their end, by outcome (succeeded, failed, cancelled) and the reason of a failure",
            ),
            jobs_held: add(&mut to, "jobs_held", "Jobs that this worker holds now, by what they are at"),
            paused: add(
                &mut to,
                "paused",
                "1 while this worker takes no new jobs for this reason: account (key or money), provider (unreachable or wrongly configured), redis, storage, download (no image can be had)",
            ),
            standstill: add(
                &mut to,
                "standstill",
                "1 while something has been stuck for ten seconds: rabbitmq (no session), publishing (an event or a dead letter is not confirmed), message (sessions with RabbitMQ end one after another with the same message at their head), or a reason of comet_paused",
            ),
            submits: add(
                &mut to,
                "submits",
                "POSTs of paid generations by their answer: accepted, later (try again), account (key or money), refused (the job's fault), unknown (perhaps accepted)",
            ),
            polls: add(&mut to, "polls", "Looks at running generations by what they saw"),
            unknown_words: add(
                &mut to,
                "unknown_words",
                "Looks at tasks whose status word this version doesn't know: such a task is polled until its job's deadline. The log has each word once",
            ),
            callbacks: add(
                &mut to,
                "callbacks",
                "Hits at callback.listen: accepted (the worker that holds the job polls at once), running (the task is still running: no worker polls for it), not_found (no token of this fleet), too_large, timed_out, broken_off, unavailable (it could not be passed on)",
            ),
            reconnects: add(&mut to, "reconnects", "Connections that were lost and built anew"),
            events_published: add(&mut to, "events_published", "Events that RabbitMQ confirmed, by type"),
            events_unrouted: add(
                &mut to,
                "events_unrouted",
                "Terminal events that no queue took, kept in amqp.unrouted_queue: bind a queue to amqp.exchange",
            ),
            dead_letters: add(
                &mut to,
                "dead_letters",
                "Messages moved to amqp.dead_queue, by the reason in their header x-comet-reason",
            ),
            handed_back: add(
                &mut to,
                "handed_back",
                "Deliveries given back to RabbitMQ before their end, to be worked on later or elsewhere",
            ),
            job_panics: add(
                &mut to,
                "job_panics",
                "Panics while a job was worked on: faults of this program, each that job's alone",
            ),
            internal_faults: add(
                &mut to,
                "internal_faults",
                "Faults of this program after which a job's record was read again, and nothing else happened",
            ),
            generations_again: add(
                &mut to,
                "generations_again",
                "Failed generations that another one follows, new and paid for (generation.max_attempts)",
            ),
            pace: add(
                &mut to,
                "submit_pace",
                "Submits a second that all workers keep to together, since the provider has asked for it (429, 1302, 1303); 0: no bound",
            ),
            slots_taken: add(
                &mut to,
                "slots_taken",
                "Slots of the account (generation.max_running) that were taken, by all workers, when this one last moved a job",
            ),
            slots_max: add(
                &mut to,
                "slots_max",
                "generation.max_running of this worker; 0: no cap, and nothing is counted",
            ),
            slots_wait: add_seconds(
                &mut to,
                "slots_wait",
                "In the line before the account's slots, for jobs that got them",
                &QUEUED_S,
            ),
            submit: add_seconds(&mut to, "submit", "From sending a POST to its answer", &SUBMIT_S),
            generation: add_seconds(
                &mut to,
                "generation",
                "From an accepted POST to the look that saw the end of the generation",
                &GENERATION_S,
            ),
            store: add_seconds(
                &mut to,
                "store",
                "Downloading, checking and storing all images of a job",
                &STORE_S,
            ),
            queued: add_seconds(
                &mut to,
                "queued",
                "From the producer's timestamp to this worker's first look at a job",
                &QUEUED_S,
            ),
            polls_per_job: add_histogram(
                &mut to,
                "polls_per_job",
                "Looks at its task that a job took, by the life that brought it to its end",
                &POLLS,
            ),
            poll_gap: add_seconds(
                &mut to,
                "poll_gap",
                "From the last look that saw a generation running, or its acceptance, to the look that saw its end, unless a callback called for that: ends are seen half of it late on average",
                &GAP_S,
            ),
            redis: add_seconds(&mut to, "redis", "Calls of Redis, from sending to the answer", &ROUND_TRIP_S),
            publish: add_seconds(
                &mut to,
                "publish",
                "Publishes to RabbitMQ, from sending to the confirm or to the failure",
                &ROUND_TRIP_S,
            ),
            service_errors: add(
                &mut to,
                "service_errors",
                "Calls of Redis without an answer, or with an error, and publishes that RabbitMQ didn't confirm; each is repeated",
            ),
            downloads: add(
                &mut to,
                "downloads",
                "Tries at result files: arrived (whole, and what they should be), failed (tried again)",
            ),
            stored_bytes: add_with_unit(
                &mut to,
                "stored",
                "Bytes of result files that were stored",
                Unit::Bytes,
            ),
            units: add(
                &mut to,
                "units",
                "Units that the provider says it has deducted for jobs that this worker has brought to their end, by model",
            ),
            paid_in_vain: add(
                &mut to,
                "paid_in_vain",
                "Jobs that ended without a result although they were charged (yes), or perhaps were (unknown)",
            ),
            queue_messages: add(
                &mut to,
                "queue_messages",
                "Messages ready in the fleet's queues; one worker of the fleet shows it",
            ),
            backlog: add(
                &mut to,
                "backlog_jobs",
                "Jobs that wait or are in work: ready in amqp.queue, and held by any worker. One worker of the fleet shows it, and for some seconds two where another takes over: max() is right for autoscaling",
            ),
            spent_today: add(
                &mut to,
                "spent_units",
                "Units that all workers have spent since the day began (spend.day_starts), with what is taken to have been deducted where the provider doesn't say; one worker of the fleet shows it",
            ),
            spend_max: add(
                &mut to,
                "spend_max_units",
                "spend.max_units_per_day of the worker that shows comet_spent_units; 0: no cap",
            ),
            registry: to,
        };
        families.start_at_zero();
        families
    }

    fn start_at_zero(&self) {
        let terminal = EventKind::ALL.into_iter().filter(|kind| kind.is_terminal());
        let texts = |label: &'static str, values: Vec<&'static str>| (label, values);
        for (family, (label, values)) in [
            (&self.submits, texts("answer", SubmitOutcome::LABELS.to_vec())),
            (&self.polls, texts("view", TaskStatus::LABELS.to_vec())),
            (&self.callbacks, texts("answer", all(CallbackAnswer::ALL, CallbackAnswer::as_str))),
            (&self.reconnects, texts("service", all(Service::ALL, Service::as_str))),
            (&self.events_published, texts("type", terminal.map(EventKind::event_type).collect())),
            (&self.dead_letters, texts("reason", all(&DeadReason::ALL, DeadReason::as_str))),
            (&self.handed_back, texts("why", all(&RequeueReason::ALL, RequeueReason::as_str))),
            (&self.handed_back, texts("why", all(HandedBack::ALL, HandedBack::as_str))),
            (&self.service_errors, texts("service", all(Service::ALL, Service::as_str))),
            (&self.downloads, texts("result", vec!["arrived", "failed"])),
            (&self.paid_in_vain, texts("charged", vec!["yes", "unknown"])),
        ] {
            for value in values {
                drop(family.get_or_create(&[(label, value)]));
            }
        }
        let pauses = all(PauseReason::ALL, PauseReason::as_str);
        for (family, (label, values)) in [
            (&self.jobs_held, texts("stage", all(&JobStage::ALL, JobStage::as_str))),
            (&self.paused, texts("reason", pauses.clone())),
            (&self.standstill, texts("what", all(Standstill::ALL, Standstill::as_str))),
            (&self.standstill, texts("what", pauses)),
        ] {
            for value in values {
                drop(family.get_or_create(&[(label, value)]));
            }
        }
        let models = ROUTES.iter().flat_map(|route| route.editions).flat_map(|edition| edition.models);
        let models: BTreeSet<&'static str> = models.copied().chain(["other"]).collect();
        for model in models {
            drop(self.units.get_or_create(&[("model", model)]));
        }
        for outcome in ["succeeded", "cancelled"] {
            drop(self.jobs_finished.get_or_create(&[("outcome", outcome), ("reason", "")]));
        }
        for reason in Reason::ALL {
            drop(self.jobs_finished.get_or_create(&[("outcome", "failed"), ("reason", reason.as_str())]));
        }
    }
}

fn all<T: Copy>(cases: &[T], text: fn(T) -> &'static str) -> Vec<&'static str> {
    cases.iter().copied().map(text).collect()
}

fn add<M: Metric + Clone + Default>(to: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    to.register(name, help, metric.clone());
    metric
}

fn add_with_unit<M: Metric + Clone + Default>(to: &mut Registry, name: &str, help: &str, unit: Unit) -> M {
    let metric = M::default();
    to.register_with_unit(name, help, unit, metric.clone());
    metric
}

fn add_histogram(to: &mut Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let metric = Histogram::new(buckets.iter().copied());
    to.register(name, help, metric.clone());
    metric
}

fn add_seconds(to: &mut Registry, name: &str, help: &str, buckets_s: &[f64]) -> Histogram {
    let metric = Histogram::new(buckets_s.iter().copied());
    to.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}
