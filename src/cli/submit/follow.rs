//! Tracks which jobs are still awaited, and the outcomes of the others.

use std::collections::HashSet;

use crate::job::event::{EventKind, EventView};

/// How many running jobs are named.
const NAMED_MAX: usize = 50;

/// The jobs of one submit, until each has its first terminal event.
#[derive(Debug)]
pub(super) struct Follow {
    /// In the order of the input, for the output.
    ids: Vec<String>,
    running: HashSet<String>,
    succeeded: usize,
    /// Includes cancelled jobs.
    failed: usize,
}

impl Follow {
    pub(super) fn new(ids: impl IntoIterator<Item = String>) -> Self {
        let ids: Vec<_> = ids.into_iter().collect();
        Self { running: ids.iter().cloned().collect(), ids, succeeded: 0, failed: 0 }
    }

    /// Whether the event is the end of one of the jobs. Copies, corrections and events that aren't terminal are not.
    pub(super) fn ends(&mut self, view: &EventView) -> bool {
        let Some(kind) = view.kind().filter(|kind| kind.is_terminal()) else { return false };
        if !self.running.remove(&view.job_id) {
            return false;
        }
        match kind {
            EventKind::Succeeded => self.succeeded += 1,
            EventKind::Submitted | EventKind::Failed | EventKind::Cancelled => self.failed += 1,
        }
        true
    }

    pub(super) fn is_over(&self) -> bool {
        self.running.is_empty()
    }

    pub(super) fn over(&self) -> usize {
        self.succeeded + self.failed
    }

    pub(super) fn failed(&self) -> usize {
        self.failed
    }

    /// `2 succeeded, 1 failed`
    pub(super) fn summary(&self) -> String {
        format!("{} succeeded, {} failed", self.succeeded, self.failed)
    }

    /// `still running: order-3, order-4 and 8 more`
    pub(super) fn still_running(&self) -> String {
        let running = self.ids.iter().filter(|id| self.running.contains(*id));
        let named: Vec<_> = running.take(NAMED_MAX).map(String::as_str).collect();
        match self.running.len().saturating_sub(named.len()) {
            0 => format!("still running: {}", named.join(", ")),
            more => format!("still running: {} and {more} more", named.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(job: &str, end: &str) -> EventView {
        let text =
            format!(r#"{{"id": "{job}/{end}", "type": "comet.job.{end}", "data": {{"job_id": "{job}"}}}}"#);
        EventView::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_job_is_over_at_its_first_terminal_event() {
        let mut follow = Follow::new(["a", "b", "c"].map(str::to_owned));
        assert!(!follow.ends(&event("a", "submitted")));
        assert!(follow.ends(&event("b", "failed")));
        assert!(!follow.ends(&event("b", "failed")), "a copy");
        assert!(!follow.ends(&event("b", "succeeded")), "a correction");
        assert!(!follow.ends(&event("x", "succeeded")), "another job's");
        assert_eq!(follow.still_running(), "still running: a, c");
        assert!(follow.ends(&event("a", "succeeded")) && !follow.is_over());
        assert!(follow.ends(&event("c", "cancelled")) && follow.is_over());
        assert_eq!((follow.summary().as_str(), follow.over()), ("1 succeeded, 2 failed", 3));
    }

    #[test]
    fn of_many_jobs_the_first_are_named() {
        let follow = Follow::new((0..52).map(|n| format!("j{n}")));
        let text = follow.still_running();
        assert!(text.starts_with("still running: j0, j1, ") && text.ends_with(", j49 and 2 more"), "{text}");
    }
}
