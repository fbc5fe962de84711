//! Where a run's chance begins.

/// `COMET_SEED`, or else always the same: a red run is then the change's. `make verify` draws one and prints it.
pub fn seed() -> u64 {
    number("COMET_SEED").unwrap_or(1)
}

/// A number from the environment.
pub fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}
