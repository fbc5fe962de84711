//! The world around the core: a broker with copies of one message, two workers, Redis, the store,
//! the net, and a provider that is paid.

mod acts;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use comet_worker::job::pace::{Pace, Seed};
use comet_worker::job::step::{Act, Life, Rules};
use comet_worker::job::{Digest, JobId, TaskId};
use comet_worker::ledger::record::{Nonce, Stage};
use comet_worker::provider::{Answer, Later};
use comet_worker::receipts::Intent;
use comet_worker::receipts::history::{Attempt, History};

use crate::doubles::ledger::Table;

/// Longer than any period of the rules.
const LONG: Duration = Duration::from_secs(1_000_000);
const ZERO: Duration = Duration::ZERO;
/// The walk doesn't look at what comes after so many attempts.
const ATTEMPTS_MAX: u32 = 2;

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
}

/// What can be taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Safeguard {
    CreateIfAbsent,
    QuietPeriod,
    LastLook,
    FreshNonce,
    ResultReceipt,
    ShutGate,
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
    sender: Option<usize>,
    /// Accepted, and the answer is on its way.
    accepted: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Hand {
    life: Life,
    /// `None` once its connection is lost.
    copy: Option<usize>,
    awaits: bool,
    /// Its own clock; nobody else's has to agree.
    now: Duration,
    /// Which attempt it has asked for or posted last.
    attempt: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Store {
    history: History,
    resolved: Option<Bytes>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    provider: Provider,
    trust_lookup: bool,
    without: Option<Safeguard>,
    table: Table,
    /// Before the last write, while it can still be lost.
    before: Option<Table>,
    store: Store,
    copies: Vec<Copy>,
    hands: [Option<Hand>; 2],
    net: Vec<Post>,
    /// The ghost: what the provider has accepted for this job.
    tasks: u32,
    told: BTreeSet<Bytes>,
    faults: Faults,
}

fn job() -> JobId {
    "walked".parse().unwrap()
}

fn digest() -> Digest {
    Digest::new("d".to_owned())
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
        Self {
            provider,
            trust_lookup,
            without,
            table: Table::default(),
            before: None,
            store: Store::default(),
            copies: vec![Copy::Queued; copies],
            hands: [None, None],
            net: Vec::new(),
            tasks: 0,
            told: BTreeSet::new(),
            faults,
        }
    }

    fn rules(&self) -> Rules {
        let second = Duration::from_secs(1);
        let gate = if self.without == Some(Safeguard::LastLook) { LONG * 1000 } else { second * 5 };
        Rules {
            gate,
            quiet: second * 120,
            timeout: LONG * 1000,
            receipts: true,
            trust_lookup: self.trust_lookup,
            pace: Pace { first: second, min: second, max: second },
            seed: Seed::from_text("walk"),
        }
    }

    /// Everything that can happen next.
    pub fn steps(&self) -> Vec<(String, World)> {
        let mut steps = Vec::new();
        if self.hands.iter().flatten().any(|hand| hand.attempt > ATTEMPTS_MAX) {
            return steps;
        }
        self.deliver(&mut steps);
        self.travel(&mut steps);
        self.break_redis(&mut steps);
        for who in 0..2 {
            if self.hands[who].is_some() {
                self.act(who, &mut steps);
                self.break_worker(who, &mut steps);
            }
        }
        steps
    }

    fn deliver(&self, steps: &mut Vec<(String, World)>) {
        for (number, copy) in self.copies.iter().enumerate() {
            for who in 0..2 {
                if *copy == Copy::Queued && self.hands[who].is_none() {
                    let mut next = self.clone();
                    next.copies[number] = Copy::With(who);
                    let life = Life::new(self.rules(), digest(), Vec::new(), None);
                    let hand = Hand { life, copy: Some(number), awaits: false, now: ZERO, attempt: 0 };
                    next.hands[who] = Some(hand);
                    steps.push((format!("copy {number} to w{who}"), next));
                }
            }
        }
    }

    fn travel(&self, steps: &mut Vec<(String, World)>) {
        for (index, post) in self.net.iter().enumerate() {
            let without_it = || {
                let mut next = self.clone();
                next.net.remove(index);
                next
            };
            if let Some(number) = post.accepted {
                for answer in [Answer::Accepted(task(number)), unknown()] {
                    let mut next = without_it();
                    let label =
                        format!("the answer to POST {} of {:?}: {answer:?}", post.attempt, post.sender);
                    next.answer(post.sender, answer);
                    steps.push((label, next));
                }
                continue;
            }
            let mut lost = without_it();
            lost.answer(post.sender, unknown());
            steps.push((format!("POST {} of {:?} is lost", post.attempt, post.sender), lost));
            if self.provider == Provider::Refuses && self.tasks > 0 {
                // "This external id exists": a task of ours, and not a refusal.
                let mut exists = without_it();
                exists.answer(post.sender, unknown());
                steps.push((format!("POST {} is refused as a repetition", post.attempt), exists));
                continue;
            }
            let mut accepted = self.clone();
            accepted.tasks += 1;
            accepted.net[index].accepted = Some(accepted.tasks);
            accepted.net.sort();
            steps.push((format!("POST {} of {:?} is accepted", post.attempt, post.sender), accepted));
            if self.faults.refusals > 0 && post.sender.is_some() {
                let mut refused = without_it();
                refused.faults.refusals -= 1;
                let later = Later { message: String::new(), provider_code: None, after: None };
                refused.answer(post.sender, Answer::Later(later));
                steps.push((
                    format!("POST {} of {:?} is refused for now", post.attempt, post.sender),
                    refused,
                ));
            }
        }
    }

    fn answer(&mut self, sender: Option<usize>, answer: Answer) {
        if let Some(hand) = sender.and_then(|who| self.hands[who].as_mut())
            && hand.awaits
        {
            hand.awaits = false;
            hand.life.answered(answer, ZERO);
        }
    }

    fn break_redis(&self, steps: &mut Vec<(String, World)>) {
        if self.faults.flushes > 0 && !self.table.records.is_empty() {
            let mut next = self.clone();
            next.faults.flushes -= 1;
            next.write(|table| table.records.clear());
            steps.push(("Redis is flushed".to_owned(), next));
        }
        if self.faults.lost_writes > 0
            && let Some(before) = &self.before
        {
            let mut next = self.clone();
            next.faults.lost_writes -= 1;
            next.table = before.clone();
            next.before = None;
            steps.push(("Redis loses its last write".to_owned(), next));
        }
    }

    fn break_worker(&self, who: usize, steps: &mut Vec<(String, World)>) {
        if self.faults.crashes > 0 {
            let mut next = self.clone();
            next.faults.crashes -= 1;
            next.end(who, Copy::Queued);
            steps.push((format!("w{who} dies"), next));
        }
        if self.faults.losses > 0
            && let Some(number) = self.hands[who].as_ref().unwrap().copy
        {
            let mut next = self.clone();
            next.faults.losses -= 1;
            next.hand(who).copy = None;
            next.copies[number] = Copy::Queued;
            steps.push((format!("w{who} loses its connection"), next));
        }
    }

    fn act(&self, who: usize, steps: &mut Vec<(String, World)>) {
        let hand = self.hands[who].as_ref().unwrap();
        if hand.awaits {
            return;
        }
        let act = hand.life.next(hand.now);
        if let Act::LookOn { .. } = act {
            return self.look_on(who, steps);
        }
        if let Act::Ask { attempt, .. } = act
            && self.faults.lost_answers > 0
            && self.intent(attempt).is_none()
        {
            let mut next = self.clone();
            next.faults.lost_answers -= 1;
            let nonce = next.nonce_of(&act);
            next.create_intent(attempt, nonce, false);
            steps.push((format!("w{who} creates intent-{attempt}, the answer is lost"), next));
        }
        let mut next = self.clone();
        let label = format!("w{who}: {act:?}");
        next.perform(who, act);
        next.settle(who);
        steps.push((label, next));
    }

    /// What touches nothing that the other hand could see is done with the act before it.
    fn settle(&mut self, who: usize) {
        while let Some(hand) = self.hands[who].as_ref().filter(|hand| !hand.awaits) {
            let act = hand.life.next(hand.now);
            let misses = self.provider == Provider::Neither;
            #[expect(clippy::wildcard_enum_match_arm, reason = "every other act is a step of its own")]
            match act {
                Act::Poll { .. } | Act::Store { .. } | Act::Park => self.perform(who, act),
                Act::LookUp if misses => self.perform(who, act),
                _ => return,
            }
        }
    }

    /// Waiting changes nothing by itself: a look is worth it when the record has changed or the
    /// provider would find the task, and the quiet period passes only while no POST of the attempt
    /// travels. Whoever still stands before its POST then finds its clock gone on as far.
    fn look_on(&self, who: usize, steps: &mut Vec<(String, World)>) {
        let hand = self.hands[who].as_ref().unwrap();
        let record = self.table.read(&job(), ZERO);
        let open = match record.map(|record| record.stage) {
            Some(Stage::Submitting { attempt, .. }) => Some(attempt),
            Some(Stage::New { .. } | Stage::Generating { .. } | Stage::Done { .. }) | None => None,
        };
        if open != Some(hand.attempt) || self.found().is_some() {
            let mut looked = self.clone();
            looked.hand(who).life.looked_on();
            steps.push((format!("w{who} looks again"), looked));
        }
        let travels = self.net.iter().any(|post| post.attempt == hand.attempt && post.accepted.is_none());
        let oracle = self.without != Some(Safeguard::QuietPeriod);
        if open == Some(hand.attempt) && !(oracle && travels) {
            let mut quiet = self.clone();
            let attempt = hand.attempt;
            quiet.hand(who).now += LONG;
            for other in quiet.hands.iter_mut().flatten().filter(|_| oracle) {
                let act = other.life.next(other.now);
                if other.attempt == attempt && (act == Act::Post || matches!(act, Act::Ask { .. })) {
                    other.now += LONG;
                }
            }
            steps.push((format!("quiet passes for w{who}"), quiet));
        }
    }

    fn found(&self) -> Option<TaskId> {
        let finds = self.provider != Provider::Neither;
        (finds && self.tasks > 0).then(|| task(1))
    }

    fn hand(&mut self, who: usize) -> &mut Hand {
        self.hands[who].as_mut().unwrap()
    }

    fn write<T>(&mut self, change: impl FnOnce(&mut Table) -> T) -> T {
        let before = (self.faults.lost_writes > 0).then(|| self.table.clone());
        let value = change(&mut self.table);
        if before.as_ref() != Some(&self.table) {
            self.before = before;
        }
        value
    }

    fn intent(&self, attempt: u32) -> Option<&Attempt> {
        self.store.history.attempts.get(attempt as usize - 1)
    }

    fn attempt_mut(&mut self, attempt: u32) -> &mut Attempt {
        &mut self.store.history.attempts[attempt as usize - 1]
    }

    fn create_intent(&mut self, attempt: u32, nonce: String, shut: bool) {
        let text = format!(
            r#"{{"version":1,"job_id":"walked","digest":"d","round":1,"nonce":"{nonce}","external_task_id":"x","shut":{shut}}}"#
        );
        let intent: Option<Intent> = serde_json::from_str(&text).ok();
        let index = attempt as usize - 1;
        assert!(index <= self.store.history.attempts.len(), "a gate before the one before it");
        if let Some(there) = self.store.history.attempts.get_mut(index) {
            there.intent = intent;
        } else {
            self.store.history.attempts.push(Attempt { intent, task: None, refused: false });
        }
    }

    fn nonce_of(&self, act: &Act) -> String {
        if let Act::Ask { nonce, .. } = act { nonce.as_str().to_owned() } else { String::new() }
    }

    /// One that nobody remembers: two worlds that differ in used-up nonces only are the same.
    fn fresh_nonce(&self) -> Nonce {
        let remembered = format!("{:?} {:?} {:?} {:?}", self.table, self.before, self.store, self.hands);
        let unknown = |number: &u32| !remembered.contains(&format!("\"ask-{number}\""));
        Nonce::new(format!("ask-{}", (1..).find(unknown).unwrap()))
    }

    fn end(&mut self, who: usize, becomes: Copy) {
        for post in self.net.iter_mut().filter(|post| post.sender == Some(who)) {
            post.sender = None;
        }
        self.net.sort();
        if let Some(number) = self.hands[who].take().and_then(|hand| hand.copy) {
            self.copies[number] = becomes;
        }
    }

    /// The promise that this state breaks.
    pub fn broken(&self) -> Option<&'static str> {
        let is_correction = |event: &&Bytes| String::from_utf8_lossy(event).contains("/resolved");
        let corrections = self.told.iter().filter(is_correction).count();
        if self.tasks > 1 {
            return Some("paid for twice");
        }
        if self.told.len() - corrections > 1 || corrections > 1 {
            return Some("two wordings of the outcome");
        }
        if self.copies.contains(&Copy::Acked) && self.told.is_empty() {
            return Some("acked and never told");
        }
        let over = self.is_complete() && self.net.is_empty() && self.hands.iter().all(Option::is_none);
        let delivered = self.told.iter().any(|event| String::from_utf8_lossy(event).contains("succeeded"));
        if over && self.provider == Provider::Finds && self.tasks > 0 && !delivered {
            return Some("a paid result is never delivered");
        }
        None
    }

    /// Whether the job has come to its end, or beyond what is walked.
    pub fn is_complete(&self) -> bool {
        self.copies.iter().all(|copy| *copy == Copy::Acked)
            || self.hands.iter().flatten().any(|hand| hand.attempt > ATTEMPTS_MAX)
    }
}

fn unknown() -> Answer {
    Answer::Unknown { message: String::new(), provider_code: None }
}
