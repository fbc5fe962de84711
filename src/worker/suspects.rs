//! Detects sessions that end one after another with the same message at the head of the queue.
//!
//! What comes over the wire is made safe before the client library sees it, and what we publish is bounded. If a
//! message still ends the session, for any reason, then each session brings it again and the messages behind it are
//! never reached. The log has to name that message, or an operator searches for days. So from the third end in a row
//! on, what a session has brought is compared with what the sessions before it had brought.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::standstills::CurrentStandstill;
use crate::metrics::{Metrics, Standstill};
use crate::queue::wire::{Seen, SeenMessage};
use crate::redact;

/// The number of short sessions in a row that raise the suspicion.
const SESSIONS: usize = 3;
/// A session that lasts longer is a good one, and clears the suspicion.
const GOOD_SESSION: Duration = Duration::from_secs(30);
const REMEDY: &str = "If the log names no other cause, take that message out of amqp.queue, and report it";

/// What the last sessions ended with. Clones share it.
#[derive(Debug, Clone)]
pub struct Suspects {
    state: Arc<Mutex<State>>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    /// What each of the last sessions had brought when it ended.
    ended: VecDeque<Vec<SeenMessage>>,
    /// When the present session began.
    began: Option<Instant>,
    /// The standstill: since when, and what it is.
    said: Option<(Instant, String)>,
}

impl Suspects {
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { state: Arc::default(), metrics }
    }

    /// Runs one session, and notes how it ended and what it had brought.
    ///
    /// # Errors
    ///
    /// The session's.
    pub async fn watch<E>(&self, seen: &Seen, session: impl Future<Output = Result<(), E>>) -> Result<(), E> {
        seen.clear();
        self.state().began = Some(Instant::now());
        let result = session.await;
        if result.is_err() {
            self.ended(seen.messages());
        }
        result
    }

    /// The standstill for readiness: what it is and what to do.
    #[must_use]
    pub fn standstill(&self) -> Option<String> {
        self.standing().map(|stands| words(&stands.detail))
    }

    /// The standstill, if there is one.
    #[must_use]
    pub fn standing(&self) -> Option<CurrentStandstill> {
        let mut state = self.state();
        if state.has_lasted() {
            self.over(&mut state);
        }
        let (since, detail) = state.said.clone()?;
        Some(CurrentStandstill {
            what: Standstill::Message.as_str(),
            since,
            detail,
            remedy: REMEDY.to_owned(),
        })
    }

    fn ended(&self, brought: Vec<SeenMessage>) {
        let mut state = self.state();
        if state.has_lasted() {
            self.over(&mut state);
        }
        state.began = None;
        if brought.is_empty() {
            // No message ended this session, and that doesn't clear a suspicion either.
            return;
        }
        state.ended.push_back(brought);
        while state.ended.len() > SESSIONS {
            state.ended.pop_front();
        }
        if state.ended.len() < SESSIONS {
            return;
        }
        let Some(detail) = common(&state.ended) else { return self.over(&mut state) };
        let before = state.said.take();
        if before.as_ref().is_none_or(|(_, before)| *before != detail) {
            tracing::error!("{}", words(&detail));
        }
        self.metrics.standstill(Standstill::Message, true);
        state.said = Some((before.map_or_else(Instant::now, |(since, _)| since), detail));
    }

    fn over(&self, state: &mut State) {
        state.ended.clear();
        if state.said.take().is_some() {
            self.metrics.standstill(Standstill::Message, false);
            tracing::info!(
                "sessions with RabbitMQ last again: the message at their head stops no other job any more"
            );
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_lasted(&self) -> bool {
        self.began.is_some_and(|began| began.elapsed() > GOOD_SESSION)
    }
}

fn words(detail: &str) -> String {
    format!("{detail}. {REMEDY}")
}

/// What the standstill is, if all these sessions had brought a common message.
fn common(sessions: &VecDeque<Vec<SeenMessage>>) -> Option<String> {
    let (last, before) = sessions
        .iter()
        .rev()
        .collect::<Vec<_>>()
        .split_first()
        .map(|(last, before)| (*last, before.to_vec()))?;
    let in_all: Vec<&SeenMessage> = last
        .iter()
        .filter(|message| before.iter().all(|session| session.iter().any(|other| other.is(message))))
        .collect();
    let (first, rest) = in_all.split_first()?;
    let others = match rest.last() {
        None => String::new(),
        Some(last) => format!(", and {} more up to {}", rest.len(), described(last)),
    };
    Some(format!(
        "{} sessions with RabbitMQ in a row have ended with the same message at their head: {}{others}",
        sessions.len(),
        described(first)
    ))
}

/// What is needed to find the message in its queue, without any of its input.
fn described(message: &SeenMessage) -> String {
    let job = match job_id(&message.start).or_else(|| job_id(&message.end)) {
        Some(job) => format!("job_id {job}"),
        None => "no job_id to be seen".to_owned(),
    };
    format!("a message of {} bytes ({job}, number {:016x})", message.body_size, message.number())
}

/// The value after `"job_id":`, if that is near the beginning or the end of the body.
fn job_id(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let (_, rest) = text.split_once("\"job_id\"")?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let (id, _) = value.split_once('"')?;
    Some(redact::bounded(id, 128))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(header: u64, body: &str) -> SeenMessage {
        SeenMessage::for_test(header, body.as_bytes())
    }

    async fn ends(suspects: &Suspects, messages: &[SeenMessage]) {
        let seen = Seen::default();
        let session = async {
            for message in messages {
                seen.add_for_test(message.clone());
            }
            Err("it broke")
        };
        suspects.watch(&seen, session).await.unwrap_err();
    }

    fn stands(metrics: &Metrics) -> bool {
        metrics.encode().contains("comet_standstill{what=\"message\"} 1")
    }

    #[tokio::test(start_paused = true)]
    async fn three_sessions_that_end_with_the_same_message_are_a_standstill() {
        let metrics = Metrics::new();
        let suspects = Suspects::new(metrics.clone());
        let poison = message(1, r#"{"job_id": "order-1", "input"#);
        for times in 1..=3 {
            assert_eq!(suspects.standstill(), None, "after {} ends", times - 1);
            ends(&suspects, &[message(10 + times, "other"), poison.clone()]).await;
        }
        let words = suspects.standstill().unwrap();
        assert!(words.contains("3 sessions") && words.contains("job_id order-1"), "{words}");
        assert!(stands(&metrics));
        ends(&suspects, std::slice::from_ref(&poison)).await;
        assert_eq!(suspects.standstill().unwrap(), words, "said once more, the same");
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_with_other_messages_or_none_are_no_such_standstill() {
        let suspects = Suspects::new(Metrics::new());
        for number in 1..=9 {
            ends(&suspects, &[message(number, "one"), message(number, "two")]).await;
            assert_eq!(suspects.standstill(), None);
        }
        for _ in 1..=9 {
            ends(&suspects, &[]).await;
            assert_eq!(suspects.standstill(), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_lasts_ends_the_standstill() {
        let metrics = Metrics::new();
        let suspects = Suspects::new(metrics.clone());
        for _ in 0..3 {
            ends(&suspects, &[message(1, "poison")]).await;
        }
        assert!(suspects.standstill().unwrap().contains("no job_id to be seen"));
        let seen = Seen::default();
        let lasting = async {
            tokio::time::sleep(Duration::from_secs(31)).await;
            assert_eq!(suspects.standstill(), None, "while it still stands");
            Ok::<(), &str>(())
        };
        suspects.watch(&seen, lasting).await.unwrap();
        assert!(!stands(&metrics));
    }
}
