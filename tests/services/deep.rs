//! Tests that are slow, or that a quicker test covers already: `make verify` runs them, `make test` does not.
//! docs/contributing.md says which quicker test stands for each.

mod batch;
mod bench;
mod copies;
mod dead;
mod nodes;
mod scenarios;
mod slots;
mod stopping;
mod stores;
mod videos;
mod world;
