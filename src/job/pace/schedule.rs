//! When a task is polled, if the durations of similar tasks are known.
//!
//! A poll costs a request, and a late poll costs waiting. With the price of a poll in seconds of waiting, the
//! schedule is the cheapest one for the known durations: it polls when the chance that the task has ended since the
//! last poll, times the waiting that the poll saves, is worth the price (as in the inspection schedules of Barlow and
//! Proschan). The price is the highest one at which ends are seen a second late on average, as late as with a poll
//! every two seconds.

use std::time::Duration;

use super::durations::{Bin, Durations};
use super::{Pace, Seed};

/// How late an end may be seen on average, in seconds. If the longest wait is shorter than two seconds, it is smaller
/// in proportion. The jitter adds a little, which makes a second.
const LAG_MEAN_S: f64 = 0.95;
const LONGEST_WAIT_S: f64 = 2.0;
/// Bounds of the price of a poll, in seconds of waiting, in the same proportion. Ends that can't be predicted would
/// need endless polls to be seen within a second; ends that are predicted to the second need no more of them.
const PRICE_MIN_S: f64 = 0.05;
const PRICE_MAX_S: f64 = 1.0;
/// The number of steps of the search for the price.
const PRICE_STEPS: u32 = 14;
/// Fewer jobs than these prove nothing.
const JOBS_MIN: f64 = 20.0;
/// The shortest and the longest durations, this part of all at each end, are not relied on: no poll is made before
/// the others, and the polls after them become rarer.
const HEARSAY: f64 = 0.005;
/// The moments for a poll: at least this many in each bin, and this many within the longest wait.
const MOMENTS: f64 = 4.0;
const MOMENTS_MAX: usize = 4096;
/// Jobs that are submitted together are polled at different times: up to this part of the time to the next poll
/// later. That also shows ends between the polls of other jobs.
const JITTER: f64 = 0.5;

/// The ages at which a task is polled; the polls after them become rarer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Schedule {
    /// Milliseconds, ascending, never empty.
    ages_ms: Box<[u32]>,
    /// Whether all tasks end within the finest distinguished duration.
    is_instant: bool,
}

impl Schedule {
    /// The best schedule within the bounds of `pace`. `None` if too few ends have been seen or the bounds leave
    /// nothing to learn; then the bounds alone are the schedule.
    ///
    /// `called_back` is the part of the ends that callbacks report, in `0.0..1.0`. The polls are only needed for the
    /// others.
    #[must_use]
    pub fn learn(durations: &Durations, pace: &Pace, called_back: f64) -> Option<Self> {
        if pace.min >= pace.max || durations.weight() < JOBS_MIN {
            return None;
        }
        let plan = Plan::new(&durations.smoothed(), pace, called_back)?;
        let ages_ms: Box<[u32]> =
            plan.at_the_right_price().ages_s.iter().map(|age| milliseconds(*age)).collect();
        (!ages_ms.is_empty()).then_some(Self { ages_ms, is_instant: durations.beyond_first() < HEARSAY })
    }

    /// How long to wait before the next poll, after `polls` of them, at a task of this age. The wait is within the
    /// bounds of `pace`, except for the first poll: that one may be later, and as early as `pace.first` if that is
    /// less than `pace.min`. If all tasks end at once, it is not later than `pace.first`.
    #[must_use]
    pub fn wait(&self, polls: u32, age: Duration, pace: &Pace, seed: Seed) -> Duration {
        let (min, max) =
            if polls == 0 { (pace.first.min(pace.min), Duration::MAX) } else { (pace.min, pace.max) };
        let shift = JITTER * seed.fraction(u32::MAX);
        let age_ms = age.as_secs_f64() * 1000.0;
        // A poll that is due just now was already made: a moment too early, or because of a callback.
        let made_ms = if polls == 0 { age_ms } else { age_ms + pace.min.as_secs_f64() * 500.0 };
        // The shifted ages are ascending too, since each lies between its own age and the next.
        let near = self.ages_ms.partition_point(|own| f64::from(*own) <= made_ms);
        let mut nearest =
            (near.saturating_sub(1)..=near).filter_map(|number| self.age_ms(number, shift, pace));
        let next = nearest.find(|at_ms| *at_ms > made_ms);
        let wait_ms = match (next, self.ages_ms.last()) {
            (Some(next_ms), _) => next_ms - age_ms,
            (None, last) => {
                self.last_gap_ms(pace) + (age_ms - last.copied().map_or(0.0, f64::from)).max(0.0) / 2.0
            }
        };
        let wait = Duration::try_from_secs_f64(wait_ms / 1000.0).unwrap_or(max).clamp(min, max);
        if polls == 0 && self.is_instant { wait.min(pace.first) } else { wait }
    }

    /// The age at the poll of this number, shifted towards the next one.
    fn age_ms(&self, number: usize, shift: f64, pace: &Pace) -> Option<f64> {
        let own = f64::from(*self.ages_ms.get(number)?);
        let gap = self
            .ages_ms
            .get(number + 1)
            .map_or_else(|| self.last_gap_ms(pace), |next| f64::from(*next) - own);
        Some(own + shift * gap)
    }

    fn last_gap_ms(&self, pace: &Pace) -> f64 {
        match self.ages_ms.as_ref() {
            [.., before, last] => f64::from(*last) - f64::from(*before),
            [_] | [] => pace.min.as_secs_f64() * 1000.0,
        }
    }
}

/// The possible moments of polls, and what is known about them.
struct Plan {
    moments: Vec<Moment>,
    earliest_s: f64,
    min_s: f64,
    max_s: f64,
    /// The part of the ends that no callback reports.
    untold: f64,
    /// The factor for the aims above: 1, or less if polls have to be more frequent.
    closeness: f64,
}

#[derive(Clone, Copy)]
struct Moment {
    age_s: f64,
    /// The part of the tasks that have ended by then.
    ended: f64,
    /// The integral of `ended` up to then.
    area: f64,
}

/// A series of polls, and how late ends are seen with them.
struct Looks {
    ages_s: Vec<f64>,
    lag_s: f64,
}

impl Plan {
    fn new(bins: &[Bin], pace: &Pace, called_back: f64) -> Option<Self> {
        let all: f64 = bins.iter().map(|bin| bin.weight).sum();
        let (mut below, mut known) = (0.0, Vec::new());
        let mut rest = all;
        for bin in bins {
            let is_hearsay = rest < HEARSAY * all || (known.is_empty() && below + bin.weight < HEARSAY * all);
            if !is_hearsay {
                known.push(*bin);
            } else if known.is_empty() {
                below += bin.weight;
            }
            rest -= bin.weight;
        }
        let within: f64 = below + known.iter().map(|bin| bin.weight).sum::<f64>();
        let max_s = pace.max.as_secs_f64();
        let mut plan = Self {
            moments: vec![Moment { age_s: 0.0, ended: 0.0, area: 0.0 }],
            earliest_s: pace.first.min(pace.min).as_secs_f64(),
            min_s: pace.min.as_secs_f64(),
            max_s,
            untold: 1.0 - called_back.clamp(0.0, 0.99),
            closeness: (max_s / LONGEST_WAIT_S).min(1.0),
        };
        let mut ended = below;
        if let Some(first) = known.first() {
            plan.push(first.from_s, ended / within);
        }
        for bin in known {
            let seconds = bin.to_s - bin.from_s;
            let parts = MOMENTS.max((seconds * MOMENTS / max_s).ceil());
            let mut part = 1.0;
            while part <= parts {
                if plan.moments.len() >= MOMENTS_MAX {
                    return None;
                }
                let share = part / parts;
                plan.push(bin.from_s + seconds * share, (ended + bin.weight * share) / within);
                part += 1.0;
            }
            ended += bin.weight;
        }
        Some(plan)
    }

    fn push(&mut self, age_s: f64, ended: f64) {
        if let Some(last) = self.moments.last().copied()
            && age_s > last.age_s
        {
            let area = last.area + (age_s - last.age_s) * f64::midpoint(last.ended, ended);
            self.moments.push(Moment { age_s, ended, area });
        }
    }

    fn at_the_right_price(&self) -> Looks {
        let [aim, mut low, mut high] =
            [LAG_MEAN_S, PRICE_MIN_S, PRICE_MAX_S].map(|bound| bound * self.closeness);
        let dearest = self.cheapest(high);
        if dearest.lag_s <= aim {
            return dearest;
        }
        let mut right = self.cheapest(low);
        for _ in 0..PRICE_STEPS {
            let price = (low * high).sqrt();
            let looks = self.cheapest(price);
            if looks.lag_s <= aim {
                (low, right) = (price, looks);
            } else {
                high = price;
            }
        }
        right
    }

    /// The cheapest polls, computed from the last moment, which always has a poll, back to the first.
    fn cheapest(&self, price_s: f64) -> Looks {
        // For each moment, from the last to the first: the cost of the polls after it, and the number of moments to
        // the next poll.
        let mut behind: Vec<(f64, usize)> = vec![(0.0, 0)];
        let count = self.moments.len();
        for (index, from) in self.moments.iter().enumerate().rev().skip(1) {
            let mut best = (f64::INFINITY, 0);
            let min_s = if index == 0 { self.earliest_s } else { self.min_s };
            for (steps, to) in self.moments.iter().skip(index).enumerate().skip(1) {
                let apart_s = to.age_s - from.age_s;
                let is_last = index + steps + 1 == count;
                if apart_s < min_s && !is_last {
                    continue;
                }
                if index > 0 && apart_s > self.max_s && best.0.is_finite() {
                    break;
                }
                let after = behind.get(count - 1 - index - steps).map_or(0.0, |(cost, _)| *cost);
                let cost = price_s * self.chance(from, to) + self.lag_s(from, to) + after;
                if cost < best.0 {
                    best = (cost, steps);
                }
            }
            behind.push(best);
        }
        let mut looks = Looks { ages_s: Vec::new(), lag_s: 0.0 };
        let mut index = 0;
        while let Some(from) = self.moments.get(index)
            && let Some((_, steps)) = behind.get(count - 1 - index)
            && *steps > 0
            && let Some(to) = self.moments.get(index + steps)
        {
            looks.lag_s += self.lag_s(from, to);
            looks.ages_s.push(to.age_s);
            index += steps;
        }
        looks
    }

    /// The chance that a poll at `to` is made after one at `from`: the task still runs, or it has ended without a
    /// callback.
    fn chance(&self, from: &Moment, to: &Moment) -> f64 {
        (1.0 - to.ended) + self.untold * (to.ended - from.ended)
    }

    /// How long ends between the two moments wait to be seen, on average over all tasks.
    fn lag_s(&self, from: &Moment, to: &Moment) -> f64 {
        self.untold * (to.area - from.area - from.ended * (to.age_s - from.age_s))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float becomes the nearest number that there is"
)]
fn milliseconds(seconds: f64) -> u32 {
    (seconds * 1000.0).round() as u32
}
