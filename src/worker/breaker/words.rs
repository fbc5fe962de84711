//! What a fault is and what to do about it, in words for people. The log, `/readyz`, the page and `status` show both
//! in these words.

use crate::job::image::FetchError;
use crate::ledger::LedgerError;
use crate::storage::StoreError;

/// The words of one fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultWords {
    /// What is wrong.
    pub detail: String,
    /// What a person can do about this very fault, in the imperative. `None` if the advice of its cause is all.
    pub remedy: Option<String>,
}

impl FaultWords {
    /// The remedy, and what the cause has to say beside it.
    pub(super) fn remedy(&self, advice: &str) -> String {
        match &self.remedy {
            Some(remedy) => format!("{remedy}; {advice}"),
            None => advice.to_owned(),
        }
    }
}

impl From<String> for FaultWords {
    fn from(detail: String) -> Self {
        Self { detail, remedy: None }
    }
}

impl From<&str> for FaultWords {
    fn from(detail: &str) -> Self {
        detail.to_owned().into()
    }
}

impl From<&String> for FaultWords {
    fn from(detail: &String) -> Self {
        detail.clone().into()
    }
}

impl From<&StoreError> for FaultWords {
    fn from(error: &StoreError) -> Self {
        Self { detail: error.detail().to_owned(), remedy: error.remedy().map(str::to_owned) }
    }
}

impl From<&FetchError> for FaultWords {
    fn from(error: &FetchError) -> Self {
        Self {
            detail: format!("no download works: {}", error.message),
            remedy: Some(error.trouble.advice().to_owned()),
        }
    }
}

impl From<&LedgerError> for FaultWords {
    fn from(error: &LedgerError) -> Self {
        match error {
            // The cause names Redis already.
            LedgerError::Unavailable(detail) => detail.into(),
            LedgerError::Unreadable(_) => error.to_string().into(),
        }
    }
}
