//! The pure core in every interleaving: two workers, one job, one or two copies of its message, with
//! crashes, lost connections and lost replies, against a provider that finds nothing by our id and
//! refuses no repetition. A ghost counts what the provider has accepted.
//!
//! The walk is breadth first, so a trace that it prints is a shortest one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use comet_worker::job::pace::{Pace, Seed};
use comet_worker::job::step::{Act, Life, Rules, Stored};
use comet_worker::job::{Digest, JobId, Outcome, StoredImage, TaskId};
use comet_worker::ledger::Entry;
use comet_worker::ledger::record::{Nonce, Stage};
use comet_worker::provider::{Answer, Later, ResultImage, View};

use crate::doubles::ledger::Table;

const LATE: Duration = Duration::from_secs(1_000_000);
const ZERO: Duration = Duration::ZERO;

/// Where one copy of the message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Copy {
    Queued,
    With(usize),
    Acked,
}

/// A POST that has left and is not answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Post {
    Travelling,
    Accepted(TaskId),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Hand {
    life: Life,
    /// `None` once its connection is lost.
    copy: Option<usize>,
    /// Its own POST, while it waits for the answer.
    awaits: bool,
    /// More than the gate's time has passed since it asked.
    late: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    table: Table,
    copies: Vec<Copy>,
    hands: [Option<Hand>; 2],
    /// By hand; of a dead one too.
    posts: [Option<Post>; 2],
    asks: u32,
    /// The ghost: what the provider has accepted for this job.
    tasks: u32,
    told: BTreeSet<Bytes>,
    crashes: u8,
    losses: u8,
    refusals: u8,
}

/// What went wrong, and the way there.
#[derive(Debug, PartialEq, Eq)]
struct Broken {
    promise: &'static str,
    trace: Vec<String>,
}

fn rules() -> Rules {
    let pace = Pace { first: ZERO, min: ZERO, max: ZERO };
    Rules {
        gate: Duration::from_secs(5),
        quiet: Duration::from_secs(120),
        timeout: LATE * 2,
        pace,
        seed: Seed::from_text("walk"),
    }
}

fn job() -> JobId {
    "walked".parse().unwrap()
}

fn digest() -> Digest {
    Digest::new("d".to_owned())
}

impl World {
    fn new(copies: usize, crashes: u8, losses: u8, refusals: u8, table: Table) -> Self {
        Self {
            table,
            copies: vec![Copy::Queued; copies],
            hands: [None, None],
            posts: [None, None],
            asks: 0,
            tasks: 0,
            told: BTreeSet::new(),
            crashes,
            losses,
            refusals,
        }
    }

    fn steps(&self) -> Vec<(String, World)> {
        let mut steps = Vec::new();
        self.deliveries(&mut steps);
        self.travels(&mut steps);
        for who in 0..2 {
            if self.hands[who].is_some() {
                self.act(who, &mut steps);
                self.faults(who, &mut steps);
            }
        }
        steps
    }

    fn deliveries(&self, steps: &mut Vec<(String, World)>) {
        for (number, copy) in self.copies.iter().enumerate() {
            for who in 0..2 {
                if *copy == Copy::Queued && self.hands[who].is_none() {
                    let mut next = self.clone();
                    next.copies[number] = Copy::With(who);
                    let life = Life::new(rules(), digest(), Vec::new(), None);
                    next.hands[who] = Some(Hand { life, copy: Some(number), awaits: false, late: false });
                    steps.push((format!("copy {number} to w{who}"), next));
                }
            }
        }
    }

    fn travels(&self, steps: &mut Vec<(String, World)>) {
        for who in 0..2 {
            if self.posts[who] != Some(Post::Travelling) {
                continue;
            }
            let mut lost = self.clone();
            lost.posts[who] = None;
            lost.answer(who, unknown());
            steps.push((format!("the POST of w{who} is lost"), lost));
            let task = TaskId::new(&format!("task-{}", self.tasks + 1)).unwrap();
            let mut accepted = self.clone();
            accepted.tasks += 1;
            accepted.posts[who] = Some(Post::Accepted(task));
            steps.push((format!("the provider accepts w{who}'s"), accepted));
            if self.refusals > 0 {
                let mut refused = self.clone();
                refused.refusals -= 1;
                refused.posts[who] = None;
                let later = Later { message: String::new(), provider_code: None, after: None };
                refused.answer(who, Answer::Later(later));
                steps.push((format!("the provider refuses w{who}'s for now"), refused));
            }
        }
        for who in 0..2 {
            let Some(Post::Accepted(task)) = &self.posts[who] else { continue };
            for answer in [Answer::Accepted(task.clone()), unknown()] {
                let mut next = self.clone();
                next.posts[who] = None;
                let label = format!("w{who} hears {answer:?}");
                next.answer(who, answer);
                steps.push((label, next));
            }
        }
    }

    fn answer(&mut self, who: usize, answer: Answer) {
        if let Some(hand) = &mut self.hands[who]
            && hand.awaits
        {
            hand.awaits = false;
            hand.life.answered(answer, ZERO);
        }
    }

    fn act(&self, who: usize, steps: &mut Vec<(String, World)>) {
        let hand = self.hands[who].as_ref().unwrap();
        if hand.awaits {
            return;
        }
        let now = if hand.late { LATE } else { ZERO };
        let act = hand.life.next(now);
        if let Act::LookOn { .. } = act {
            return self.look_on(who, steps);
        }
        let mut next = self.clone();
        let label = format!("w{who}: {act:?}");
        next.perform(who, act);
        steps.push((label, next));
    }

    /// A look at an unchanged record changes nothing; the quiet period passes only while no POST
    /// travels, and whoever still stands at the gate then is late.
    fn look_on(&self, who: usize, steps: &mut Vec<(String, World)>) {
        let mut looked = self.clone();
        let record = looked.table.read(&job(), ZERO);
        let open = record.as_ref().is_some_and(|record| matches!(record.stage, Stage::Submitting { .. }));
        if !open || self.is_of_another_ask(who) {
            looked.hand(who).life.read(record, ZERO);
            steps.push((format!("w{who} looks and sees a change"), looked));
        } else if self.posts.iter().all(|post| post.is_none()) {
            let mut quiet = self.clone();
            for hand in quiet.hands.iter_mut().flatten() {
                hand.late = hand.late || hand.life.next(ZERO) == Act::Post;
            }
            let act = quiet.hand(who).life.next(LATE);
            quiet.perform(who, act);
            steps.push((format!("quiet passes for w{who}"), quiet));
        }
    }

    fn is_of_another_ask(&self, who: usize) -> bool {
        let Some(record) = self.table.read(&job(), ZERO) else { return true };
        let Stage::Submitting { nonce, .. } = record.stage else { return true };
        let life = &self.hands[who].as_ref().unwrap().life;
        let Act::Freeze { expect, .. } = life.next(LATE) else { return true };
        expect != comet_worker::job::step::Expect::Submitting { nonce }
    }

    fn hand(&mut self, who: usize) -> &mut Hand {
        self.hands[who].as_mut().unwrap()
    }

    fn perform(&mut self, who: usize, act: Act) {
        let (id, digest) = (job(), digest());
        let entry = |round| Entry { job: &id, digest: &digest, round };
        match act {
            Act::Read => {
                let record = self.table.read(&id, ZERO);
                self.hand(who).life.read(record, ZERO);
            }
            Act::Begin { attempt, round } => {
                self.asks += 1;
                let nonce = Nonce::new(format!("ask-{}", self.asks));
                let moved = self.table.begin(entry(round), attempt, &nonce, ZERO);
                let hand = self.hand(who);
                hand.late = false;
                hand.life.begun(moved, ZERO, ZERO);
            }
            Act::Post => {
                self.posts[who] = Some(Post::Travelling);
                self.hand(who).awaits = true;
            }
            Act::Accept { attempt, task } => {
                let record = self.table.accept(entry(1), attempt, &task, ZERO);
                self.hand(who).life.accepted(record, ZERO);
            }
            Act::Reopen { attempt, nonce } => {
                let moved = self.table.reopen(&id, attempt, &nonce, ZERO);
                self.hand(who).life.reopened(moved, ZERO);
            }
            Act::Poll { .. } => {
                let image = ResultImage { index: 0, url: "https://cdn.example/0.png".parse().unwrap() };
                let view = View::Succeeded { images: vec![image], units: None };
                self.hand(who).life.viewed(view, ZERO, ZERO);
            }
            Act::Store { .. } => self.hand(who).life.stored(Stored::All(vec![stored_image()]), ZERO, ZERO),
            Act::Freeze { outcome, expect } => {
                let event = Bytes::from(format!("{}, told by w{who}", label(&outcome)));
                let frozen = self.table.freeze(entry(1), &expect, event, false, ZERO);
                self.hand(who).life.frozen(frozen, ZERO);
            }
            Act::Tell { event } => {
                self.told.insert(event);
                self.hand(who).life.told();
            }
            Act::Ack => self.end(who, Copy::Acked),
            Act::HandBack { .. } => self.end(who, Copy::Queued),
            Act::Conflict | Act::LookOn { .. } => panic!("not in this walk: {act:?}"),
        }
    }

    fn end(&mut self, who: usize, becomes: Copy) {
        if let Some(number) = self.hands[who].take().and_then(|hand| hand.copy) {
            self.copies[number] = becomes;
        }
    }

    fn faults(&self, who: usize, steps: &mut Vec<(String, World)>) {
        if self.crashes > 0 {
            let mut next = self.clone();
            next.crashes -= 1;
            next.end(who, Copy::Queued);
            steps.push((format!("w{who} dies"), next));
        }
        if self.losses > 0
            && let Some(number) = self.hands[who].as_ref().unwrap().copy
        {
            let mut next = self.clone();
            next.losses -= 1;
            next.hand(who).copy = None;
            next.copies[number] = Copy::Queued;
            steps.push((format!("w{who} loses its connection"), next));
        }
    }

    fn broken(&self) -> Option<&'static str> {
        if self.tasks > 1 {
            return Some("paid for twice");
        }
        if self.told.len() > 1 {
            return Some("two wordings of the outcome");
        }
        if self.copies.contains(&Copy::Acked) && self.told.is_empty() {
            return Some("acked and never told");
        }
        None
    }

    fn is_complete(&self) -> bool {
        self.copies.iter().all(|copy| *copy == Copy::Acked)
    }
}

fn unknown() -> Answer {
    Answer::Unknown { message: String::new(), provider_code: None }
}

fn label(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded(_) => "succeeded",
        Outcome::Failed(failure) => failure.reason.as_str(),
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

/// Walks every state; returns their number, or the first broken promise.
fn walk(start: World) -> Result<usize, Broken> {
    let mut number_of = HashMap::from([(start.clone(), 0_usize)]);
    let mut states = vec![start];
    let mut came_from: Vec<Option<(usize, String)>> = vec![None];
    let mut before: Vec<Vec<usize>> = vec![Vec::new()];
    let trace_to = |mut state: usize, came_from: &[Option<(usize, String)>]| {
        let mut trace = Vec::new();
        while let Some((previous, label)) = &came_from[state] {
            trace.push(label.clone());
            state = *previous;
        }
        trace.reverse();
        trace
    };
    let mut at = 0;
    while at < states.len() {
        let world = states[at].clone();
        if let Some(promise) = world.broken() {
            return Err(Broken { promise, trace: trace_to(at, &came_from) });
        }
        for (label, next) in world.steps() {
            let number = *number_of.entry(next.clone()).or_insert_with(|| {
                states.push(next);
                came_from.push(Some((at, label)));
                before.push(Vec::new());
                states.len() - 1
            });
            before[number].push(at);
        }
        assert!(states.len() < 2_000_000, "the walk has no end");
        at += 1;
    }
    let mut reaches: HashSet<usize> = (0..states.len()).filter(|n| states[*n].is_complete()).collect();
    let mut open: Vec<usize> = reaches.iter().copied().collect();
    while let Some(state) = open.pop() {
        for previous in &before[state] {
            if reaches.insert(*previous) {
                open.push(*previous);
            }
        }
    }
    match (0..states.len()).find(|state| !reaches.contains(state)) {
        Some(stuck) => Err(Broken { promise: "an end is out of reach", trace: trace_to(stuck, &came_from) }),
        None => Ok(states.len()),
    }
}

#[test]
fn no_interleaving_of_two_workers_breaks_a_promise() {
    let cases =
        [(1, 0, 0, 0), (1, 1, 1, 1), (1, 2, 0, 1), (1, 0, 2, 1), (2, 0, 0, 1), (2, 1, 0, 0), (2, 0, 1, 0)];
    for (copies, crashes, losses, refusals) in cases {
        match walk(World::new(copies, crashes, losses, refusals, Table::default())) {
            Ok(states) => assert!(states > 5, "copies {copies}: a walk of {states} states shows nothing"),
            Err(broken) => panic!("copies {copies}, crashes {crashes}, losses {losses}: {broken:#?}"),
        }
    }
}

#[test]
fn without_the_comparison_at_begin_the_walk_finds_a_double_payment() {
    let table = Table { begin_compares_nothing: true, ..Table::default() };
    let broken = walk(World::new(2, 0, 0, 0, table)).unwrap_err();
    assert_eq!(broken.promise, "paid for twice", "{broken:#?}");
}

#[test]
fn without_first_writer_wins_the_walk_finds_two_wordings() {
    let table = Table { freeze_overwrites: true, ..Table::default() };
    let broken = walk(World::new(2, 0, 0, 0, table)).unwrap_err();
    assert_eq!(broken.promise, "two wordings of the outcome", "{broken:#?}");
}
