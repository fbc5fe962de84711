//! A ledger around another one, whose calls all go through one place, so that a test can count them, make them twice,
//! cut them off or clean up after them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use comet_worker::job::record::{Nonce, Snapshot, Stage};
use comet_worker::job::route::RouteName;
use comet_worker::job::spend::SpendToday;
use comet_worker::job::step::{
    BeginPrecondition, FreezePrecondition, FreezeResult, MoveResult, RestorePrecondition,
};
use comet_worker::job::{Digest, FailedTasks, JobId, SentUnder, TaskId};
use comet_worker::ledger::slots::Slots;
use comet_worker::ledger::{JobRef, Ledger, LedgerError};
use futures_util::future::BoxFuture;

/// One call, ready to be made of a ledger, any number of times.
pub type Call<T> = Box<dyn Fn(Arc<dyn Ledger>) -> BoxFuture<'static, Result<T, LedgerError>> + Send + Sync>;

/// Which call it is.
pub struct Asked {
    /// The method's name.
    pub name: &'static str,
    pub job: Option<JobId>,
    attempt: Option<u32>,
}

/// What the call is about: the job, and the attempt.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.job, self.attempt) {
            (Some(job), Some(attempt)) => write!(f, "{job} {attempt}"),
            (Some(job), None) => write!(f, "{job}"),
            (None, _) => Ok(()),
        }
    }
}

/// What is done with every call.
#[async_trait]
pub trait Around: Send + Sync {
    async fn around<T: Send + 'static>(&self, asked: Asked, call: Call<T>) -> Result<T, LedgerError>;
}

/// The ledger whose calls all go through [`Around::around`].
pub struct Through<A>(pub A);

/// A [`JobRef`] that outlives the call.
struct Owned {
    job: JobId,
    digest: Digest,
    route: RouteName,
    round: u32,
    failed: FailedTasks,
    under: Option<SentUnder>,
    slots: Slots,
}

impl Owned {
    fn of(entry: JobRef<'_>) -> Self {
        Self {
            job: entry.job.clone(),
            digest: entry.digest.clone(),
            route: entry.route.clone(),
            round: entry.round,
            failed: entry.failed.clone(),
            under: entry.under.cloned(),
            slots: entry.slots,
        }
    }

    fn entry(&self) -> JobRef<'_> {
        let Self { job, digest, route, round, failed, under, slots } = self;
        JobRef { job, digest, route, round: *round, failed, under: under.as_ref(), slots: *slots }
    }
}

/// `call!((what it needs, owned), |ledger, (by these names)| the call)`
macro_rules! call {
    ($held:expr, |$ledger:ident, $names:pat_param| $made:expr) => {{
        let held = Arc::new($held);
        let call: Call<_> = Box::new(move |$ledger: Arc<dyn Ledger>| {
            let held = Arc::clone(&held);
            Box::pin(async move {
                let $names = &*held;
                $made.await
            })
        });
        call
    }};
}

fn about(name: &'static str, job: &JobId) -> Asked {
    Asked { name, job: Some(job.clone()), attempt: None }
}

fn attempt(name: &'static str, job: &JobId, attempt: u32) -> Asked {
    Asked { name, job: Some(job.clone()), attempt: Some(attempt) }
}

fn of_all(name: &'static str) -> Asked {
    Asked { name, job: None, attempt: None }
}

#[async_trait]
impl<A: Around> Ledger for Through<A> {
    async fn read(&self, job: &JobId, slots: Slots) -> Result<Snapshot, LedgerError> {
        let call = call!((job.clone(), slots), |ledger, (job, slots)| ledger.read(job, *slots));
        self.0.around(about("read", job), call).await
    }

    async fn begin(
        &self,
        entry: JobRef<'_>,
        number: u32,
        nonce: &Nonce,
        basis: &BeginPrecondition,
    ) -> Result<MoveResult, LedgerError> {
        let asked = attempt("begin", entry.job, number);
        let held = (Owned::of(entry), number, nonce.clone(), basis.clone());
        let call = call!(held, |ledger, (entry, number, nonce, basis)| ledger.begin(
            entry.entry(),
            *number,
            nonce,
            basis
        ));
        self.0.around(asked, call).await
    }

    async fn reopen(
        &self,
        job: &JobId,
        number: u32,
        nonce: Option<&Nonce>,
    ) -> Result<MoveResult, LedgerError> {
        let held = (job.clone(), number, nonce.cloned());
        let call = call!(held, |ledger, (job, number, nonce)| ledger.reopen(job, *number, nonce.as_ref()));
        self.0.around(attempt("reopen", job, number), call).await
    }

    async fn restore(
        &self,
        entry: JobRef<'_>,
        over: RestorePrecondition,
        stage: &Stage,
        corrects: Option<&Bytes>,
    ) -> Result<Snapshot, LedgerError> {
        let asked = about("restore", entry.job);
        let held = (Owned::of(entry), over, stage.clone(), corrects.cloned());
        let call = call!(held, |ledger, (entry, over, stage, corrects)| ledger.restore(
            entry.entry(),
            *over,
            stage,
            corrects.as_ref()
        ));
        self.0.around(asked, call).await
    }

    async fn accept(&self, entry: JobRef<'_>, number: u32, task: &TaskId) -> Result<Stage, LedgerError> {
        let asked = attempt("accept", entry.job, number);
        let held = (Owned::of(entry), number, task.clone());
        let call = call!(held, |ledger, (entry, number, task)| ledger.accept(entry.entry(), *number, task));
        self.0.around(asked, call).await
    }

    async fn follow(
        &self,
        job: &JobId,
        number: u32,
        failed: &FailedTasks,
    ) -> Result<MoveResult, LedgerError> {
        let held = (job.clone(), number, failed.clone());
        let call = call!(held, |ledger, (job, number, failed)| ledger.follow(job, *number, failed));
        self.0.around(attempt("follow", job, number), call).await
    }

    async fn freeze(
        &self,
        entry: JobRef<'_>,
        expect: &FreezePrecondition,
        event: Bytes,
        replaceable: bool,
    ) -> Result<FreezeResult, LedgerError> {
        let asked = about("freeze", entry.job);
        let held = (Owned::of(entry), expect.clone(), event, replaceable);
        let call = call!(held, |ledger, (entry, expect, event, replaceable)| ledger.freeze(
            entry.entry(),
            expect,
            event.clone(),
            *replaceable
        ));
        self.0.around(asked, call).await
    }

    async fn enter(&self, job: &JobId, life: &str) -> Result<Snapshot, LedgerError> {
        let call = call!((job.clone(), life.to_owned()), |ledger, (job, life)| ledger.enter(job, life));
        self.0.around(about("enter", job), call).await
    }

    async fn leave(&self, job: &JobId, life: &str, tried: Option<Duration>) -> Result<(), LedgerError> {
        let held = (job.clone(), life.to_owned(), tried);
        let call = call!(held, |ledger, (job, life, tried)| ledger.leave(job, life, *tried));
        self.0.around(about("leave", job), call).await
    }

    async fn cancel(&self, job: &JobId) -> Result<Snapshot, LedgerError> {
        let call = call!(job.clone(), |ledger, job| ledger.cancel(job));
        self.0.around(about("cancel", job), call).await
    }

    async fn mark_published(
        &self,
        entry: JobRef<'_>,
        event: &Bytes,
        sealed: bool,
    ) -> Result<(), LedgerError> {
        let asked = about("mark_published", entry.job);
        let held = (Owned::of(entry), event.clone(), sealed);
        let call = call!(held, |ledger, (entry, event, sealed)| ledger.mark_published(
            entry.entry(),
            event,
            *sealed
        ));
        self.0.around(asked, call).await
    }

    async fn hint_poll(&self, job: &JobId) -> Result<(), LedgerError> {
        let call = call!(job.clone(), |ledger, job| ledger.hint_poll(job));
        self.0.around(about("hint_poll", job), call).await
    }

    async fn meet_store(&self, id: &str) -> Result<String, LedgerError> {
        let call = call!(id.to_owned(), |ledger, id| ledger.meet_store(id));
        self.0.around(of_all("meet_store"), call).await
    }

    async fn slow_down(&self, pause: Duration, rate: u64) -> Result<(), LedgerError> {
        let call = call!((pause, rate), |ledger, (pause, rate)| ledger.slow_down(*pause, *rate));
        self.0.around(of_all("slow_down"), call).await
    }

    async fn spend_today(&self) -> Result<SpendToday, LedgerError> {
        let call = call!((), |ledger, ()| ledger.spend_today());
        self.0.around(of_all("spend_today"), call).await
    }

    async fn begin_count(&self) -> Result<(), LedgerError> {
        let call = call!((), |ledger, ()| ledger.begin_count());
        self.0.around(of_all("begin_count"), call).await
    }

    async fn probe(&self) -> Result<(), LedgerError> {
        let call = call!((), |ledger, ()| ledger.probe());
        self.0.around(of_all("probe"), call).await
    }
}
