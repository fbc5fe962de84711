//! Images that were paid for and can't be fetched: how long they are tried for, and when a job ends without them.
//!
//! The time that counts is the time for which this job was tried in vain. Each life measures it by its own clock and
//! passes it to the next life through the record. No two clocks are compared, a clock that jumps ends no job, and a
//! delivery that is requeued at half of the consumer timeout doesn't start the time again.

use std::time::Duration;

/// Whose fault it is that an image can't be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Blame {
    /// The image's own fault: there is a file, but not an image that we store.
    Job,
    /// The host's fault: it answers, but doesn't give a whole image.
    Host,
    /// The fault of the way to the host, which begins in our own network. The host itself has not answered.
    Network,
}

/// Which downloads of other jobs have worked in this process while this job's downloads failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Others {
    /// No other download has worked.
    None,
    /// Some have worked, but only from other hosts.
    Elsewhere,
    /// Some have worked from the host of this job's image.
    SameHost,
}

/// Why the images are not stored this time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unstored {
    pub blame: Blame,
    /// There is a file that is not an image, as opposed to no file.
    pub is_no_image: bool,
    /// The URL gives nothing any more, so the provider is asked for a fresh one at once.
    pub needs_fresh_url: bool,
    pub others: Others,
    /// Downloads have stopped working for all jobs, so this time doesn't count.
    pub paused: bool,
    /// A message for a person.
    pub message: String,
}

/// How long a job's images have been tried for in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tried {
    /// The time in vain over all lives, times [`WHOLE`].
    parts: Duration,
    /// When this life last updated it; `None` before its first update.
    seen: Option<Duration>,
    /// What the latest round's time counted, in parts of [`WHOLE`].
    weight: u32,
    /// How many rounds of this life were in vain.
    pub(super) rounds: u32,
    /// The time in vain at the first of the latest consecutive rounds that found the image itself at fault, and the
    /// number of these rounds.
    job_to_blame: Option<(Duration, u32)>,
}

/// How long, and over how many fresh URLs, a file must stay not an image before this is believed.
const JOB_PATIENCE: Duration = Duration::from_secs(60);
const ROUNDS_MIN: u32 = 3;
/// A second counts as this many parts where it is certain that our own network works. Where that is only likely, it
/// counts as one part.
const WHOLE: u32 = 24;
/// A longer time between two rounds was spent on something else and doesn't count.
const BETWEEN_ROUNDS_MAX: Duration = Duration::from_secs(600);

impl Tried {
    /// `total` is the time that the earlier lives have recorded.
    pub(super) fn new(total: Duration) -> Self {
        let parts = total.saturating_mul(WHOLE);
        Self { parts, seen: None, weight: WHOLE, rounds: 0, job_to_blame: None }
    }

    /// The time in vain over all lives.
    pub(super) fn total(&self) -> Duration {
        self.parts / WHOLE
    }

    /// Counts the time up to `now` as time in vain. Between two rounds, the one that says less decides how much it
    /// counts: a round that fails when the network is back doesn't make the outage before it the image's fault.
    fn pass(&mut self, weight: u32, now: Duration) {
        let passed = now.saturating_sub(self.seen.unwrap_or(now)).min(BETWEEN_ROUNDS_MAX);
        self.seen = Some(now);
        self.parts = self.parts.saturating_add(passed * weight.min(self.weight));
        self.weight = weight;
        self.rounds += 1;
    }

    /// Counts one more round in vain; returns whether the job ends with it.
    pub(super) fn fail(&mut self, why: &Unstored, patience: Duration, now: Duration) -> bool {
        let weight = if why.paused { 0 } else { weight(why.blame, why.others) };
        self.pass(weight, now);
        let total = self.total();
        self.job_to_blame = match (why.blame, self.job_to_blame) {
            (Blame::Job, Some((since, times))) => Some((since, times + 1)),
            (Blame::Job, None) => Some((total, 1)),
            (Blame::Host | Blame::Network, _) => None,
        };
        let is_over = match self.job_to_blame {
            Some((since, times)) => {
                times >= ROUNDS_MIN && total.saturating_sub(since) >= patience.min(JOB_PATIENCE)
            }
            None => total >= patience,
        };
        weight > 0 && self.rounds >= ROUNDS_MIN && is_over
    }

    /// Counts a round in which the provider took its success back or gave it without images; returns whether this has
    /// gone on for too long.
    pub(super) fn take_back(&mut self, patience: Duration, now: Duration) -> bool {
        self.pass(WHOLE, now);
        self.rounds >= ROUNDS_MIN && self.total() >= patience
    }
}

/// How much the time of such a round counts, in parts of [`WHOLE`].
///
/// That the images are gone can only be known while our own network works. The provider forgets a task at some time,
/// so even a job whose host can't be reached ends eventually.
fn weight(blame: Blame, others: Others) -> u32 {
    match (blame, others) {
        (Blame::Job, Others::None | Others::Elsewhere | Others::SameHost)
        | (Blame::Host, Others::Elsewhere | Others::SameHost)
        | (Blame::Network, Others::SameHost) => WHOLE,
        (Blame::Host, Others::None) | (Blame::Network, Others::Elsewhere) => 1,
        (Blame::Network, Others::None) => 0,
    }
}

/// Combines the results of one job's images: all images, or the fault that decides. A file that is not an image
/// decides before an image that can't be fetched now, since the job can't succeed with it.
///
/// # Errors
///
/// The fault that decides.
pub fn together<T>(images: Vec<Result<T, Unstored>>) -> Result<Vec<T>, Unstored> {
    let mut stored = Vec::with_capacity(images.len());
    let mut decides: Option<Unstored> = None;
    for image in images {
        match (image, &decides) {
            (Ok(image), _) => stored.push(image),
            (Err(fault), Some(known)) if known.blame <= fault.blame => {}
            (Err(fault), _) => decides = Some(fault),
        }
    }
    decides.map_or(Ok(stored), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(3600);
    const HOUR: u64 = 3600;

    fn why(blame: Blame, others: Others) -> Unstored {
        Unstored {
            blame,
            is_no_image: false,
            needs_fresh_url: false,
            others,
            paused: false,
            message: String::new(),
        }
    }

    /// When a job ends that fails like this every ten seconds. The life's own clock starts at an arbitrary value.
    fn ends_after(tried: &mut Tried, why: &Unstored, seconds: u64) -> Option<u64> {
        let begun = Duration::from_secs(77);
        (0..=seconds / 10)
            .map(|round| round * 10)
            .find(|at| tried.fail(why, PATIENCE, begun + Duration::from_secs(*at)))
    }

    #[test]
    fn whose_fault_it_is_and_what_works_meanwhile_say_how_long_an_image_is_tried_for() {
        let year = 365 * 24 * HOUR;
        for (blame, others, ends) in [
            (Blame::Job, Others::None, Some(60)),
            (Blame::Job, Others::Elsewhere, Some(60)),
            (Blame::Job, Others::SameHost, Some(60)),
            (Blame::Host, Others::None, Some(24 * HOUR)),
            (Blame::Host, Others::Elsewhere, Some(HOUR)),
            (Blame::Host, Others::SameHost, Some(HOUR)),
            (Blame::Network, Others::None, None),
            (Blame::Network, Others::Elsewhere, Some(24 * HOUR)),
            (Blame::Network, Others::SameHost, Some(HOUR)),
        ] {
            let mut tried = Tried::new(Duration::ZERO);
            let found = ends_after(&mut tried, &why(blame, others), year);
            assert_eq!(found, ends, "{blame:?} {others:?}");
        }
    }

    #[test]
    fn the_patience_goes_on_from_life_to_life_and_ends() {
        let missing = why(Blame::Host, Others::SameHost);
        let (mut noted, mut lives) = (Duration::ZERO, 0);
        loop {
            let mut tried = Tried::new(noted);
            lives += 1;
            // The job is requeued after a quarter of an hour.
            let ended = ends_after(&mut tried, &missing, 900);
            noted = tried.total();
            if ended.is_some() {
                break;
            }
            assert!(lives < 5, "no life ends it: {noted:?}");
        }
        assert_eq!((lives, noted), (4, PATIENCE));
    }

    #[test]
    fn a_life_that_takes_over_a_job_whose_patience_is_over_looks_for_itself_first() {
        let mut tried = Tried::new(PATIENCE);
        let missing = why(Blame::Host, Others::SameHost);
        assert_eq!(ends_after(&mut tried, &missing, HOUR), Some(20), "at its third look");
    }

    #[test]
    fn while_downloads_work_for_no_job_no_time_passes_and_no_job_ends() {
        for blame in [Blame::Job, Blame::Host, Blame::Network] {
            let mut tried = Tried::new(PATIENCE * 100);
            let paused = Unstored { paused: true, ..why(blame, Others::SameHost) };
            assert_eq!(ends_after(&mut tried, &paused, 100 * HOUR), None, "{blame:?}");
            assert_eq!(tried.total(), PATIENCE * 100);
        }
    }

    /// The simulation found this: the first failure after an outage of an hour ended a job.
    #[test]
    fn the_time_of_an_outage_is_not_the_images_fault_when_others_are_had_again() {
        for (others, ends) in [(Others::None, 3610), (Others::Elsewhere, 3310)] {
            let mut tried = Tried::new(Duration::ZERO);
            assert_eq!(ends_after(&mut tried, &why(Blame::Network, others), 2 * HOUR), None);
            let (missing, healed) =
                (why(Blame::Network, Others::SameHost), Duration::from_secs(77 + 2 * HOUR));
            let ended = (1..=720)
                .map(|round| round * 10)
                .find(|at| tried.fail(&missing, PATIENCE, healed + Duration::from_secs(*at)));
            assert_eq!(ended, Some(ends), "{others:?}");
        }
    }

    #[test]
    fn a_wait_for_something_else_is_no_patience() {
        let mut tried = Tried::new(Duration::ZERO);
        let missing = why(Blame::Host, Others::SameHost);
        for hours in 0..5 {
            assert!(!tried.fail(&missing, PATIENCE, Duration::from_secs(hours * HOUR)), "{hours}");
        }
        assert_eq!(tried.total(), BETWEEN_ROUNDS_MAX * 4);
    }

    #[test]
    fn an_image_that_is_none_is_looked_at_thrice_in_a_row_over_a_minute() {
        let (none, missing) = (why(Blame::Job, Others::SameHost), why(Blame::Host, Others::SameHost));
        let mut tried = Tried::new(Duration::ZERO);
        let at = |seconds| Duration::from_secs(seconds);
        assert!(!tried.fail(&missing, PATIENCE, at(0)));
        assert!(!tried.fail(&none, PATIENCE, at(600)), "once");
        assert!(!tried.fail(&missing, PATIENCE, at(620)), "another fault between");
        assert!(!tried.fail(&none, PATIENCE, at(640)));
        assert!(!tried.fail(&none, PATIENCE, at(660)));
        assert!(!tried.fail(&none, PATIENCE, at(680)), "thrice within less than a minute");
        assert!(tried.fail(&none, PATIENCE, at(700)));
    }

    #[test]
    fn a_short_patience_is_one_for_an_image_that_is_none_too() {
        let mut tried = Tried::new(Duration::ZERO);
        let none = why(Blame::Job, Others::None);
        let second = Duration::from_secs(1);
        let ends = (0..10).find(|round| tried.fail(&none, second * 2, second * *round));
        assert_eq!(ends, Some(2));
    }

    #[test]
    fn of_several_images_the_one_that_is_none_decides() {
        let fault = |blame| Err(why(blame, Others::None));
        let blame = |images: Vec<Result<u32, Unstored>>| together(images).map_err(|fault| fault.blame);
        assert_eq!(blame(vec![Ok(0), Ok(1)]), Ok(vec![0, 1]));
        assert_eq!(blame(vec![fault(Blame::Network), Ok(1), fault(Blame::Job)]), Err(Blame::Job));
        assert_eq!(blame(vec![fault(Blame::Host), fault(Blame::Network)]), Err(Blame::Host));
    }
}
