//! How long tasks take, as far as polls have shown it: a histogram that forgets.

use std::time::Duration;

/// The end of a task, as its polls have shown it: after the age `after`, and by the age `until`. Ages count from the
/// acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub after: Duration,
    pub until: Duration,
}

/// Weights by duration. The bins grow with the duration, by a sixteenth of e each, from a quarter of a second to 30
/// hours; a longer duration counts as the longest one. Redis stores the same bins and weights
/// (`ledger/durations.lua`), so another division needs another version there.
#[derive(Debug, Clone, PartialEq)]
pub struct Durations {
    weights: Box<[f64]>,
}

/// The first bin reaches from 0 to a little more than this.
const FIRST_S: f64 = 0.25;
const BINS_PER_E: f64 = 16.0;
const BINS: usize = 208;
/// How many jobs are remembered. After as many new jobs, older knowledge has a weight of 1/e; after three times as
/// many, when the provider has changed, a twentieth of it is left.
pub const MEMORY_JOBS: f64 = 100.0;
/// If an end was seen late, it may have happened at any time since the poll before. This part of it is placed where
/// ends are known to happen, and the rest evenly. If all of it were placed by knowledge, wrong knowledge would never
/// be corrected where there are no polls; if nothing were, rare polls would blur what frequent ones have shown.
const BELIEVED: f64 = 0.9;
/// With fewer known jobs than this between two polls, nothing is known there.
const KNOWN_MIN: f64 = 0.5;

impl Default for Durations {
    fn default() -> Self {
        Self { weights: vec![0.0; BINS].into() }
    }
}

impl Durations {
    /// Reads the bins with their numbers; it ignores numbers that don't exist.
    pub fn from_bins(bins: impl IntoIterator<Item = (u16, f64)>) -> Self {
        let mut durations = Self::default();
        for (bin, weight) in bins {
            if let Some(known) = durations.weights.get_mut(usize::from(bin))
                && weight.is_finite()
                && weight > 0.0
            {
                *known += weight;
            }
        }
        durations
    }

    /// The bins that aren't empty, with their numbers.
    pub fn bins(&self) -> impl Iterator<Item = (u16, f64)> {
        (0..).zip(self.weights.iter().copied()).filter(|(_, weight)| *weight > 0.0)
    }

    /// The number of jobs that this stands for.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.weights.iter().sum()
    }

    /// The part of the jobs that took longer than the first bin, which is the finest that is distinguished.
    pub(super) fn beyond_first(&self) -> f64 {
        let first = self.weights.first().copied().unwrap_or_default();
        1.0 - first / self.weight()
    }

    /// Adds one job. `known` is the earlier knowledge, which says where its end is likely.
    pub fn add(&mut self, ended: Ended, known: &Self) {
        let (after, until) = (ended.after.as_secs_f64(), ended.until.as_secs_f64());
        let (first, last) = (bin_of(after.min(until)), bin_of(until));
        // The part of each bin between the two polls: in seconds, and in jobs that are known to end there.
        let parts = |bin: usize| {
            let (from, to) = (edge_s(bin), edge_s(bin + 1));
            let seconds = (to.min(until) - from.max(after)).max(0.0);
            (seconds, known.weights.get(bin).map_or(0.0, |weight| weight * seconds / (to - from)))
        };
        let (seconds, jobs) =
            (first..=last).map(parts).fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        let believed = if jobs >= KNOWN_MIN { BELIEVED } else { 0.0 };
        if seconds <= 0.0 {
            return self.put(last, 1.0);
        }
        for bin in first..=last {
            let part = parts(bin);
            let known = if believed > 0.0 { believed * part.1 / jobs } else { 0.0 };
            self.put(bin, known + (1.0 - believed) * part.0 / seconds);
        }
    }

    /// The part of the older knowledge that is left after `self`, and the factor for `self`, so that both together
    /// never stand for more than [`MEMORY_JOBS`].
    #[must_use]
    pub fn fading(&self) -> Fading {
        let jobs = self.weight();
        let kept = (-jobs / MEMORY_JOBS).exp();
        Fading { kept, scale: if jobs > 0.0 { MEMORY_JOBS * (1.0 - kept) / jobs } else { 0.0 } }
    }

    /// Adds the news to the older knowledge, which fades.
    pub fn fold(&mut self, news: &Self) {
        let Fading { kept, scale } = news.fading();
        for (weight, new) in self.weights.iter_mut().zip(&news.weights) {
            *weight = *weight * kept + new * scale;
        }
    }

    /// Each bin shares some of its weight with its neighbours, since a few hundred jobs give only a rough picture.
    pub(super) fn smoothed(&self) -> Vec<Bin> {
        let at = |bin: Option<usize>| bin.and_then(|bin| self.weights.get(bin)).copied();
        let smooth = |(bin, own): (usize, &f64)| {
            let (below, above) = (at(bin.checked_sub(1)), at(Some(bin + 1)));
            let weight = 0.5 * own + 0.25 * (below.unwrap_or(*own) + above.unwrap_or(*own));
            Bin { from_s: edge_s(bin), to_s: edge_s(bin + 1), weight }
        };
        self.weights.iter().enumerate().map(smooth).collect()
    }

    fn put(&mut self, bin: usize, weight: f64) {
        if let Some(known) = self.weights.get_mut(bin) {
            *known += weight;
        }
    }
}

/// How news and earlier knowledge are weighed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fading {
    /// The factor for each older weight.
    pub kept: f64,
    /// The factor for each new weight.
    pub scale: f64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Bin {
    pub(super) from_s: f64,
    pub(super) to_s: f64,
    pub(super) weight: f64,
}

#[expect(clippy::cast_precision_loss, reason = "a number of a bin is small")]
fn edge_s(bin: usize) -> f64 {
    if bin == 0 { 0.0 } else { FIRST_S * (bin as f64 / BINS_PER_E).exp() }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float becomes the nearest number that there is, and is bounded"
)]
fn bin_of(seconds: f64) -> usize {
    (((seconds / FIRST_S).ln() * BINS_PER_E).floor() as usize).min(BINS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(after_s: f64, until_s: f64) -> Ended {
        Ended { after: Duration::from_secs_f64(after_s), until: Duration::from_secs_f64(until_s) }
    }

    fn share(durations: &Durations, from_s: f64, to_s: f64) -> f64 {
        let bins = durations.bins().filter(|(bin, _)| {
            let middle = f64::midpoint(edge_s((*bin).into()), edge_s(usize::from(*bin) + 1));
            (from_s..to_s).contains(&middle)
        });
        bins.map(|(_, weight)| weight).sum::<f64>() / durations.weight()
    }

    #[test]
    fn bins_cover_every_duration_without_a_gap() {
        for bin in 0..BINS {
            let middle = f64::midpoint(edge_s(bin), edge_s(bin + 1));
            assert_eq!(bin_of(middle), bin);
        }
        for (seconds, bin) in [(0.0, 0), (0.001, 0), (1e9, BINS - 1), (f64::INFINITY, BINS - 1)] {
            assert_eq!(bin_of(seconds), bin, "{seconds}");
        }
    }

    #[test]
    fn an_end_counts_once_wherever_it_lay() {
        for (after, until) in
            [(0.0, 0.0), (0.0, 0.1), (0.0, 9.0), (14.0, 14.2), (14.0, 14.0), (9.0, 1e7), (5.0, 3.0)]
        {
            let mut durations = Durations::default();
            durations.add(ended(after, until), &Durations::default());
            assert!((durations.weight() - 1.0).abs() < 1e-9, "{after} {until}: {}", durations.weight());
        }
    }

    #[test]
    fn an_end_that_was_seen_late_is_believed_to_lie_where_ends_are_known_to_lie_and_not_wholly() {
        let mut known = Durations::default();
        for _ in 0..50 {
            known.add(ended(7.0, 7.5), &Durations::default());
        }
        let mut seen = Durations::default();
        seen.add(ended(0.0, 10.0), &known);
        let near = share(&seen, 6.5, 8.0);
        assert!(near > BELIEVED && near < 1.0, "{near}");
        let mut blind = Durations::default();
        blind.add(ended(0.0, 10.0), &Durations::default());
        assert!((share(&blind, 0.0, 5.0) - 0.5).abs() < 0.06, "evenly where nothing is known");
    }

    #[test]
    fn what_is_known_fades_behind_some_hundred_jobs_and_never_weighs_more_than_is_remembered() {
        let batch = |seconds: f64, jobs: usize| {
            let mut batch = Durations::default();
            for _ in 0..jobs {
                batch.add(ended(seconds, seconds), &Durations::default());
            }
            batch
        };
        let mut known = Durations::default();
        for jobs in [1, 5, 100, 10_000, 20] {
            known.fold(&batch(15.0, jobs));
            assert!(known.weight() <= MEMORY_JOBS + 1e-6, "{jobs}: {}", known.weight());
        }
        for _ in 0..30 {
            known.fold(&batch(40.0, 10));
        }
        let old = share(&known, 13.0, 17.0);
        assert!(old < 0.051, "after 300 jobs {old} is left");
        let before = known.clone();
        known.fold(&Durations::default());
        assert_eq!(known, before, "no news change nothing");
    }

    #[test]
    fn what_is_stored_is_read_back_and_what_nobody_wrote_is_not() {
        let mut durations = Durations::default();
        durations.add(ended(3.0, 40.0), &Durations::default());
        assert_eq!(Durations::from_bins(durations.bins()), durations);
        let odd = [(u16::MAX, 1.0), (3, f64::NAN), (4, -1.0), (5, f64::INFINITY)];
        assert_eq!(Durations::from_bins(odd), Durations::default());
    }
}
