//! Waiting in the line before the POSTs, and asking the ledger for the right to one.

use std::time::Duration;

use tokio::time::Instant;

use super::record::readable;
use super::{Actor, Kept, SubmitRight};
use crate::job::SentUnder;
use crate::job::record::Nonce;
use crate::job::stage::JobStage;
use crate::job::step::{BeginPrecondition, Input, MoveResult, RequeueReason};
use crate::ledger::JobRef;
use crate::ledger::slots::Slots;
use crate::metrics::Standstill;
use crate::worker::slots::{ASKS_EVERY, LineHead};
use crate::worker::standstills::OpenStandstill;

/// A life that has not read its record waits in the line no longer than this. The job may have ended long ago, and
/// this message may be a copy of it.
const UNREAD_MAX: Duration = Duration::from_secs(1);

/// The head of the line asks this often whether another job may be paid for today.
const ASKS_EVERY_OF_SPEND: Duration = Duration::from_secs(5);

impl Actor<'_> {
    /// Waits in the line and then asks the ledger. In the line, everything can be given up; once the ledger is asked,
    /// the life waits for its answer.
    pub(super) async fn begin(
        &mut self,
        attempt: u32,
        round: u32,
        basis: BeginPrecondition,
    ) -> Result<Input, RequeueReason> {
        self.held.at(JobStage::Waiting);
        // If the life had a right for the attempt before, it goes back to the end of the line.
        self.right = None;
        if matches!(self.submission, Kept::Gone) {
            // The submission was dropped when this life expected not to post any more. An ask without a POST would look
            // like an open POST. The next delivery brings the message again.
            return Err(RequeueReason::NeedsMessage);
        }
        let came = Instant::now();
        let unread = basis == BeginPrecondition::Unread;
        let in_line = async {
            let line = async {
                if let Some(until) = self.no_post_before {
                    self.shared.clock.sleep_until(until).await;
                }
                let head = self.shared.slots.head(matches!(basis, BeginPrecondition::NeverAsked(_))).await;
                let place = self.shared.submits.place().await;
                self.shared.limits.submit().await;
                let pass = self.shared.breaker.pass().await;
                (head, place, pass)
            };
            tokio::select! {
                biased;
                () = self.shared.breaker.closed() => Line::Closed,
                () = self.hints.look() => Line::Look,
                () = tokio::time::sleep(UNREAD_MAX), if unread => Line::Look,
                (head, place, pass) = line => match pass {
                    Some(pass) => Line::Head(head, SubmitRight { _place: place, pass }),
                    None => Line::Closed,
                }
            }
        };
        let head = match self.interrupts.or(in_line).await? {
            Line::Closed => return Err(RequeueReason::Paused),
            Line::Look => return self.read().await,
            Line::Head(head, right) => {
                self.right = Some(right);
                head
            }
        };
        let ask = Ask { attempt, round, basis, slots: self.slots };
        let nonce = fresh_nonce();
        // The account may be full, or the provider may want a slower pace, so the head of the line asks until it may
        // post. After an ask the life keeps its nonce, because an ask whose answer was lost may still arrive.
        let mut standstill: Option<OpenStandstill> = None;
        let begun = loop {
            let under = self.interrupts.or(self.goes_out_under()).await?;
            let (begun, wait) = self.ask_to_post(&ask, &nonce, under).await?;
            let Some(wait) = wait else { break begun };
            self.say_refusal(&begun, &mut standstill);
            let waiting = async {
                tokio::select! {
                    biased;
                    () = self.shared.breaker.closed() => Some(Line::Closed),
                    () = self.hints.look() => Some(Line::Look),
                    () = self.hints.slot() => None,
                    () = tokio::time::sleep(wait) => None,
                }
            };
            match self.interrupts.or(waiting).await? {
                Some(Line::Look) => return self.read().await,
                Some(Line::Closed | Line::Head(..)) => return Err(RequeueReason::Paused),
                None => {}
            }
        };
        // The next job in the line asks while this one submits.
        drop(head);
        if self.shared.slots.is_capped() {
            self.shared.metrics.waited_for_slots(came.elapsed());
        }
        Ok(begun)
    }

    /// Begins an attempt only to give it up. Such a life doesn't wait in the line and takes no slots.
    pub(super) async fn begin_to_cancel(
        &mut self,
        attempt: u32,
        round: u32,
        basis: BeginPrecondition,
    ) -> Result<Input, RequeueReason> {
        self.held.at(JobStage::Submitting);
        let ask = Ask { attempt, round, basis, slots: Slots::NONE };
        let under = self.under();
        Ok(self.ask_to_post(&ask, &fresh_nonce(), under).await?.0)
    }

    /// Asks the ledger once. Returns its answer, and how long to wait before the next ask, unless a hint comes; no
    /// wait if the life goes on.
    async fn ask_to_post(
        &mut self,
        ask: &Ask,
        nonce: &Nonce,
        under: SentUnder,
    ) -> Result<(Input, Option<Duration>), RequeueReason> {
        let asked = self.shared.clock.now();
        let ledger = &self.shared.ledger;
        let job = JobRef { slots: ask.slots, under: Some(&under), ..self.job_ref(ask.round) };
        let asking = self.until_known(|| ledger.begin(job, ask.attempt, nonce, &ask.basis)).await?;
        let wait = match &asking {
            Ok(MoveResult::Yes { .. } | MoveResult::No(_)) | Err(_) => None,
            Ok(MoveResult::Full) => Some(ASKS_EVERY),
            Ok(MoveResult::Paced { wait }) => {
                self.shared.slots.note_line();
                Some(*wait)
            }
            Ok(MoveResult::Spent(today)) => {
                self.shared.slots.note_line();
                Some(if today.complete { ASKS_EVERY_OF_SPEND } else { ASKS_EVERY })
            }
        };
        let nonce = nonce.clone();
        let begun = readable(asking, |moved| Input::Begun { moved, nonce, under, asked });
        Ok((begun, wait))
    }

    /// Registers that the head of the line waits because of `spend.max_units_per_day`, as long as it does.
    fn say_refusal(&self, begun: &Input, standstill: &mut Option<OpenStandstill>) {
        let Input::Begun { moved: MoveResult::Spent(today), .. } = begun else {
            *standstill = None;
            return;
        };
        let Some(refusal) = self.shared.settings.spend.refusal(today) else { return };
        let (detail, remedy) = (refusal.to_string(), refusal.remedy());
        match standstill {
            Some(standstill) => standstill.because(detail, remedy),
            None => *standstill = Some(self.shared.standstills.wait(Standstill::Spend, detail, remedy)),
        }
    }
}

/// What the ledger is asked for.
struct Ask {
    attempt: u32,
    round: u32,
    basis: BeginPrecondition,
    slots: Slots,
}

fn fresh_nonce() -> Nonce {
    Nonce::new(uuid::Uuid::new_v4().simple().to_string())
}

/// What comes first to a life in the line.
enum Line {
    Head(LineHead, SubmitRight),
    /// The record should be read.
    Look,
    Closed,
}
