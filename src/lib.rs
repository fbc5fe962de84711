//! Jobs come in from RabbitMQ, are submitted to CometAPI (Kling, multi-image to image), polled to
//! their end, their images stored, and their end told as events. This page is the architecture.
//!
//! ```text
//!  producer ──job──▶ RabbitMQ ──▶ worker ──submit──▶ CometAPI
//!                                 │   ▲  └──poll────▶
//!                      task ids   ▼   │  ◀─result urls─
//!                                Redis└──── download ─▶ storage
//!  consumer ◀─event── RabbitMQ ◀──────┘
//! ```
//!
//! **RabbitMQ owns a job until its event is confirmed. Redis knows how far it is. The store keeps the
//! receipts, and one of them is the gate before the money. Everything else can be repeated.**
//!
//! # The way of a job
//!
//! A delivery arrives in [`worker::session`], which spawns a life for it ([`worker::life`]).
//! [`job::request`] turns the message into a job or says what is wrong with it. From then on the
//! life asks [`job::step`], which is pure, what to do next, does it, and reports what came of it:
//!
//! ```text
//!  read the record ─▶ new ─────────▶ ask ledger and receipts ─▶ POST ─▶ note the task id ───┐
//!    ([`ledger`])     submitting ──▶ another hand is at it: look up, look on                │
//!                     generating ───────────────────────────────────────▶ poll ◀────────────┘
//!                                                                          │ ([`provider`])
//!                                                                          ▼
//!                                             download and store ([`images`], [`storage`])
//!                                                                          │
//!                     done ────────────────▶ tell ([`job::event`], [`queue`]) ◀─ seal the outcome
//! ```
//!
//! There is no other way: a retried, a redelivered and a resumed job all begin with the record and take
//! it from there. A message that was never delivered before is taken for a new job's, and whoever was there
//! before is found where the ledger or the receipts are asked. Where a receipt seals the outcome, the record
//! ends behind the event; where there are no receipts, it freezes the outcome first.
//!
//! # Where things are
//!
//! | module | what it holds |
//! |---|---|
//! | [`job`] | the nouns, the contract in and out, the record, the routes, what answers say, every decision; pure |
//! | [`worker`] | the shell: sessions, lives, the breaker, the line before the POSTs |
//! | [`queue`] | RabbitMQ: topology, the consumer, the pool of confirm channels |
//! | [`ledger`] | Redis: a Lua script for each move of the record, hints, and how long tasks take |
//! | [`receipts`] | the store's memory: the gate, what Redis is rebuilt from, a person's decisions; and its sweep |
//! | [`provider`] | CometAPI: what its replies mean (pure), and the HTTP client |
//! | [`callback`] | the URLs that the provider calls back at, and their listener |
//! | [`limits`] | requests a second and at a time, of one worker |
//! | [`images`], [`storage`] | downloads behind a guard; where images go |
//! | [`config`], [`telemetry`], [`metrics`], [`admin`], [`heartbeat`] | the knobs, the log, the numbers, health; `bounded_listener` bounds the connections of our ports |
//! | [`cli`] | one file a command |
//!
//! # What holds everywhere, stated as absences
//!
//! - No delivery is acked before its event, or its dead letter, is confirmed.
//! - No POST is sent by a life that has not just passed the gate of that attempt; no POST follows one
//!   whose outcome is open, but on the word of a look-up that the user trusts, or of a person.
//! - No generation of a job follows another but on the provider's word that its task failed, and as many as
//!   the job's first intent allows.
//! - No lease and no owner: two workers may do everything twice but the POST.
//! - No decision rests on two machines' clocks agreeing: ages are by Redis's clock, waits by one's own.
//! - No fault of the account, the provider or our own services is a job's outcome.
//! - No POST leaves without slots of the account, where `generation.max_running` is set
//!   ([`ledger::slots`]); who waits for them stands in [`worker::slots`].
//! - No wait holds anything that can't be handed back within moments.

pub mod admin;
mod bounded_listener;
pub mod callback;
pub mod cli;
pub mod clock;
pub mod config;
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
pub mod worker;
