//! Repeatable random numbers. Each use has a stream of its own, so what is drawn for one thing doesn't depend on what
//! is drawn for another, or in which order.

use fastrand::Rng;

/// The stream of that name in the run `seed`.
pub fn stream(seed: u64, name: &str) -> Rng {
    Rng::with_seed(name.bytes().fold(mix(seed, 0), |state, byte| mix(state, u64::from(byte))))
}

/// One number from two, spread over all 64 bits (the mixer of SplitMix64). The same two give the same one.
pub fn mix(one: u64, two: u64) -> u64 {
    scramble(one ^ scramble(two))
}

fn scramble(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
