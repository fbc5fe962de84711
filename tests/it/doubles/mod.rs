//! Stand-ins for what a life talks to. The ledger's passes the suite that Redis passes.

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
