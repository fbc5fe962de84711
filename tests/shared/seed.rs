//! The seed of a run.

/// `COMET_SEED`, or otherwise always the same number, so that a failed run is the change's fault. `make verify` draws
/// one and prints it.
pub fn seed() -> u64 {
    number("COMET_SEED").unwrap_or(1)
}

/// A number from the environment.
pub fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}
