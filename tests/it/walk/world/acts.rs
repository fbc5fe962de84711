//! What each action of a life does to the world.

use bytes::Bytes;
use comet_worker::job::answers::{Failed, Lookup, ResultFile, TaskStatus};
use comet_worker::job::event::says_unknown;
use comet_worker::job::receipt::history::FailedTask;
use comet_worker::job::receipt::{Gate, Shut};
use comet_worker::job::record::{Nonce, Snapshot, Stage};
use comet_worker::job::route::RouteName;
use comet_worker::job::step::{Action, EventSource, Input, Stored};
use comet_worker::job::{Adopts, Charged, FileKind, Made, Outcome, SentUnder, StoredFile, StoredImage};
use comet_worker::ledger::JobRef;
use comet_worker::ledger::slots::Slots;

use super::{Copy, Part, Post, Safeguard, World, ZERO};

impl World {
    pub(super) fn perform(&mut self, who: usize, action: Action) {
        let (id, digest) = (self.setup.job.clone(), self.setup.digest.clone());
        let failed = self.hand(who).machine.failed().clone();
        let sent_under = self.hand(who).machine.sent_under().cloned();
        let (failed, under, slots) = (&failed, sent_under.as_ref(), Slots::NONE);
        let job = |round| JobRef {
            job: &id,
            digest: &digest,
            route: RouteName::default_route(),
            round,
            failed,
            under,
            slots,
        };
        let now = self.hand(who).now;
        match action {
            Action::Read { .. } => {
                let known = self.table.known(&id, ZERO);
                self.note_open_attempt(who, &known);
                self.hand(who).apply(Input::Record(known), ZERO);
            }
            Action::ReadReceipts { .. } => {
                let history = Box::new((*self.history).clone());
                self.hand(who).apply(Input::Receipts(history), now);
            }
            Action::Restore { over, rebuilt } => {
                let (failed, under) = (&rebuilt.failed, rebuilt.under.as_ref());
                let job = JobRef { failed, under, ..job(rebuilt.round) };
                let corrects = rebuilt.corrects.as_ref();
                let known = self.write(|table| table.restore(job, over, &rebuilt.stage, corrects, ZERO));
                self.note_open_attempt(who, &known);
                self.hand(who).apply_at_zero(Input::Record(known));
            }
            Action::AskToPost { attempt, round, basis, .. } => {
                let nonce = if self.setup.without == Some(Safeguard::FreshNonce) {
                    Nonce::new(format!("w{who}"))
                } else {
                    self.fresh_nonce()
                };
                let under = self.under(failed.generation(), self.made_from_now());
                let job = |round| JobRef { under: Some(&under), ..job(round) };
                let moved = self.write(|table| table.begin(job(round), attempt, &nonce, &basis, ZERO));
                let hand = self.hand(who);
                hand.attempt = attempt;
                hand.apply_at_zero(Input::Begun { moved, nonce, under, asked: ZERO });
            }
            Action::AskGate { attempt, nonce, .. } => {
                let gate = self.ask(attempt, &nonce, under);
                self.hand(who).apply(Input::Gate(gate), now);
            }
            Action::Post { until, .. } if now > until => self.hand(who).apply(Input::NotPosted, now),
            Action::Post { attempt, .. } => {
                let generation = failed.generation();
                self.net.push(Post { attempt, generation, sender: Some(who), accepted: None });
                self.net.sort();
                self.hand(who).awaits = true;
            }
            Action::RecordTask { attempt, task } => {
                let stage = self.write(|table| table.accept(job(1), attempt, &task, ZERO));
                self.hand(who).apply_at_zero(Input::Accepted { stage, noted: false, learned: None });
            }
            Action::NoteTask { attempt, task, .. } => {
                self.attempt_mut(attempt).task.get_or_insert(task);
                self.hand(who).apply(Input::Done, now);
            }
            Action::Redeliver { if_unknown, .. } => {
                let given_up = self.history.result.as_deref().is_some_and(says_unknown);
                let settled = self.copies.iter().position(|copy| *copy == Copy::Acked);
                if let Some(number) = settled.filter(|_| given_up || !if_unknown) {
                    (self.copies[number], self.delivered[number]) = (Copy::Queued, false);
                }
                self.hand(who).apply(Input::Done, now);
            }
            Action::NoteRefusal { attempt, .. } => {
                self.attempt_mut(attempt).refused = true;
                self.hand(who).apply(Input::Done, now);
            }
            Action::NoteFailure { attempt, task, charged } => {
                self.attempt_mut(attempt).failed.get_or_insert(FailedTask { task, charged });
                self.hand(who).apply(Input::Done, now);
            }
            Action::NextGeneration { attempt, failed } => {
                let moved = self.write(|table| table.follow(&id, attempt, &failed, ZERO));
                self.hand(who).attempt = attempt + 1;
                self.hand(who).apply_at_zero(Input::Moved(moved));
            }
            Action::CloseAttempt { attempt, nonce, .. } => {
                let moved = self.write(|table| table.reopen(&id, attempt, nonce.as_ref(), ZERO));
                self.hand(who).attempt = attempt + 1;
                self.hand(who).apply_at_zero(Input::Moved(moved));
            }
            Action::SeeIntent { open } => {
                let intended = self.intent(open.attempt()).is_some();
                self.hand(who).apply_at_zero(Input::Intended(intended));
            }
            Action::LookUp { .. } => self.look_up(who, Lookup::NotFound { message: String::new() }),
            Action::Shut { attempt, cancels, .. } => {
                let by_rule = || self.under(failed.generation(), Adopts::None);
                let under = under.cloned().unwrap_or_else(by_rule);
                let shut = self.shut(attempt, cancels, &under);
                self.hand(who).apply_at_zero(Input::Shut(shut));
            }
            Action::Park { .. } => self.hand(who).apply(Input::Done, now),
            Action::Poll(generation) if self.fails(generation.task()) => {
                let status =
                    TaskStatus::Failed { message: String::new(), why: Failed::Technical, units: None };
                self.hand(who).apply(Input::Polled { status, asked: now }, now);
            }
            Action::Poll(_) => {
                let image = ResultFile {
                    kind: FileKind::Image,
                    index: 0,
                    url: "https://cdn.example/0.png".parse().unwrap(),
                };
                let status = TaskStatus::Succeeded { files: vec![image], units: None };
                self.hand(who).attempt = 0;
                self.hand(who).apply(Input::Polled { status, asked: now }, now);
            }
            Action::CountEntry(_) => {
                let known = self.write(|table| table.enter(&id, &format!("w{who}"), ZERO));
                self.hand(who).apply(Input::Record(known), now);
            }
            Action::Store(_) => {
                let stored = Stored::All(Made::of([StoredFile::Image(stored_image())]));
                self.hand(who).apply(Input::Stored { stored, took: ZERO }, now);
            }
            Action::Seal { outcome, corrects } => {
                let event = worded(&outcome, who, corrects.is_some());
                let history = self.history.edit();
                let there = if corrects.is_some() { &mut history.resolved } else { &mut history.result };
                let sealed = there.get_or_insert(event.clone()).clone();
                let ablated = self.setup.without == Some(Safeguard::ResultReceipt);
                self.hand(who).apply(Input::Sealed(if ablated { event } else { sealed }), now);
            }
            Action::Freeze { source, expect, .. } => {
                let event = match source {
                    EventSource::Sealed(event) => event,
                    EventSource::New(outcome) => worded(&outcome, who, false),
                };
                let frozen = self.write(|table| table.freeze(job(1), &expect, event, false, ZERO));
                self.hand(who).apply(Input::Frozen(frozen), now);
            }
            Action::Publish { event, .. } => {
                if self.told.iter().all(|told| **told != event) {
                    self.told.push(Part::new(event));
                }
                self.hand(who).apply(Input::Done, now);
            }
            Action::MarkPublished { sealed } => {
                let event = sealed.clone().unwrap_or_default();
                self.write(|table| table.mark_published(job(1), &event, sealed.is_some(), ZERO));
                self.hand(who).apply(Input::Done, now);
            }
            Action::ReadPublishedEvent => {
                let event = self.history.resolved.clone().or(self.history.result.clone());
                self.hand(who).apply(Input::LastEvent(event), now);
            }
            Action::Ack => self.end(who, Copy::Acked),
            Action::Requeue { .. } => self.end(who, Copy::Queued),
            Action::DeadLetter { .. } | Action::LookOn { .. } | Action::QueryOther { .. } => {
                panic!("not in this walk: {action:?}")
            }
        }
    }

    fn note_open_attempt(&mut self, who: usize, known: &Snapshot) {
        if let Some(Stage::Submitting { attempt, .. }) = known.record.as_ref().map(|record| &record.stage) {
            self.hand(who).attempt = *attempt;
        }
    }

    pub(super) fn look_up(&mut self, who: usize, found: Lookup) {
        let now = self.hand(who).now;
        self.hand(who).apply(Input::LookedUp { found, asked: now }, now);
    }

    fn ask(&mut self, attempt: u32, nonce: &Nonce, under: Option<&SentUnder>) -> Gate {
        let there = self.intent(attempt).map(|there| there.intent.clone());
        match there {
            Some(_) if self.setup.without == Some(Safeguard::CreateIfAbsent) => {
                self.create_intent(attempt, nonce.as_str().to_owned(), false, under);
                Gate::Mine
            }
            Some(Some(intent)) if intent.nonce == nonce.as_str() && !intent.shut => Gate::Mine,
            Some(_) => Gate::Taken,
            None => {
                self.create_intent(attempt, nonce.as_str().to_owned(), false, under);
                Gate::Mine
            }
        }
    }

    fn shut(&mut self, attempt: u32, cancels: bool, under: &SentUnder) -> Shut {
        if self.setup.without == Some(Safeguard::ShutGate) {
            return Shut::Shut;
        }
        match self.intent(attempt).map(|there| there.intent.as_ref().is_some_and(|intent| intent.shut)) {
            Some(true) => Shut::Shut,
            Some(false) => Shut::Taken,
            None => {
                self.create_intent(attempt, String::new(), true, Some(under));
                self.intent_mut(attempt).cancelled = cancels;
                Shut::Shut
            }
        }
    }
}

/// What two workers put into words differs by its time at least.
fn worded(outcome: &Outcome, who: usize, corrects: bool) -> Bytes {
    let (kind, reason, task) = match outcome {
        Outcome::Succeeded(_) => ("succeeded", "", None),
        Outcome::Failed(failure) => ("failed", failure.reason.as_str(), failure.task_id.as_ref()),
        Outcome::Cancelled(cancellation) => ("cancelled", charged(cancellation.charged), None),
    };
    let of = task.map(|task| format!(r#","message":"{reason} of {task}""#)).unwrap_or_default();
    let id = if corrects { "walked/resolved" } else { "walked/first" };
    let data = format!(r#"{{"job_id":"walked","reason":"{reason}"{of}}}"#);
    Bytes::from(format!(r#"{{"id":"{id}","type":"comet.job.{kind}","by":"w{who}","data":{data}}}"#))
}

fn charged(charged: Charged) -> &'static str {
    match charged {
        Charged::No => "unpaid",
        Charged::Yes => "paid",
        Charged::Unknown => "perhaps paid",
    }
}

fn stored_image() -> StoredImage {
    StoredImage {
        index: 0,
        location: "memory:///0.png".to_owned(),
        url: None,
        content_type: "image/png".to_owned(),
        bytes: 1,
        width: 1,
        height: 1,
        sha256: String::new(),
    }
}
