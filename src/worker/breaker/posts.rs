//! Decides from the answers to the last POSTs whether another one may be sent. Pure.
//!
//! A POST without an answer may cost its job its outcome. So after the first one, no POST starts while enough others
//! are undecided to tell bad luck from an outage. After an outage, the POSTs come back step by step: each accepted
//! POST allows one more to be under way.

/// The weight that a POST without an answer adds, and that an accepted POST removes. The scale is balanced if two of
/// three POSTs are accepted.
const UNANSWERED: u32 = 2;
const ACCEPTED: u32 = 1;
/// From this weight on it is an outage and not bad luck: three POSTs in a row without an answer.
const OUTAGE: u32 = 3 * UNANSWERED;
/// From this weight on the outage is back: two of three POSTs without an answer.
const OUTAGE_AGAIN: u32 = 2 * UNANSWERED - ACCEPTED;
/// The number of POSTs that must be accepted before an outage is forgotten.
const PROBATION: u32 = 10;

/// The POSTs of one worker.
#[derive(Debug, Default, Clone)]
pub(super) struct Posts {
    started: u64,
    under_way: u32,
    /// The accepted POST that started last.
    accepted: u64,
    weight: u32,
    /// How many POSTs were accepted since the outage, while the outage is remembered.
    probation: Option<u32>,
}

impl Posts {
    pub(super) fn may_start(&self) -> bool {
        let undecided = if self.weight == 0 {
            u32::MAX
        } else {
            self.outage().saturating_sub(self.weight).div_ceil(UNANSWERED).max(1)
        };
        let returning = self.probation.map_or(u32::MAX, |accepted| accepted.saturating_add(1));
        self.under_way < undecided.min(returning)
    }

    /// Starts a POST and returns its number.
    pub(super) fn start(&mut self) -> u64 {
        self.under_way += 1;
        self.started += 1;
        self.started
    }

    pub(super) fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Counts an accepted POST. Returns whether the outage is forgotten now.
    pub(super) fn accepted(&mut self, number: u64) -> bool {
        self.accepted = self.accepted.max(number);
        self.weight = self.weight.saturating_sub(ACCEPTED);
        let Some(accepted) = &mut self.probation else { return false };
        *accepted += 1;
        let passed = *accepted >= PROBATION;
        if passed {
            self.probation = None;
        }
        passed
    }

    /// Counts a POST without an answer. Returns whether this is an outage. A POST that waits long for its answer,
    /// while later POSTs were accepted, is bad luck.
    pub(super) fn unanswered(&mut self, number: u64) -> bool {
        if number > self.accepted {
            self.weight = self.weight.saturating_add(UNANSWERED);
        }
        self.is_outage()
    }

    pub(super) fn is_outage(&self) -> bool {
        self.weight >= self.outage()
    }

    /// The task of a POST without an answer was found, so the POST was accepted.
    pub(super) fn found(&mut self, number: u64) -> bool {
        self.weight = self.weight.saturating_sub(UNANSWERED);
        self.accepted(number)
    }

    /// The POST that was let through as a probe was accepted.
    pub(super) fn recovered(&mut self) {
        self.weight = 0;
        self.probation = Some(1);
    }

    fn outage(&self) -> u32 {
        if self.probation.is_some() { OUTAGE_AGAIN } else { OUTAGE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(posts: &mut Posts) -> Vec<u64> {
        let mut started = Vec::new();
        while started.len() < 100 && posts.may_start() {
            started.push(posts.start());
        }
        started
    }

    fn unanswered(posts: &mut Posts, number: u64) -> bool {
        posts.end();
        posts.unanswered(number)
    }

    fn accepted(posts: &mut Posts, number: u64) -> bool {
        posts.end();
        posts.accepted(number)
    }

    #[test]
    fn after_the_first_without_an_answer_so_many_are_tried_as_decide_it() {
        let mut posts = Posts::default();
        let first = starts(&mut posts);
        assert_eq!(first.len(), 100, "no limit of its own");
        for _ in 0..97 {
            posts.end();
        }
        assert!(!unanswered(&mut posts, first[97]));
        assert_eq!(starts(&mut posts), [0; 0], "two are undecided");
        assert!(!unanswered(&mut posts, first[98]));
        assert!(unanswered(&mut posts, first[99]), "the third");
    }

    #[test]
    fn one_in_four_without_an_answer_is_bad_luck_and_one_in_two_an_outage() {
        for (of, outage) in [(2, true), (4, false)] {
            let mut posts = Posts::default();
            let found = (0..200).any(|turn| {
                assert!(posts.may_start());
                let number = posts.start();
                if turn % of == 0 {
                    unanswered(&mut posts, number)
                } else {
                    accepted(&mut posts, number);
                    false
                }
            });
            assert_eq!(found, outage, "each {of}th");
        }
    }

    #[test]
    fn those_that_hang_while_others_are_accepted_are_bad_luck() {
        let mut posts = Posts::default();
        let hanging = [posts.start(), posts.start(), posts.start(), posts.start()];
        let number = posts.start();
        accepted(&mut posts, number);
        for number in hanging {
            assert!(!unanswered(&mut posts, number));
            assert!(posts.may_start());
        }
    }

    #[test]
    fn one_whose_task_is_found_was_accepted() {
        let mut posts = Posts::default();
        for _ in 0..50 {
            let number = posts.start();
            assert!(!unanswered(&mut posts, number));
            posts.found(number);
            assert_eq!(posts.weight, 0);
        }
    }

    #[test]
    fn after_an_outage_each_accepted_one_lets_one_more_be_under_way() {
        let mut posts = Posts::default();
        posts.recovered();
        let first = starts(&mut posts);
        assert_eq!(first.len(), 2);
        assert!(!accepted(&mut posts, first[0]));
        let second = starts(&mut posts);
        assert_eq!(second.len(), 2, "three are under way");
        let mut again = posts.clone();
        assert!(!unanswered(&mut again, second[0]));
        assert!(unanswered(&mut again, second[1]), "it has come back");
        for _ in 0..7 {
            assert!(!accepted(&mut posts, first[1]));
        }
        assert!(accepted(&mut posts, first[1]), "the tenth");
        assert_eq!(starts(&mut posts).len(), 100);
    }
}
