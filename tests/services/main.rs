//! Tests against a real RabbitMQ, a real Redis and real processes: run them through `make test`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says on stdout what it drew"
)]

#[path = "../shared/around.rs"]
mod around;
#[path = "../shared/chance.rs"]
mod chance;
#[path = "../shared/durations_suite.rs"]
mod durations_suite;
#[path = "../shared/hints_suite.rs"]
mod hints_suite;
#[path = "../shared/ledger_suite.rs"]
mod ledger_suite;
mod private;
#[path = "../shared/seed.rs"]
mod seed;
#[path = "../shared/slots_bench.rs"]
mod slots_bench;
#[path = "../shared/slots_suite.rs"]
mod slots_suite;
#[path = "../shared/spend_suite.rs"]
mod spend_suite;
mod support;

mod account;
mod bad_input;
mod batch;
mod callbacks;
mod cancelling;
mod chaos;
mod clocks;
mod consumer_timeout;
mod dead;
mod deep;
mod editions;
mod fetching;
mod fleet;
mod flushing;
mod health;
mod killing;
mod nodes;
mod outage;
mod poison;
mod polling;
mod proxies;
mod queue;
mod records;
mod redis_durations;
mod redis_groups;
mod redis_ledger;
mod redis_rights;
mod resolving;
mod routes;
mod scenarios;
mod side_by_side;
mod skewed;
mod slots;
mod spending;
mod standstills;
mod stopping;
mod storage;
mod stores;
mod sweeping;
mod tls;
mod traces;
mod videos;
