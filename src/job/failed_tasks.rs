//! The failed tasks of a job, if `generation.max_attempts` allows another generation after them.

use std::fmt::Write as _;

use super::{Charged, Outcome, TaskId};

/// The tasks of one job that failed, as the provider says, before the task that counts. Each was a generation of its
/// own with its own external id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FailedTasks {
    tasks: Vec<TaskId>,
    /// The charge for all of them together.
    charged: Charged,
}

impl FailedTasks {
    pub const NONE: Self = Self { tasks: Vec::new(), charged: Charged::No };

    /// The value for a job without failed tasks, like most jobs.
    #[must_use]
    pub fn none() -> &'static Self {
        static NONE: FailedTasks = FailedTasks::NONE;
        &NONE
    }

    /// In the order of the generations.
    #[must_use]
    pub fn tasks(&self) -> &[TaskId] {
        &self.tasks
    }

    #[must_use]
    pub fn charged(&self) -> Charged {
        self.charged
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    #[must_use]
    pub fn contains(&self, task: &TaskId) -> bool {
        self.tasks.contains(task)
    }

    /// These tasks and one more.
    #[must_use]
    pub fn and(mut self, task: TaskId, charged: Charged) -> Self {
        self.tasks.push(task);
        self.charged = self.charged.and(charged);
        self
    }

    /// The number of the job's generation after these: 1 if none has failed.
    #[must_use]
    pub fn generation(&self) -> u32 {
        u32::try_from(self.tasks.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Adds these tasks to an outcome, since what it says of money must be true of all the job's tasks.
    #[must_use]
    pub fn counted_in(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Succeeded(success) => Outcome::Succeeded(success),
            Outcome::Failed(mut failure) => {
                failure.charged = failure.charged.and(self.charged);
                if !self.is_empty() {
                    let _ = write!(failure.message, " (generation {} of this job)", self.generation());
                }
                Outcome::Failed(failure)
            }
            Outcome::Cancelled(mut cancellation) => {
                cancellation.charged = cancellation.charged.and(self.charged);
                Outcome::Cancelled(cancellation)
            }
        }
    }

    /// Words with a space between them, which no task id contains.
    #[must_use]
    pub fn to_words(&self) -> String {
        let words: Vec<_> = self.tasks.iter().map(TaskId::as_str).collect();
        words.join(" ")
    }

    /// Reads what [`Self::to_words`] has written; `None` for anything else.
    #[must_use]
    pub fn from_words(words: &str, charged: Charged) -> Option<Self> {
        let tasks: Option<Vec<_>> = words.split_ascii_whitespace().map(TaskId::new).collect();
        Some(Self { tasks: tasks?, charged })
    }
}

impl Default for FailedTasks {
    fn default() -> Self {
        Self::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(text: &str) -> TaskId {
        TaskId::new(text).unwrap()
    }

    #[test]
    fn what_is_charged_is_charged_over_all_of_them() {
        use Charged::{No, Unknown, Yes};
        for (first, second, both) in [
            (No, No, No),
            (No, Unknown, Unknown),
            (Unknown, No, Unknown),
            (Unknown, Unknown, Unknown),
            (Yes, No, Yes),
            (No, Yes, Yes),
            (Yes, Unknown, Yes),
            (Unknown, Yes, Yes),
            (Yes, Yes, Yes),
        ] {
            let failed = FailedTasks::NONE.and(task("a"), first).and(task("b"), second);
            assert_eq!(failed.charged(), both, "{first:?} {second:?}");
        }
    }

    #[test]
    fn they_come_back_from_their_words() {
        let failed = FailedTasks::NONE.and(task("1"), Charged::No).and(task("b-2"), Charged::Yes);
        assert_eq!(FailedTasks::from_words(&failed.to_words(), Charged::Yes), Some(failed));
        assert_eq!(FailedTasks::from_words("", Charged::No), Some(FailedTasks::NONE));
        assert_eq!(FailedTasks::from_words(&"9".repeat(300), Charged::No), None);
    }
}
