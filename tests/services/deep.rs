//! What is slow, or what something quicker covers already: `make verify` runs these, `make test` does not. Which quicker
//! test stands for each is said in docs/contributing.md.

mod bench;
mod copies;
mod nodes;
mod scenarios;
mod slots;
mod stopping;
mod stores;
mod world;
