//! Tests against a real RabbitMQ, a real Redis and real processes: run them through `make test`.

#[path = "../shared/ledger_suite.rs"]
mod ledger_suite;
mod private;
mod support;

mod account;
mod bad_input;
mod killing;
mod queue;
mod redis_ledger;
mod stopping;
mod storage;
