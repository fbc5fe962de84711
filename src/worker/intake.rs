//! Decides how many deliveries the consumer may bring, so that `worker.max_in_flight` bounds what the worker holds.
//! Pure.
//!
//! RabbitMQ counts a prefetch for each consumer. After a pause, a new consumer gets a whole new prefetch while the
//! worker still holds deliveries of the consumers before it. So a consumer starts with the room that the older
//! deliveries leave, and starts anew with more room when enough of them have ended.

use super::breaker::Mode;

/// The state at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intake {
    /// `worker.max_in_flight`
    pub max: u16,
    /// All deliveries that this process still works on, from all its consumers so far.
    pub held: usize,
    /// The prefetch that the present consumer was started with; `None` while there is no consumer.
    pub prefetch: Option<u16>,
    /// How many of the held deliveries the present consumer has brought.
    pub own: usize,
}

/// What to do about the consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Keep,
    Stop,
    /// Start a new consumer with this prefetch in place of the present one.
    Start(u16),
}

impl Intake {
    /// Called when the breaker's mode has changed, and at intervals.
    #[must_use]
    pub fn change(self, mode: Mode, mode_has_changed: bool) -> Change {
        let room = self.max.saturating_sub(u16::try_from(self.held).unwrap_or(u16::MAX));
        let wanted = match mode {
            Mode::Closed => 0,
            Mode::OneJob => room.min(1),
            Mode::Open => room,
        };
        match (self.prefetch, mode) {
            (None, _) if wanted > 0 => Change::Start(wanted),
            (None, _) => Change::Keep,
            (Some(_), Mode::Closed) => Change::Stop,
            (Some(_), Mode::OneJob | Mode::Open) if mode_has_changed && wanted == 0 => Change::Stop,
            (Some(_), Mode::OneJob | Mode::Open) if mode_has_changed => Change::Start(wanted),
            (Some(prefetch), Mode::Open) => {
                // Each new start requeues what the broker has sent meanwhile, and turns what is held now into older
                // deliveries. So it must bring a larger prefetch, and a good part of the bound.
                let may_still_bring = usize::from(prefetch).saturating_sub(self.own);
                let gain = usize::from(room).saturating_sub(may_still_bring);
                let worth = if self.held == 0 { 1 } else { usize::from(self.max / 4).max(1) };
                if room > prefetch && gain >= worth { Change::Start(room) } else { Change::Keep }
            }
            (Some(_), Mode::OneJob) => Change::Keep,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(held: usize, prefetch: Option<u16>, own: usize) -> Intake {
        Intake { max: 8, held, prefetch, own }
    }

    #[test]
    fn a_consumer_gets_the_room_that_is_left() {
        for (held, started) in
            [(0, Change::Start(8)), (5, Change::Start(3)), (8, Change::Keep), (20, Change::Keep)]
        {
            assert_eq!(at(held, None, 0).change(Mode::Open, true), started, "{held} held");
        }
        assert_eq!(at(5, None, 0).change(Mode::OneJob, true), Change::Start(1));
        assert_eq!(at(8, None, 0).change(Mode::OneJob, true), Change::Keep);
        assert_eq!(at(5, None, 0).change(Mode::Closed, true), Change::Keep);
    }

    #[test]
    fn a_changed_mode_starts_or_stops_it() {
        assert_eq!(at(5, Some(8), 5).change(Mode::Closed, true), Change::Stop);
        assert_eq!(at(5, Some(8), 5).change(Mode::OneJob, true), Change::Start(1));
        assert_eq!(at(8, Some(8), 8).change(Mode::OneJob, true), Change::Stop);
        assert_eq!(at(1, Some(1), 1).change(Mode::Open, true), Change::Start(7));
    }

    #[test]
    fn it_gets_more_room_once_enough_of_the_older_deliveries_have_ended() {
        // Six older deliveries, and two that the consumer may bring.
        assert_eq!(at(6, Some(2), 0).change(Mode::Open, false), Change::Keep);
        assert_eq!(at(8, Some(2), 2).change(Mode::Open, false), Change::Keep);
        assert_eq!(at(6, Some(2), 2).change(Mode::Open, false), Change::Keep);
        assert_eq!(at(5, Some(2), 2).change(Mode::Open, false), Change::Start(3));
        assert_eq!(at(3, Some(2), 1).change(Mode::Open, false), Change::Start(5));
        // The older deliveries have ended and the consumer is busy: a new start would bring no larger prefetch.
        assert_eq!(at(5, Some(5), 5).change(Mode::Open, false), Change::Keep);
        assert_eq!(at(3, Some(5), 3).change(Mode::Open, false), Change::Keep);
        assert_eq!(at(2, Some(5), 2).change(Mode::Open, false), Change::Start(6));
        assert_eq!(at(1, Some(5), 1).change(Mode::Open, false), Change::Start(7));
        // No delivery is held any more.
        assert_eq!(at(0, Some(7), 0).change(Mode::Open, false), Change::Start(8));
        assert_eq!(at(0, Some(8), 0).change(Mode::Open, false), Change::Keep);
    }

    #[test]
    fn whatever_comes_no_more_than_the_bound_is_ever_held() {
        for max in 1..=9_u16 {
            for held in 0..=12_usize {
                for own in 0..=held {
                    for prefetch in [None, Some(1), Some(max / 2), Some(max)] {
                        if own > usize::from(prefetch.unwrap_or(0)) || held > usize::from(max) {
                            continue;
                        }
                        let intake = Intake { max, held, prefetch, own };
                        for mode in [Mode::Open, Mode::OneJob, Mode::Closed] {
                            for changed in [false, true] {
                                if let Change::Start(started) = intake.change(mode, changed) {
                                    assert!(started > 0, "{intake:?} {mode:?}");
                                    assert!(
                                        held + usize::from(started) <= usize::from(max),
                                        "{intake:?} {mode:?}"
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
