//! A worker takes jobs from RabbitMQ, submits them to CometAPI (Kling, multi-image to image), polls them to their
//! end, stores their images, and publishes their end as events. This page is the architecture.
//!
//! ```text
//!  producer ──job──▶ RabbitMQ ──▶ worker ──submit──▶ CometAPI
//!                                 │   ▲  └──poll────▶
//!                      task ids   ▼   │  ◀─result urls─
//!                                Redis└──── download ─▶ storage
//!  consumer ◀─event── RabbitMQ ◀──────┘
//! ```
//!
//! **RabbitMQ owns a job until its event is confirmed. Redis knows how far it is. The store has the receipts, and one
//! of them is the gate before the money. Everything else can be repeated.**
//!
//! # The way of a job
//!
//! A delivery arrives in [`worker::session`] and is processed by [`worker::delivery`]. [`job::request`] turns the
//! message into a job or says what is wrong with it. The job's life ([`worker::life`]) asks [`job::step`], which is
//! pure, for the next action, performs it, and reports its result:
//!
//! ```text
//!  read the record ─▶ new ─────────▶ ask ledger and receipts ─▶ POST ─▶ note the task id ───┐
//!    ([`ledger`])     submitting ──▶ another life submits: look up, look on                 │
//!                     generating ───────────────────────────────────────▶ poll ◀────────────┘
//!                                                                          │ ([`provider`])
//!                                                                          ▼
//!                                             download and store ([`images`], [`storage`])
//!                                                                          │
//!                     done ─────────────▶ publish ([`job::event`], [`queue`]) ◀─ seal the outcome
//! ```
//!
//! There is no other way: a job that is retried, redelivered or resumed begins with the record and continues from
//! there. A message that was never delivered before is taken for a new job; if it isn't new, the life learns this
//! when it asks the ledger or the receipts. If a receipt seals the outcome, the record ends after the event; without
//! receipts, the record freezes the outcome first.
//!
//! # Where things are
//!
//! | module | what it holds |
//! |---|---|
//! | [`job`] | the nouns, the contract in and out, the record, the routes, what answers say, every decision; pure |
//! | [`worker`] | the shell: sessions, lives, the breaker, the line before the POSTs |
//! | [`queue`] | RabbitMQ: topology, the consumer, the pool of confirm channels |
//! | [`ledger`] | how far each job is, in Redis (a Lua script for each move) or in memory; hints, and how long tasks take |
//! | [`receipts`] | the memory in the store: the gate, what Redis is rebuilt from, a person's decisions; and its sweep |
//! | [`provider`] | CometAPI: what its replies mean (pure), and the HTTP client |
//! | [`callback`] | the listener for the provider's callbacks |
//! | [`limits`] | one worker's requests in a second and at the same time |
//! | [`images`], [`storage`] | downloads behind a guard; where images go |
//! | [`fleet`] | the shapes of what is seen of the fleet, and of one job |
//! | [`config`], [`telemetry`], [`metrics`], [`traces`], [`admin`], [`heartbeat`] | settings, log, metrics, traces, health; `bounded_listener` limits clients |
//! | [`cli`] | one file for each command |
//!
//! # What never happens
//!
//! - No delivery is acknowledged before its event, or its dead letter, is confirmed.
//! - No life sends a POST without having just passed the gate of that attempt. After a POST with an unknown outcome, there is
//!   no other POST unless a look-up that the user trusts, or a person, says that nothing was accepted.
//! - No generation of a job follows another unless the provider says that the task failed, and there are at most as many as
//!   the job's first intent allows.
//! - There is no lease and no owner: two workers may do everything twice except the POST.
//! - No decision depends on two machines' clocks agreeing: ages are by the clock of Redis, waits by the worker's own clock.
//! - No fault of the account, the provider or our own services is a job's outcome.
//! - No POST is sent without slots of the account if `generation.max_running` is set ([`ledger::slots`]); jobs wait for
//!   them in [`worker::slots`].
//! - No wait holds anything that can't be requeued or released within moments.

pub mod admin;
mod bounded_listener;
pub mod callback;
pub mod cli;
pub mod clock;
pub mod config;
pub mod fleet;
pub mod heartbeat;
pub mod images;
pub mod job;
pub mod ledger;
pub mod limits;
pub mod metrics;
#[cfg(test)]
mod mutated;
pub mod net;
pub mod provider;
pub mod queue;
pub mod receipts;
mod redact;
pub mod secret;
pub mod shutdown;
pub mod storage;
pub mod telemetry;
pub mod traces;
pub mod worker;
