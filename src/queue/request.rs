//! Requests to the broker: how long an answer may take, and why the broker refuses, by its code.

use std::time::Duration;

use lapin::ErrorKind;
use tokio::time::timeout;

/// How long the broker may take to answer.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What was asked for did not happen, or its answer is missing.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("{0}")]
    Refused(#[from] lapin::Error),
    #[error("no answer within {ANSWER_LIMIT:?}")]
    Late,
}

/// AMQP's reply codes that the worker tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    AccessRefused,
    NotFound,
    /// It exists with other arguments.
    PreconditionFailed,
}

/// Makes one request, or several that belong together.
pub(super) async fn answered<T>(request: impl Future<Output = lapin::Result<T>>) -> Result<T, RequestError> {
    match timeout(ANSWER_LIMIT, request).await {
        Ok(result) => result.map_err(RequestError::Refused),
        Err(_) => Err(RequestError::Late),
    }
}

/// Why the broker has closed the channel or the connection; `None` if it hasn't, or for another reason.
pub(super) fn reply(error: &lapin::Error) -> Option<Reply> {
    let ErrorKind::ProtocolError(told) = error.kind() else { return None };
    match told.get_id() {
        403 => Some(Reply::AccessRefused),
        404 => Some(Reply::NotFound),
        406 => Some(Reply::PreconditionFailed),
        _ => None,
    }
}

impl RequestError {
    pub(super) fn reply(&self) -> Option<Reply> {
        match self {
            Self::Refused(error) => reply(error),
            Self::Late => None,
        }
    }
}
