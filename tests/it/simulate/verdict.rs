//! Checks the promises once the world is quiet.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use comet_worker::job::event::{EventKind, EventView};
use comet_worker::queue::publish::Outgoing;
use comet_worker::storage::Storage;
use lapin::types::AMQPValue;
use object_store::ObjectStore;

use super::net::Step;
use super::provider::OTHERS;
use super::script::{Fate, Named};
use super::world::{World, name};

/// A broken promise, with its details.
pub type Verdict = Result<(), (&'static str, String)>;

/// What was published for one job, with copies counted once.
struct Told {
    ends: BTreeSet<Bytes>,
    corrections: BTreeSet<Bytes>,
    /// The reasons of its dead letters.
    buried: Vec<String>,
}

pub async fn judge(world: &World) -> Verdict {
    let taken = world.broker.taken();
    within_the_account(world)?;
    for job in 0..world.cast.jobs.len() {
        let told = Told::of(&name(job), &taken)?;
        let end = told.one_wording(world, job)?;
        paid_once(world, job)?;
        right_outcome(world, job, &end, &told)?;
        known_task_delivered(world, job, &end, &told)?;
        for event in told.ends.iter().chain(&told.corrections) {
            images_are_stored(world, job, event).await?;
        }
    }
    Ok(())
}

impl Told {
    fn of(job: &str, taken: &[Outgoing]) -> Result<Self, (&'static str, String)> {
        let mut told = Self { ends: BTreeSet::new(), corrections: BTreeSet::new(), buried: Vec::new() };
        for message in taken {
            if message.routing_key == "comet.jobs.dead" {
                if message.properties.message_id().as_ref().is_some_and(|id| id.as_str() == job) {
                    told.buried
                        .push(reason(message).ok_or(("a dead letter without a reason", job.to_owned()))?);
                }
                continue;
            }
            let view = view(&message.body)?;
            if view.job_id == job && view.kind().is_some_and(EventKind::is_terminal) {
                let kind = if view.supersedes.is_some() { &mut told.corrections } else { &mut told.ends };
                kind.insert(message.body.clone());
            }
        }
        Ok(told)
    }

    /// The one end of the job.
    fn one_wording(&self, world: &World, job: usize) -> Result<EventView, (&'static str, String)> {
        let Some(end) = self.ends.first() else {
            return Err(("acked and never told", name(job)));
        };
        // One that was never paid has no receipt: a ledger that forgets it has it worded anew.
        let unpaid = world.cast.jobs[job].fate == Fate::Invalid && world.forgot();
        if (self.ends.len() > 1 && !unpaid) || self.corrections.len() > 1 {
            return Err(("two wordings of one outcome", format!("{:?} {:?}", self.ends, self.corrections)));
        }
        let end = view(end)?;
        if let Some(correction) = self.corrections.first() {
            let view = view(correction)?;
            let corrects = view.supersedes.as_deref() == Some(end.id.as_str());
            let unknown = end.reason.as_deref() == Some("outcome_unknown");
            if !corrects || !unknown || view.id != format!("{}/resolved", name(job)) {
                return Err(("a second outcome that is no correction", format!("{correction:?}")));
            }
        }
        Ok(end)
    }
}

/// A ledger that has lost its count gives some slots away before it has it again.
fn within_the_account(world: &World) -> Verdict {
    let (cap, max) = (world.cast.max_running, world.provider.running_max());
    if cap > 0 && max > cap && !world.forgot() {
        return Err(("more runs than the account allows", format!("{max} of {cap}")));
    }
    Ok(())
}

fn paid_once(world: &World, job: usize) -> Verdict {
    let tasks = world.provider.tasks_of(job);
    if tasks.len() > 1 {
        return Err(("paid for twice", format!("{}: {tasks:?}", name(job))));
    }
    Ok(())
}

fn right_outcome(world: &World, job: usize, end: &EventView, told: &Told) -> Verdict {
    let cast = &world.cast;
    let expected = match cast.jobs[job].fate {
        Fate::Succeeds { .. } => None,
        Fate::Fails => Some("generation_failed"),
        Fate::Never => Some("timed_out"),
        Fate::Refused => Some("rejected"),
        Fate::Invalid => Some("invalid_request"),
    };
    let correction = told.corrections.first().map(|event| view(event)).transpose()?;
    let last = correction.as_ref().unwrap_or(end);
    if last.task_id.as_ref().is_some_and(|task| task.starts_with(OTHERS)) {
        return Err(("another's result", format!("{last:?}")));
    }
    if last.kind() == Some(EventKind::Cancelled) && world.was_cancelled(job) {
        return cancelled(world, job, last);
    }
    if last.reason.as_deref() == expected {
        if expected.is_none() && last.kind() != Some(EventKind::Succeeded) {
            return Err(("a wrong outcome", format!("{last:?}")));
        }
    } else if last.reason.as_deref() != Some("outcome_unknown") {
        return Err(("a wrong outcome", format!("{last:?}")));
    }
    if end.reason.as_deref() != Some("outcome_unknown") {
        return Ok(());
    }
    // Under an id that its producer has named, nothing is found that isn't known to be younger than the intent.
    let findable_by_id = cast.jobs[job].named == Named::ByWorker;
    if cast.trust_lookup && findable_by_id {
        return Err(("unknown, where look-ups are trusted", format!("{end:?}")));
    }
    if !told.buried.iter().any(|reason| reason == "outcome_unknown") {
        return Err(("unknown, and no copy for a person", format!("{end:?}")));
    }
    let findable = findable_by_id && world.provider.tasks_of(job).iter().any(|task| task.in_time);
    if cast.finds() && cast.receipts && findable && correction.is_none() {
        return Err(("a paid result is never delivered", format!("{end:?}")));
    }
    Ok(())
}

/// The charge in the event is the real charge.
fn cancelled(world: &World, job: usize, event: &EventView) -> Verdict {
    let tasks = world.provider.tasks_of(job);
    let right = match event.charged.as_deref() {
        // A look-up that is trusted can't know of a POST that is still to arrive.
        Some("no") => !tasks.iter().any(|task| task.in_time),
        Some("yes") => tasks.len() == 1 && event.task_id.is_some(),
        Some("unknown") => !world.cast.trust_lookup || world.cast.jobs[job].named != Named::ByWorker,
        _ => false,
    };
    if right { Ok(()) } else { Err(("cancelled, at another cost", format!("{event:?} {tasks:?}"))) }
}

/// A worker that notes a task, and lives on, delivers it, also if the job was given up before.
fn known_task_delivered(world: &World, job: usize, end: &EventView, told: &Told) -> Verdict {
    if end.reason.as_deref() != Some("outcome_unknown") || !told.corrections.is_empty() {
        return Ok(());
    }
    let trace = world.net.trace();
    let receipt = format!("{}.task-", name(job));
    let dies = |step: &Step| trace.iter().any(|other| other.who == step.who && other.what == "ends");
    if world.cast.receipts
        && trace.iter().any(|step| step.what == "put" && step.about.contains(&receipt) && !dies(step))
    {
        return Err(("a known task is never delivered", format!("{end:?}")));
    }
    Ok(())
}

async fn images_are_stored(world: &World, job: usize, event: &Bytes) -> Verdict {
    let view = view(event)?;
    if view.kind() != Some(EventKind::Succeeded) {
        return Ok(());
    }
    let Fate::Succeeds { images } = world.cast.jobs[job].fate else {
        return Err(("a wrong outcome", format!("{view:?}")));
    };
    if view.images.len() != images as usize {
        return Err(("an image is missing", format!("{view:?}")));
    }
    let storage = Storage::around(Arc::clone(&world.objects) as Arc<dyn ObjectStore>);
    for image in &view.images {
        if storage.read(&image.location).await.is_err() {
            return Err(("an image is not in the store", image.location.clone()));
        }
    }
    Ok(())
}

fn view(event: &[u8]) -> Result<EventView, (&'static str, String)> {
    EventView::parse(event).map_err(|error| ("no event", error.to_string()))
}

fn reason(message: &Outgoing) -> Option<String> {
    let header = message.properties.headers().as_ref()?.inner().get("x-comet-reason")?;
    if let AMQPValue::LongString(reason) = header {
        String::from_utf8(reason.as_bytes().to_vec()).ok()
    } else {
        None
    }
}
