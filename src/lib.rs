//! comet-worker

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod images;
pub mod job;
pub mod ledger;
pub mod metrics;
pub mod provider;
pub mod pulse;
pub mod queue;
mod redact;
pub mod shutdown;
pub mod storage;
pub mod telemetry;
pub mod worker;
