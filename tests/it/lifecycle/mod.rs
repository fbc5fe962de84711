//! The life of a job on doubles: each theme a module, each test a sentence.

mod account;
mod callbacks;
mod cancelling;
mod clocks;
mod copies;
mod crash;
mod crowd;
mod flushed;
mod late;
mod messages;
mod panics;
mod polling;
mod quarantine;
mod receipts;
mod resolving;
mod slots;
mod stopping;
mod storing;
mod submitting;
mod telling;
mod traces;
mod trouble;
mod unknown;
mod whole;
mod without_receipts;
mod without_store;
