//! The world around the core: a broker with copies of one message, two workers, Redis, the store, the network, and a
//! provider that is paid.

mod acts;
mod part;
mod print;
mod steps;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use comet_worker::job::answers::{Lookup, SubmitOutcome};
use comet_worker::job::pace::{Pace, Seed};
use comet_worker::job::receipt::Intent;
use comet_worker::job::receipt::history::{Attempt, History};
use comet_worker::job::route::RouteName;
use comet_worker::job::step::{Delivered, Input, Machine, Rules};
use comet_worker::job::{Adopts, Digest, ExternalTaskId, JobId, SentUnder, TaskId};
use comet_worker::ledger::in_memory::Table;

use self::part::Part;

/// Longer than any period of the rules.
const LONG: Duration = Duration::from_secs(1_000_000);
const ZERO: Duration = Duration::ZERO;

/// What the provider does with our external id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// Takes no second task under it, and finds the first.
    Refuses,
    /// Finds tasks by it.
    Finds,
    Neither,
}

/// How much may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Faults {
    pub crashes: u8,
    pub losses: u8,
    pub flushes: u8,
    /// Redis fails over and loses its last write.
    pub lost_writes: u8,
    /// The store's answer to a create is lost.
    pub lost_answers: u8,
    pub refusals: u8,
    /// The user cancels the job.
    pub cancels: u8,
    /// A person decides about an unknown outcome.
    pub decisions: u8,
    /// Tasks that fail; where there are any, a job may have two generations.
    pub failures: u8,
    /// A task's timeout is over while it runs.
    pub timeouts: u8,
    /// Another job's task is made under the external id that this job is going to name. If there is any, this job
    /// names one.
    pub strangers: u8,
}

/// The safeguards that can be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Safeguard {
    CreateIfAbsent,
    QuietPeriod,
    LastLook,
    FreshNonce,
    ResultReceipt,
    ShutGate,
    /// A task under an id that the job has named is its own only if it is younger than the intent.
    MadeFrom,
}

/// Where one copy of the message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Copy {
    Queued,
    With(usize),
    Acked,
}

/// A POST in the net. Its sender is gone if it died.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Post {
    attempt: u32,
    generation: u32,
    sender: Option<usize>,
    /// Accepted, and the answer is on its way.
    accepted: Option<u32>,
}

/// A paid generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Task {
    generation: u32,
    fails: bool,
    /// Another job's, under the id that this one has named.
    strangers: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Hand {
    machine: Machine,
    awaits: bool,
    /// The hand's own clock, which needn't agree with any other.
    now: Duration,
    /// The attempt that it has asked for or posted last.
    attempt: u32,
}

/// What is the same in every state of a walk.
#[derive(Debug)]
struct Setup {
    provider: Provider,
    trust_lookup: bool,
    without: Option<Safeguard>,
    /// As all workers are configured.
    max_attempts: u32,
    /// The job names the external id of its first generation.
    names_its_id: bool,
    /// The walk doesn't follow a job beyond this many attempts.
    attempts_max: u32,
    job: JobId,
    digest: Digest,
    /// What the receipt of an intent says, but for its nonce.
    intent: Intent,
}

#[derive(Debug, Clone)]
pub struct World {
    setup: Rc<Setup>,
    table: Part<Table>,
    /// Before the last write, while it can still be lost.
    before: Option<Part<Table>>,
    history: Part<History>,
    copies: Vec<Copy>,
    /// Which of them RabbitMQ has delivered before.
    delivered: Vec<bool>,
    /// A hand whose connection is lost holds no copy.
    hands: [Option<Part<Hand>>; 2],
    net: Vec<Post>,
    /// What the provider has accepted, for this job and under its id. The provider's clock counts them.
    tasks: Vec<Task>,
    /// Each wording that was published, once.
    told: Vec<Part<Bytes>>,
    faults: Faults,
    /// How often a person has had the job submitted again, and so may have paid once more.
    reopened: u32,
}

impl Hand {
    fn apply(&mut self, input: Input, now: Duration) {
        self.machine.apply(input, now).unwrap();
    }

    /// Nothing that the machine remembers began before this input, so the hand's clock may begin again.
    fn apply_at_zero(&mut self, input: Input) {
        self.now = ZERO;
        self.apply(input, ZERO);
    }
}

fn task(number: u32) -> TaskId {
    TaskId::new(&format!("task-{number}")).unwrap()
}

impl World {
    pub fn new(
        provider: Provider,
        trust_lookup: bool,
        copies: usize,
        faults: Faults,
        without: Option<Safeguard>,
    ) -> Self {
        let max_attempts = if faults.failures > 0 { 2 } else { 1 };
        let intent = format!(
            r#"{{"version":1,"job_id":"walked","digest":"d","round":1,"nonce":"","external_task_id":"x","max_attempts":{max_attempts}}}"#
        );
        let setup = Setup {
            provider,
            trust_lookup,
            without,
            max_attempts,
            names_its_id: faults.strangers > 0,
            // A decision takes one for the gate that it opens, and one for what follows.
            attempts_max: 2 + 2 * u32::from(faults.decisions),
            job: "walked".parse().unwrap(),
            digest: Digest::new("d".to_owned()),
            intent: serde_json::from_str(&intent).unwrap(),
        };
        Self {
            setup: Rc::new(setup),
            table: Part::new(Table::default()),
            before: None,
            history: Part::new(History::default()),
            copies: vec![Copy::Queued; copies],
            delivered: vec![false; copies],
            hands: [None, None],
            net: Vec::new(),
            tasks: Vec::new(),
            told: Vec::new(),
            faults,
            reopened: 0,
        }
    }

    fn rules(&self) -> Rules {
        let second = Duration::from_secs(1);
        let gate = if self.setup.without == Some(Safeguard::LastLook) { LONG * 1000 } else { second * 5 };
        Rules {
            gate,
            quiet: second * 120,
            timeout: LONG * 1000,
            hold: LONG * 1000,
            patience: LONG,
            receipts: true,
            trust_lookup: self.setup.trust_lookup,
            max_attempts: self.setup.max_attempts,
            pace: Pace { first: second, min: second, max: second },
        }
    }

    fn delivered(&self) -> Delivered {
        Delivered {
            digest: self.setup.digest.clone(),
            route: Some(RouteName::default_route().clone()),
            faults: Vec::new(),
            queued_ms: None,
            learned: None,
            seed: Seed::from_text("walk"),
        }
    }

    /// What look-ups by the external id of this hand's generation can find: of several tasks under it, any.
    fn found(&self, who: usize) -> Vec<Lookup> {
        let Some(hand) = &self.hands[who] else { return Vec::new() };
        let generation = hand.machine.failed().generation();
        let under =
            hand.machine.sent_under().cloned().unwrap_or_else(|| self.under(generation, Adopts::None));
        let lookup = |(index, _): (usize, &Task)| {
            if under.takes(i64::try_from(index).ok()) || self.setup.without == Some(Safeguard::MadeFrom) {
                Lookup::Found(task(u32::try_from(index).unwrap() + 1))
            } else {
                Lookup::Another { message: String::new() }
            }
        };
        let all = self.tasks.iter().enumerate().filter(|(_, task)| task.generation == generation);
        if self.setup.provider == Provider::Neither { Vec::new() } else { all.map(lookup).collect() }
    }

    /// What goes out for that generation. Under an id that only this job has, whatever is found is its own.
    fn under(&self, generation: u32, where_named: Adopts) -> SentUnder {
        let adopts = if self.setup.names_its_id && generation == 1 { where_named } else { Adopts::Any };
        SentUnder { id: ExternalTaskId::new(&format!("x{generation}")).unwrap(), adopts }
    }

    /// So many the provider has made by now: younger ones have higher numbers.
    fn made_from_now(&self) -> Adopts {
        Adopts::MadeFrom(i64::try_from(self.tasks.len()).unwrap())
    }

    fn fails(&self, id: &TaskId) -> bool {
        let known = (1..).zip(&self.tasks).find(|(number, _)| task(*number) == *id);
        known.is_some_and(|(_, task)| task.fails)
    }

    fn hand(&mut self, who: usize) -> &mut Hand {
        self.hands[who].as_mut().unwrap().edit()
    }

    /// The copy of the message that this worker holds.
    fn held(&self, who: usize) -> Option<usize> {
        self.copies.iter().position(|copy| *copy == Copy::With(who))
    }

    fn write<T>(&mut self, change: impl FnOnce(&mut Table) -> T) -> T {
        let before = (self.faults.lost_writes > 0).then(|| self.table.clone());
        let table = self.table.edit();
        let value = change(table);
        // Nothing here waits for a hint: whatever can look may look at any time.
        table.take_hints();
        if before.as_ref() != Some(&self.table) {
            self.before = before;
        }
        value
    }

    fn intent(&self, attempt: u32) -> Option<&Attempt> {
        self.history.attempts.get(attempt as usize - 1)
    }

    fn attempt_mut(&mut self, attempt: u32) -> &mut Attempt {
        &mut self.history.edit().attempts[attempt as usize - 1]
    }

    fn create_intent(&mut self, attempt: u32, nonce: String, shut: bool, under: Option<&SentUnder>) {
        let mut intent = self.setup.intent.clone();
        (intent.nonce, intent.shut) = (nonce, shut);
        if let Some(under) = under {
            (intent.external_task_id, intent.own_id) = (under.id.as_str().to_owned(), under.is_own());
            intent.made_from_ms = if let Adopts::MadeFrom(from) = under.adopts { Some(from) } else { None };
        }
        let intent = Some(intent);
        let attempts = &mut self.history.edit().attempts;
        let index = attempt as usize - 1;
        assert!(index <= attempts.len(), "a gate before the one before it");
        if let Some(there) = attempts.get_mut(index) {
            there.intent = intent;
        } else {
            attempts.push(Attempt { intent, task: None, refused: false, failed: None, decision: None });
        }
    }

    fn intent_mut(&mut self, attempt: u32) -> &mut Intent {
        self.attempt_mut(attempt).intent.as_mut().unwrap()
    }

    fn end(&mut self, who: usize, becomes: Copy) {
        for post in self.net.iter_mut().filter(|post| post.sender == Some(who)) {
            post.sender = None;
        }
        self.net.sort();
        self.hands[who] = None;
        if let Some(number) = self.held(who) {
            self.copies[number] = becomes;
        }
    }

    /// The promise that this state breaks.
    pub fn broken(&self) -> Option<&'static str> {
        let says = |event: &Bytes, what: &str| String::from_utf8_lossy(event).contains(what);
        let is_correction = |event: &&Part<Bytes>| says(event, "/resolved");
        let corrections = self.told.iter().filter(is_correction).count();
        let own = || self.tasks.iter().filter(|task| !task.strangers);
        let of = |generation| own().filter(move |task| task.generation == generation);
        if of(1).chain(of(2)).count() < own().count() {
            return Some("more generations than the user allows");
        }
        if of(1).count().max(of(2).count()) > 1 + self.reopened as usize {
            return Some("paid for twice");
        }
        if of(2).count() > 0 && of(1).all(|task| !task.fails) {
            return Some("a second generation without a failed first one");
        }
        let strangers = (1..).zip(&self.tasks).filter(|(_, task)| task.strangers);
        let noted = |number| self.history.attempts.iter().any(|attempt| attempt.task == Some(task(number)));
        let hides_own = strangers.clone().next().is_some();
        if strangers.into_iter().any(|(number, _)| noted(number)) {
            return Some("another's result");
        }
        if own().next().is_some() && self.reopened == 0 && self.told.iter().any(|event| says(event, "unpaid"))
        {
            return Some("told as unpaid and paid for");
        }
        if self.told.len() - corrections > 1 || corrections > 1 {
            return Some("two wordings of the outcome");
        }
        if self.copies.contains(&Copy::Acked) && self.told.is_empty() {
            return Some("acked and never told");
        }
        let over = self.is_complete() && self.net.is_empty() && self.hands.iter().all(Option::is_none);
        let delivered = |number| {
            let timed_out = format!("timed_out of {}", task(number));
            move |event: &Part<Bytes>| {
                says(event, "succeeded") || says(event, "cancelled") || says(event, &timed_out)
            }
        };
        let lost = |(number, task): (u32, &Task)| !task.fails && !self.told.iter().any(delivered(number));
        if over && !hides_own && self.setup.provider == Provider::Finds && (1..).zip(&self.tasks).any(lost) {
            return Some("a paid result is never delivered");
        }
        None
    }

    /// Whether the job has come to its end, or beyond what is walked.
    pub fn is_complete(&self) -> bool {
        self.copies.iter().all(|copy| *copy == Copy::Acked)
            || self.hands.iter().flatten().any(|hand| hand.attempt > self.setup.attempts_max)
    }
}

fn unknown() -> SubmitOutcome {
    SubmitOutcome::Unknown { message: String::new(), provider_code: None, exists: false }
}
