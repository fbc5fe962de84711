//! What can stop all jobs, and by what it is looked at again.

/// What can stop all jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The account has no money: only a real job can tell when it has some again.
    Money,
    /// The key is refused.
    Key,
    /// The base URL or a path leads elsewhere, or the configured model isn't there.
    Configuration,
    /// The key may not do what it is asked to.
    Forbidden,
    /// The provider can't be reached, or says that it is down.
    Provider,
    /// Several POSTs were not answered. A GET that is answered says nothing about that.
    Posts,
    Redis,
    Storage,
    /// The store takes no image. A small object that it takes says nothing about that.
    Images,
    /// The downloads of several jobs fail alike, and none works.
    Downloads,
}

/// What failed is what probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbedBy {
    /// A harmless request of our own.
    Request,
    /// The POST of one real job.
    Post {
        /// A job is risked only once a harmless request of our own has gone through.
        after_request: bool,
    },
    /// The very act that failed, by one of the jobs that are held with it. Where none is, by a job of the queue.
    HeldJob {
        /// That one is risked only once a request of our own has gone through.
        after_request: bool,
    },
}

impl Cause {
    /// The label of the metric.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Money | Self::Key | Self::Configuration | Self::Forbidden => "account",
            Self::Provider | Self::Posts => "provider",
            Self::Redis => "redis",
            Self::Storage | Self::Images => "storage",
            Self::Downloads => "download",
        }
    }

    #[must_use]
    pub fn probed_by(self) -> ProbedBy {
        match self {
            // A refusal costs nothing.
            Self::Money => ProbedBy::Post { after_request: false },
            // An object of our own, as large as what was refused, costs no generation.
            Self::Images => ProbedBy::HeldJob { after_request: true },
            Self::Downloads => ProbedBy::HeldJob { after_request: false },
            // The outcome of a job whose POST isn't answered may stay unknown.
            Self::Posts => ProbedBy::Post { after_request: true },
            Self::Key
            | Self::Configuration
            | Self::Forbidden
            | Self::Provider
            | Self::Redis
            | Self::Storage => ProbedBy::Request,
        }
    }

    /// Whether the answers to POSTs are what raises it. The pause before its next probe then goes on growing until a POST has been
    /// accepted, whatever a GET says meanwhile.
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

    /// What to do about it, for people.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Money => "top the account up; one job at a time goes on trying",
            Self::Key => "check api.key",
            Self::Configuration => "check api.base_url, api.submit_path, api.query_path and api.model",
            Self::Forbidden => {
                "check what the key may do: its models, its group, the IP addresses it is good for"
            }
            Self::Provider => "jobs wait until it answers again",
            Self::Posts => {
                "jobs wait until a submit is accepted again; one job at a time goes on trying, at growing distances"
            }
            Self::Redis => "check redis.url and the server",
            // What to do about it is said by the store's error.
            Self::Storage => "jobs wait until that is over",
            Self::Images => "jobs wait, and one image at a time goes on trying, at growing distances",
            Self::Downloads => {
                "the jobs wait, and one download at a time goes on trying, at growing distances"
            }
        }
    }
}
