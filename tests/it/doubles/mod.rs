//! Doubles of what a life uses. The ledger's double passes the same suite as Redis.

pub mod broker;
pub mod durations;
pub mod effects;
pub mod images;
pub mod ledger;
pub mod observed;
pub mod pace;
pub mod poor_store;
pub mod provider;
pub mod slots;
pub mod store;
