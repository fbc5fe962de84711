//! Stand-ins for what a life talks to. The ledger's passes the suite that Redis passes.

pub mod ledger;
