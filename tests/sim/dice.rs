//! Chance that repeats itself: a run with the same `--seed` and the same order of requests draws the same durations and faults.
//!
//! SplitMix64 is enough for that, and is twenty lines instead of a crate. Every use has a stream of its own, so switching a
//! fault on doesn't shift the durations of the tasks.

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// One stream of draws.
#[derive(Debug, Clone)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    /// The stream `stream` of the run `seed`.
    pub(crate) fn new(seed: u64, stream: &str) -> Self {
        let state = stream.bytes().fold(seed, |state, byte| mix(state, u64::from(byte)));
        Self { state }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        scramble(self.state)
    }

    /// Evenly spread over 0 (included) to 1 (not included).
    pub(crate) fn unit(&mut self) -> f64 {
        /// 53 bits are what a double holds exactly.
        const SCALE: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.next() >> 11) as f64 * SCALE
    }

    /// True in `probability` of all draws. Certain and impossible ones draw nothing.
    pub(crate) fn says_yes(&mut self, probability: f64) -> bool {
        probability >= 1.0 || (probability > 0.0 && self.unit() < probability)
    }

    /// From the standard normal distribution (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// One number from two, spread over all 64 bits. The same two give the same one.
pub(crate) fn mix(one: u64, two: u64) -> u64 {
    scramble(one.wrapping_add(STEP) ^ scramble(two.wrapping_add(STEP)))
}

fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // The first values of the reference implementation for the state 1234567.
        let mut dice = Dice { state: 1_234_567 };
        assert_eq!(dice.next(), 6_457_827_717_110_365_317);
        assert_eq!(dice.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let draw = |seed, stream| Dice::new(seed, stream).next();
        assert_eq!(draw(1, "faults"), draw(1, "faults"));
        assert_ne!(draw(1, "faults"), draw(1, "durations"));
        assert_ne!(draw(1, "faults"), draw(2, "faults"));
    }

    #[test]
    fn units_are_spread_evenly() {
        let mut dice = Dice::new(7, "test");
        let sum: f64 = (0..10_000).map(|_| dice.unit()).sum();
        assert!((4_900.0..5_100.0).contains(&sum), "{sum}");
    }
}
