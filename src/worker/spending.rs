//! Keeps the books of what is spent today: counts the ends of before from their receipts after Redis has lost its data,
//! and closes the intake when the day's cap is reached.
//!
//! The cap itself is kept to by the script that gives the right to post. What is here closes the intake before jobs are
//! refused one by one, and opens it again.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::breaker::Cause;
use crate::clock;
use crate::heartbeat::Heartbeat;
use crate::job::event::EndNote;
use crate::job::spend::SpendToday;
use crate::ledger::LedgerError;
use crate::ledger::spend::{Counted, RedisSpend};
use crate::storage::{StoreError, StoreErrorKind};

const EVERY: Duration = Duration::from_secs(5);
/// The store's clock and a worker's may differ by this much.
const CLOCKS_APART_MS: i64 = 3_600_000;

/// The ledger has refused a job, since the day's cap is reached.
pub fn note(shared: &Shared, today: SpendToday) {
    if let Some(refusal) = shared.settings.spend.refusal(&today) {
        shared.breaker.fault(Cause::Spend, &refusal.to_string());
    }
}

/// Checks whether another job may begin today.
///
/// # Errors
///
/// Why not, for people.
pub async fn probe(shared: &Shared) -> Result<(), String> {
    let today = shared.ledger.spend_today().await.map_err(|error| error.to_string())?;
    shared.settings.spend.refusal(&today).map_or(Ok(()), |refusal| Err(refusal.to_string()))
}

/// The books, and who keeps them.
pub struct Spending {
    pub shared: Shared,
    pub redis: RedisSpend,
    /// This worker's id.
    pub worker: String,
}

/// Why the receipts are not counted yet.
enum NotCounted {
    Redis(LedgerError),
    Store(StoreError),
    /// Another worker counts them.
    Elsewhere,
    /// It is not known yet whether this worker's store is the fleet's.
    NoStore,
}

impl Spending {
    /// Looks at the books until `stop`.
    pub async fn keep(&self, heartbeat: &Heartbeat, stop: &CancellationToken) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => heartbeat.touch(),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.turn(heartbeat) => {}
            }
        }
    }

    async fn turn(&self, heartbeat: &Heartbeat) {
        match self.redis.is_complete().await {
            Ok(true) => {}
            Ok(false) => match self.count(heartbeat).await {
                Ok(()) | Err(NotCounted::Elsewhere | NotCounted::NoStore) => {}
                Err(NotCounted::Redis(error)) => tracing::debug!("today's spend is not counted yet: {error}"),
                Err(NotCounted::Store(error)) => {
                    tracing::warn!("what was spent today can't be counted from the receipts yet: {error}");
                }
            },
            // The breaker says what a Redis that is away means for the jobs.
            Err(error) => {
                tracing::debug!("whether today's spend is complete is unknown: {error}");
                return;
            }
        }
        if self.shared.settings.spend.cap.is_some()
            && let Ok(today) = self.shared.ledger.spend_today().await
        {
            note(&self.shared, today);
        }
    }

    /// Counts today's ends from the receipts. Without receipts, the day begins with the first end that is published.
    async fn count(&self, heartbeat: &Heartbeat) -> Result<(), NotCounted> {
        let receipts = self.shared.settings.rules.receipts;
        if receipts && self.shared.settings.request_rules.store.as_str().is_empty() {
            return Err(NotCounted::NoStore);
        }
        if !self.redis.claim(&self.worker).await? {
            return Err(NotCounted::Elsewhere);
        }
        let now_ms = clock::unix_ms();
        let from_ms = self.redis.from_ms(now_ms).await?;
        let rules = self.redis.rules();
        let today = rules.day(now_ms);
        let mut counted = Counted::default();
        let mut ends = 0_u64;
        if receipts {
            let since_ms = rules.begins_ms(today) - CLOCKS_APART_MS;
            let folders = match self.shared.receipts.folders().await {
                Ok(folders) => folders,
                Err(error) if may_never_list(&error) => {
                    self.shared.weaknesses.warn(&format!(
                        "what was spent today before now is not known, since the receipts can't be listed: {error}"
                    ));
                    Vec::new()
                }
                Err(error) => return Err(NotCounted::Store(error)),
            };
            for folder in folders {
                heartbeat.touch();
                if !self.redis.claim(&self.worker).await? {
                    return Err(NotCounted::Elsewhere);
                }
                let events = self.shared.receipts.ended_since(&folder, since_ms).await;
                for event in events.map_err(NotCounted::Store)? {
                    let note = EndNote::of(&event, &rules.label).map(|note| note.spend);
                    let Some(note) = note.filter(|note| note.at_ms < from_ms) else { continue };
                    if rules.day(note.at_ms) == today {
                        counted.add(&note);
                        ends += 1;
                    }
                }
            }
        }
        counted.estimate(rules);
        self.redis.complete(today, &counted).await?;
        if ends > 0 {
            tracing::info!(ends, "counted what was spent today from the receipts, since Redis didn't know");
        }
        Ok(())
    }
}

impl From<LedgerError> for NotCounted {
    fn from(error: LedgerError) -> Self {
        Self::Redis(error)
    }
}

fn may_never_list(error: &StoreError) -> bool {
    match error.kind() {
        StoreErrorKind::MayNotList | StoreErrorKind::Forbidden => true,
        StoreErrorKind::NoConditionalPut
        | StoreErrorKind::NoExclusiveCreate
        | StoreErrorKind::BadCredentials
        | StoreErrorKind::NoCredentials
        | StoreErrorKind::ExpiredCredentials
        | StoreErrorKind::OtherRegion
        | StoreErrorKind::ClockSkew
        | StoreErrorKind::SlowDown
        | StoreErrorKind::Failing
        | StoreErrorKind::NoBucket
        | StoreErrorKind::Checksum
        | StoreErrorKind::TooLarge
        | StoreErrorKind::Full
        | StoreErrorKind::ReadOnly
        | StoreErrorKind::Tls
        | StoreErrorKind::OutOfFiles
        | StoreErrorKind::Unreachable
        | StoreErrorKind::Gone
        | StoreErrorKind::Other => false,
    }
}
