//! The life of a job on doubles: each theme a module, each test a sentence.

mod account;
mod crash;
mod crowd;
mod messages;
mod polling;
mod stopping;
mod storing;
mod submitting;
mod telling;
mod trouble;
mod whole;
