//! What a seed draws: the world that the workers are in, and what happens to them.

use std::time::Duration;

use fastrand::Rng;

use crate::chance::stream;

/// What the provider does with our external id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Takes no second task under it, and finds the first.
    Refuses,
    /// Finds tasks by it.
    Finds,
    Neither,
}

/// How an undisturbed job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// So many images.
    Succeeds { images: u32 },
    /// The task is made, and fails.
    Fails,
    /// The task is made, and never ends.
    Never,
    /// The provider takes it at no attempt.
    Refused,
    /// It can't be submitted at all.
    Invalid,
}

#[derive(Debug, Clone)]
pub struct Job {
    pub fate: Fate,
    /// So many POSTs are answered with "later" first.
    pub later: u32,
    /// How long the task runs.
    pub generation: Duration,
    /// From the acceptance until the task is found by its external id.
    pub found_after: Duration,
    pub named: Named,
}

/// The origin of the job's external id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// The worker made it, and no other job has it.
    ByWorker,
    /// The producer named it.
    ByProducer,
    /// The producer named it, and another fleet's job on this account has it already.
    Met,
}

/// The participants, and their configuration.
#[derive(Debug, Clone)]
pub struct Cast {
    pub seed: u64,
    pub provider: Kind,
    pub trust_lookup: bool,
    pub receipts: bool,
    /// The ledger may lose its data; with receipts that does no harm.
    pub forgets: bool,
    pub gate: Duration,
    pub quiet: Duration,
    pub workers: usize,
    /// `generation.max_running`
    pub max_running: u32,
    pub jobs: Vec<Job>,
    /// The safeguard that is removed, to check that something breaks.
    pub without: Option<Safeguard>,
}

/// The safeguards that the promises depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safeguard {
    /// The store creates what is there already.
    CreateIfAbsent,
    /// The confirm means that a queue has the event.
    Confirm,
    /// The first to freeze an outcome wins. It matters without receipts, where only the ledger has the outcome.
    FirstFreeze,
    /// The ledger counts the account's slots.
    SlotCount,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    Broker,
    Ledger,
    Store,
    Provider,
    /// The provider's file server, and the way to it.
    Downloads,
}

impl Service {
    const ALL: [Self; 5] = [Self::Broker, Self::Ledger, Self::Store, Self::Provider, Self::Downloads];
}

/// What happens next. Times are in milliseconds; workers are named by their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// The job is published. The second time, it is a duplicate.
    Deliver {
        job: usize,
    },
    Advance {
        ms: u64,
    },
    /// The process dies at the next poll of one of its tasks; another takes its place.
    Kill {
        worker: usize,
        after_polls: u32,
    },
    /// The process is told to stop; another takes its place after that.
    Stop {
        worker: usize,
    },
    /// From such a poll on, none of its tasks is polled for this long.
    Freeze {
        worker: usize,
        after_polls: u32,
        ms: u64,
    },
    /// The process that does this next dies at that moment, or freezes for this long.
    Ambush {
        at: &'static str,
        freezes_ms: Option<u64>,
    },
    /// One worker, or all of them, can't reach the service. A request hangs, or fails at once.
    Cut {
        worker: Option<usize>,
        from: Service,
        ms: u64,
        hangs: bool,
    },
    /// The ledger forgets everything.
    Flush,
    /// The ledger fails over, and forgets its last writes.
    LoseWrites {
        number: usize,
    },
    /// The next request takes effect, and its answer is lost.
    LoseReply {
        of: Service,
    },
    /// The next POST takes so long to arrive.
    DelayPost {
        ms: u64,
    },
    /// The user cancels the job.
    Cancel {
        job: usize,
    },
    /// Nothing is accepted for so long.
    NoMoney {
        ms: u64,
    },
    /// For this long each POST is answered with a gateway's 504, whether it made a task or not. Each GET is answered
    /// normally.
    NoPosts {
        ms: u64,
    },
}

impl Cast {
    pub fn draw(seed: u64) -> Self {
        let mut dice = stream(seed, "cast");
        let (provider, trust_lookup) = match dice.u64(0..5) {
            0 => (Kind::Refuses, true),
            1 => (Kind::Refuses, false),
            2 => (Kind::Finds, true),
            3 => (Kind::Finds, false),
            _ => (Kind::Neither, false),
        };
        let mut jobs: Vec<_> = (0..dice.u64(1..=4)).map(|_| Job::draw(&mut dice)).collect();
        Named::draw(seed, &mut jobs);
        let receipts = !percent(&mut dice, 15);
        Self {
            seed,
            provider,
            trust_lookup,
            receipts,
            forgets: receipts,
            gate: Duration::from_secs(5),
            quiet: Duration::from_secs(120),
            workers: 2 + dice.usize(0..2),
            max_running: Self::draw_account(seed),
            jobs,
            without: None,
        }
    }

    /// Draws from dice of its own: no cap, or one that every job fits under.
    fn draw_account(seed: u64) -> u32 {
        let mut dice = stream(seed, "account");
        if percent(&mut dice, 50) { 0 } else { 2 + u32::try_from(dice.u64(0..2)).unwrap() }
    }

    /// With so many jobs.
    pub fn crowd(&mut self, jobs: usize) {
        let mut dice = stream(self.seed, "crowd");
        self.jobs = (0..jobs).map(|_| Job::draw(&mut dice)).collect();
        Named::draw(self.seed, &mut self.jobs);
    }

    pub fn finds(&self) -> bool {
        self.provider != Kind::Neither
    }

    /// Whether a POST may arrive after the quiet period and still be the only one.
    fn bears_late_posts(&self) -> bool {
        !self.trust_lookup || self.provider == Kind::Refuses
    }
}

impl Job {
    fn draw(dice: &mut Rng) -> Self {
        let fate = match dice.u64(0..20) {
            0 => Fate::Invalid,
            1 => Fate::Refused,
            2 => Fate::Never,
            3 | 4 => Fate::Fails,
            number => Fate::Succeeds { images: if number < 9 { 2 } else { 1 } },
        };
        Self {
            fate,
            later: u32::try_from(dice.u64(0..6).saturating_sub(3)).unwrap(),
            generation: Duration::from_millis(dice.u64(500..=60_000)),
            found_after: Duration::from_millis(if percent(dice, 50) { 0 } else { dice.u64(0..20_000) }),
            named: Named::ByWorker,
        }
    }
}

impl Named {
    /// From dice of its own.
    fn draw(seed: u64, jobs: &mut [Job]) {
        let mut dice = stream(seed, "names");
        for job in jobs {
            job.named = match dice.u64(0..10) {
                0 => Self::ByProducer,
                1 => Self::Met,
                _ => Self::ByWorker,
            };
        }
    }
}

/// The script of a seed. Every job is delivered in it.
pub fn script(cast: &Cast) -> Vec<Op> {
    let mut dice = stream(cast.seed, "script");
    let mut ops = vec![Op::Deliver { job: 0 }];
    let mut delivered = 1;
    for _ in 0..dice.u64(6..=30) {
        if delivered < cast.jobs.len() && percent(&mut dice, 25) {
            ops.push(Op::Deliver { job: delivered });
            delivered += 1;
        }
        ops.push(Op::draw(cast, &mut dice));
        if percent(&mut dice, 80) {
            ops.push(Op::Advance { ms: advance(&mut dice) });
        }
    }
    ops.extend((delivered..cast.jobs.len()).map(|job| Op::Deliver { job }));
    ops
}

/// Mostly within the steps of a job's life, sometimes beyond the quiet period.
fn advance(dice: &mut Rng) -> u64 {
    match dice.u64(0..20) {
        0..4 => dice.u64(0..50),
        4..10 => dice.u64(50..=1_000),
        10..16 => dice.u64(1_000..=10_000),
        16..19 => dice.u64(10_000..=60_000),
        _ => dice.u64(100_000..=150_000),
    }
}

/// How long a fault lasts: a moment, a while, or longer than the quiet period.
fn length(dice: &mut Rng) -> u64 {
    match dice.u64(0..10) {
        0..4 => dice.u64(50..=2_000),
        4..8 => dice.u64(2_000..=40_000),
        _ => dice.u64(100_000..=300_000),
    }
}

impl Op {
    fn draw(cast: &Cast, dice: &mut Rng) -> Self {
        let worker = dice.usize(0..cast.workers);
        let service = Service::ALL[dice.usize(0..Service::ALL.len())];
        let polls = u32::try_from(dice.u64(0..60)).unwrap();
        let after_polls = if percent(dice, 40) { 0 } else { polls };
        match dice.u64(0..21) {
            20 => Self::Cancel { job: dice.usize(0..cast.jobs.len()) },
            0 => Self::Deliver { job: 0 },
            1..6 => Self::Kill { worker, after_polls },
            6 => Self::Stop { worker },
            7 | 8 => Self::Ambush {
                at: AMBUSHES[dice.usize(0..AMBUSHES.len())],
                freezes_ms: percent(dice, 60).then(|| dice.u64(100_000..=300_000)),
            },
            9 => Self::Freeze { worker, after_polls, ms: length(dice) },
            10..13 => Self::Cut {
                worker: if percent(dice, 30) { None } else { Some(worker) },
                from: service,
                ms: length(dice),
                hangs: percent(dice, 50),
            },
            13 | 14 if cast.forgets => Self::Flush,
            15 if cast.forgets => Self::LoseWrites { number: 1 + dice.usize(0..3) },
            13..18 => Self::LoseReply { of: service },
            18 if cast.bears_late_posts() => Self::DelayPost { ms: dice.u64(1_000..=300_000) },
            18 => Self::DelayPost { ms: dice.u64(1_000..=LATEST_POST.as_millis().try_into().unwrap()) },
            _ if percent(dice, 50) => Self::NoPosts { ms: length(dice) },
            _ => Self::NoMoney { ms: dice.u64(1_000..=60_000) },
        }
    }
}

/// Places for an ambush: parts of the steps' names.
const AMBUSHES: [&str; 10] = [
    "begin",
    ".intent-1",
    ".intent-2",
    ".refused-1",
    "POST leaves",
    "POST arrives",
    "accept",
    ".task-1",
    ".result",
    "publish",
];

/// The time from its leaving to its arrival. Together with the gate's five seconds and the time until the task is
/// found, this is less than the quiet period.
pub const LATEST_POST: Duration = Duration::from_secs(75);

/// True in this many of a hundred draws.
pub fn percent(dice: &mut Rng, percent: u64) -> bool {
    dice.u64(0..100) < percent
}
