//! The causes that can stop all jobs, and how each of them is probed.

use crate::ledger;
use crate::metrics::PauseReason;

/// A cause that stops all jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The account has no money. Only a real job can show that it has some again.
    Money,
    /// The provider refuses the key.
    Key,
    /// The base URL or a path is wrong, or the configured model doesn't exist.
    Configuration,
    /// The key has no permission for the request.
    Forbidden,
    /// The provider can't be reached, or reports that it is down.
    Provider,
    /// Several POSTs were not answered. An answered GET says nothing about POSTs.
    Posts,
    Redis,
    Storage,
    /// The store accepts no image. If it accepts a small object, that says nothing about images.
    Images,
    /// The downloads of several jobs fail in the same way, and no download works.
    Downloads,
}

/// How a cause is probed: with the same kind of act that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbedBy {
    /// A harmless request of our own.
    Request,
    /// The POST of one real job.
    Post {
        /// A job is risked only after a harmless request of our own has succeeded.
        after_request: bool,
    },
    /// The act that failed, repeated by one of the jobs that are held with it. If no job is held, a job from the
    /// queue tries.
    HeldJob {
        /// A job from the queue is risked only after a request of our own has succeeded.
        after_request: bool,
    },
}

impl Cause {
    #[must_use]
    pub fn reason(self) -> PauseReason {
        match self {
            Self::Money | Self::Key | Self::Configuration | Self::Forbidden => PauseReason::Account,
            Self::Provider | Self::Posts => PauseReason::Provider,
            Self::Redis => PauseReason::Redis,
            Self::Storage | Self::Images => PauseReason::Storage,
            Self::Downloads => PauseReason::Download,
        }
    }

    /// The word in the log and in readiness.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.reason().as_str()
    }

    #[must_use]
    pub fn probed_by(self) -> ProbedBy {
        match self {
            // A refusal costs nothing.
            Self::Money => ProbedBy::Post { after_request: false },
            // An object of our own, as large as the refused image, costs no generation.
            Self::Images => ProbedBy::HeldJob { after_request: true },
            Self::Downloads => ProbedBy::HeldJob { after_request: false },
            // If its POST gets no answer, the job's outcome may stay unknown.
            Self::Posts => ProbedBy::Post { after_request: true },
            Self::Key
            | Self::Configuration
            | Self::Forbidden
            | Self::Provider
            | Self::Redis
            | Self::Storage => ProbedBy::Request,
        }
    }

    /// Whether this cause is raised by the answers to POSTs. If it is, the pause before the next probe grows until a
    /// POST is accepted, whatever a GET returns meanwhile.
    pub(super) fn is_seen_by_posts(self) -> bool {
        match self {
            Self::Money
            | Self::Key
            | Self::Configuration
            | Self::Forbidden
            | Self::Provider
            | Self::Posts => true,
            Self::Redis | Self::Storage | Self::Images | Self::Downloads => false,
        }
    }

    /// What a person can do about it, or what happens meanwhile where the fault itself says what to do.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Money => "top the account up; one job at a time goes on trying",
            Self::Key => "check api.key",
            Self::Configuration => "check api.base_url, api.submit_path, api.query_path and api.model",
            Self::Forbidden => {
                "check what the key may do: its models, its group, the IP addresses it is good for"
            }
            Self::Provider => {
                "see whether CometAPI is down, and whether this machine reaches api.base_url; jobs wait until it answers again"
            }
            Self::Posts => {
                "see whether CometAPI takes submits, since only its GETs are answered; jobs wait until a submit is accepted \
                 again; one job at a time goes on trying, at growing distances"
            }
            Self::Redis => ledger::REMEDY,
            // These three come behind what the fault itself says to do.
            Self::Storage => "jobs wait until that is over",
            Self::Images => "jobs wait, and one image at a time goes on trying, at growing distances",
            Self::Downloads => {
                "the jobs wait, and one download at a time goes on trying, at growing distances"
            }
        }
    }
}
