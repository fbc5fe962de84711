//! How far an unfinished job is, in the words that operators see: metrics, `comet-worker status` and the page.

use serde::{Deserialize, Serialize};

/// What an unfinished job is at. (The record's own stages are in [`record::Stage`](super::record::Stage).)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStage {
    /// It is not submitted yet: it waits for its turn, for slots of the account, or for another attempt.
    Waiting,
    /// Its POST is under way.
    Submitting,
    /// What came of its POST is being found out.
    Recovering,
    /// The provider works on it.
    Generating,
    /// Its images are downloaded and stored.
    Storing,
    /// Its event is published.
    Publishing,
}

impl JobStage {
    /// In the order of a job's life.
    pub const ALL: [Self; 6] = [
        Self::Waiting,
        Self::Submitting,
        Self::Recovering,
        Self::Generating,
        Self::Storing,
        Self::Publishing,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Submitting => "submitting",
            Self::Recovering => "recovering",
            Self::Generating => "generating",
            Self::Storing => "storing",
            Self::Publishing => "publishing",
        }
    }

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Waiting => 0,
            Self::Submitting => 1,
            Self::Recovering => 2,
            Self::Generating => 3,
            Self::Storing => 4,
            Self::Publishing => 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_is_at_its_place_and_written_as_it_is_named() {
        for (index, stage) in JobStage::ALL.into_iter().enumerate() {
            assert_eq!(stage.index(), index);
            assert_eq!(serde_json::to_value(stage).unwrap(), stage.as_str());
        }
    }
}
