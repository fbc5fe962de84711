//! The spans of one life of a job.

use std::borrow::Cow;
use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::Traces;
use crate::job::answers::{SubmitOutcome, TaskStatus};
use crate::job::step::{Action, Input, MoveResult, Stored};
use crate::job::{Envelope, Job, Outcome};

/// The spans of one life; empty where there are no traces, or this one isn't sampled.
#[derive(Debug, Default)]
pub struct LifeTrace(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    tracer: SdkTracer,
    /// The life itself.
    life: Span,
    /// What the life is doing now, if that has a span.
    act: Option<Span>,
    /// The running task.
    generation: Option<Span>,
}

impl Traces {
    /// Begins the trace of a life: in its producer's trace, if the message named one.
    #[must_use]
    pub fn life(&self, job: &Job, queue: &str, queued_ms: Option<u64>, redelivered: bool) -> LifeTrace {
        let Some(exporting) = &self.0 else { return LifeTrace::default() };
        let mut attributes = vec![
            KeyValue::new("messaging.system", "rabbitmq"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", queue.to_owned()),
            KeyValue::new("messaging.rabbitmq.message.redelivered", redelivered),
            KeyValue::new("comet.job_id", job.id.to_string()),
            KeyValue::new("comet.operation", job.route_name().as_str().to_owned()),
            KeyValue::new("comet.model", job.model.clone()),
        ];
        if let Some(queued_ms) = queued_ms.and_then(|queued_ms| i64::try_from(queued_ms).ok()) {
            attributes.push(KeyValue::new("comet.queued_ms", queued_ms));
        }
        let tracer = exporting.tracer.clone();
        let builder = SpanBuilder::from_name(format!("process {queue}"))
            .with_kind(SpanKind::Consumer)
            .with_attributes(attributes);
        let life = builder.start_with_context(&tracer, &parent(&job.envelope));
        if !life.span_context().is_sampled() {
            return LifeTrace::default();
        }
        LifeTrace(Some(Box::new(Open { tracer, life, act: None, generation: None })))
    }
}

/// The producer's span.
fn parent(envelope: &Envelope) -> Context {
    let mut headers: HashMap<String, String> = HashMap::new();
    for (name, value) in [("traceparent", &envelope.traceparent), ("tracestate", &envelope.tracestate)] {
        if let Some(value) = value {
            headers.insert(name.to_owned(), value.clone());
        }
    }
    TraceContextPropagator::new().extract_with_context(&Context::new(), &headers)
}

impl LifeTrace {
    /// The life is about to perform this action.
    pub fn starts(&mut self, action: &Action) {
        let Some(open) = &mut self.0 else { return };
        match action {
            Action::AskToPost { attempt, .. } => open.act("wait to submit", SpanKind::Internal, *attempt),
            Action::Post { attempt, .. } => open.act("submit", SpanKind::Client, *attempt),
            Action::LookUp { open: submit } => open.act("look up", SpanKind::Client, submit.attempt()),
            Action::Poll(generation) => {
                let task = generation.task().as_str().to_owned();
                if open.generation.is_none() {
                    let span = open.child("generate".into(), SpanKind::Internal);
                    open.generation = Some(span);
                    open.say(KeyValue::new("comet.task_id", task));
                }
            }
            Action::Store(_) => open.begin("store".into(), SpanKind::Client),
            Action::Publish { .. } => open.begin("publish".into(), SpanKind::Producer),
            Action::Read { .. }
            | Action::ReadReceipts { .. }
            | Action::ReadPublishedEvent
            | Action::Restore { .. }
            | Action::AskGate { .. }
            | Action::RecordTask { .. }
            | Action::NoteTask { .. }
            | Action::Redeliver { .. }
            | Action::NoteRefusal { .. }
            | Action::CloseAttempt { .. }
            | Action::SeeIntent { .. }
            | Action::LookOn { .. }
            | Action::Shut { .. }
            | Action::Park { .. }
            | Action::QueryOther { .. }
            | Action::NoteFailure { .. }
            | Action::NextGeneration { .. }
            | Action::CountEntry(_)
            | Action::Seal { .. }
            | Action::Freeze { .. }
            | Action::MarkPublished { .. }
            | Action::DeadLetter { .. }
            | Action::Ack
            | Action::Requeue { .. } => {}
        }
    }

    /// The action has had this result.
    pub fn ended(&mut self, input: &Input) {
        let Some(open) = &mut self.0 else { return };
        match input {
            Input::Polled { status, .. } => open.polled(status),
            Input::Answered { answer, .. } => open.answered(answer),
            Input::Begun { moved, .. } => {
                if let MoveResult::No(_) = moved {
                    open.say_of_act(KeyValue::new("comet.answer", "another life has it"));
                }
            }
            Input::Stored { stored: Stored::Not(why), .. } => {
                open.fail_act(why.message.clone());
            }
            Input::Stored { .. }
            | Input::Done
            | Input::Record(_)
            | Input::Unreadable
            | Input::Receipts(_)
            | Input::LastEvent(_)
            | Input::Gate(_)
            | Input::NotPosted
            | Input::Accepted { .. }
            | Input::Moved(_)
            | Input::Intended(_)
            | Input::LookedUp { .. }
            | Input::LookAgain
            | Input::Called
            | Input::Shut(_)
            | Input::AnswersAboutOthers(_)
            | Input::Sealed(_)
            | Input::Frozen(_) => {}
        }
        open.act = None;
    }

    /// The job has ended so, by this life.
    pub fn outcome(&mut self, outcome: &Outcome) {
        let Some(open) = &mut self.0 else { return };
        match outcome {
            Outcome::Succeeded(success) => {
                open.say(KeyValue::new("comet.outcome", "succeeded"));
                if let Some(units) = &success.units {
                    open.say(KeyValue::new("comet.units", units.clone()));
                }
            }
            Outcome::Failed(failure) => {
                open.say(KeyValue::new("comet.outcome", "failed"));
                open.say(KeyValue::new("comet.reason", failure.reason.as_str()));
                open.life.set_status(Status::error(failure.message.clone()));
            }
            Outcome::Cancelled(_) => open.say(KeyValue::new("comet.outcome", "cancelled")),
        }
    }

    /// Names the publish as the parent of whatever the event's consumers do. Without a span, the producer's own
    /// `traceparent` stays.
    pub fn carry(&self, envelope: &mut Envelope) {
        let Some(publish) = self.0.as_ref().and_then(|open| open.act.as_ref()) else { return };
        let mut headers: HashMap<String, String> = HashMap::new();
        let context = Context::new().with_remote_span_context(publish.span_context().clone());
        TraceContextPropagator::new().inject_context(&context, &mut headers);
        if let Some(traceparent) = headers.remove("traceparent") {
            envelope.traceparent = Some(traceparent);
        }
    }

    /// The life is over; `requeued` says why its delivery goes back.
    pub fn end(self, requeued: Option<&'static str>) {
        let Some(mut open) = self.0 else { return };
        open.act = None;
        open.generation = None;
        if let Some(why) = requeued {
            open.say(KeyValue::new("comet.requeued", why));
        }
    }
}

/// A span ends when it is dropped.
impl Open {
    fn child(&self, name: Cow<'static, str>, kind: SpanKind) -> Span {
        let parent = Context::new().with_remote_span_context(self.life.span_context().clone());
        SpanBuilder::from_name(name).with_kind(kind).start_with_context(&self.tracer, &parent)
    }

    fn begin(&mut self, name: Cow<'static, str>, kind: SpanKind) {
        self.act = Some(self.child(name, kind));
    }

    fn act(&mut self, name: &'static str, kind: SpanKind, attempt: u32) {
        self.begin(name.into(), kind);
        self.say_of_act(KeyValue::new("comet.attempt", i64::from(attempt)));
    }

    fn say(&mut self, attribute: KeyValue) {
        self.life.set_attribute(attribute);
    }

    fn say_of_act(&mut self, attribute: KeyValue) {
        if let Some(act) = &mut self.act {
            act.set_attribute(attribute);
        }
    }

    fn fail_act(&mut self, message: String) {
        if let Some(act) = &mut self.act {
            act.set_status(Status::error(message));
        }
    }

    fn answered(&mut self, answer: &SubmitOutcome) {
        self.say_of_act(KeyValue::new("comet.answer", answer.label()));
        match answer {
            SubmitOutcome::Accepted(task) => {
                self.say_of_act(KeyValue::new("comet.task_id", task.as_str().to_owned()));
            }
            SubmitOutcome::Later(later) => self.fail_act(later.message.clone()),
            SubmitOutcome::Account(fault) => self.fail_act(fault.message.clone()),
            SubmitOutcome::Refused(refusal) => self.fail_act(refusal.message.clone()),
            SubmitOutcome::Unknown { message, .. } => self.fail_act(message.clone()),
        }
    }

    fn polled(&mut self, status: &TaskStatus) {
        let Some(generation) = &mut self.generation else { return };
        generation.add_event("poll", vec![KeyValue::new("comet.status", status.label())]);
        match status {
            TaskStatus::Succeeded { .. } => self.generation = None,
            TaskStatus::Failed { message, .. } => {
                generation.set_status(Status::error(message.clone()));
                self.generation = None;
            }
            TaskStatus::Running | TaskStatus::NotFound { .. } | TaskStatus::Unavailable { .. } => {}
        }
    }
}
