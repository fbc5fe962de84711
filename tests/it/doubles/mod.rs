//! Doubles of what a life uses. The ledger is the product's one in memory, which passes the same suite as Redis.

pub mod broker;
pub mod durations;
pub mod effects;
pub mod images;
pub mod ledger;
pub mod observed;
pub mod poor_store;
pub mod provider;
pub mod store;
