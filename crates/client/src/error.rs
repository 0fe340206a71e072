//! What can go wrong in a call, and what a caller may conclude from it.

use std::time::Duration;

use millrace_proto::v1;
use millrace_types::{ErrorCode, Outcome};
use tonic::Code;

/// An error that a broker answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct Refusal {
    /// The code; `None` if a newer broker sent one that this build does not know.
    pub code: Option<ErrorCode>,
    /// The code's name, such as `NOT_LEADER`.
    pub name: String,
    /// What was wrong, in words.
    pub message: String,
    /// Whether the request can have had an effect.
    pub outcome: Outcome,
    /// Whether the same request may succeed later without a change.
    pub is_retriable: bool,
    /// The gRPC address of the partition's leader, with [`ErrorCode::NotLeader`], where the broker knows it.
    pub leader: Option<String>,
}

impl Refusal {
    /// The error of a part of an answer.
    pub(crate) fn of(error: v1::Error) -> Refusal {
        Refusal {
            code: error.known_code(),
            outcome: error.known_outcome(),
            is_retriable: error.retriable,
            leader: Some(error.leader).filter(|leader| !leader.is_empty()),
            name: error.name,
            message: error.message,
        }
    }

    /// An error of that code, as the client itself concludes it.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal::of(v1::Error::new(code, message))
    }
}

/// Why a call failed: of [`crate::Client`], [`crate::Admin`], or one made on behalf of a producer or reader.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A server's address cannot be read, or an option is not allowed. Nothing was sent.
    #[error("{what}: {reason}")]
    Config {
        /// The address or option.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection could be made. Nothing was sent.
    #[error("cannot reach {server}: {reason}")]
    Unreachable {
        /// The server that was tried last.
        server: String,
        /// What the machine says.
        reason: String,
    },
    /// The connection broke, or something between the client and the broker failed, after the request was sent.
    #[error("lost the answer of {server}: {reason}")]
    Lost {
        /// The server that was asked.
        server: String,
        /// What the connection says.
        reason: String,
    },
    /// No answer came in time; the request may still take effect.
    #[error("no answer of {server} within {} ms", after.as_millis())]
    TimedOut {
        /// The server that was asked.
        server: String,
        /// How long the client waited.
        after: Duration,
    },
    /// The broker answered with an error.
    #[error("{0}")]
    Refused(Refusal),
    /// The broker's answer contradicts the protocol.
    #[error("an answer that makes no sense: {0}")]
    Answer(String),
}

impl ClientError {
    /// The code that the broker answered, if it answered one that this build knows.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Refused(refusal) => refusal.code,
            _ => None,
        }
    }

    /// Whether the request can have had an effect.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            ClientError::Config { .. } | ClientError::Unreachable { .. } => Outcome::Definite,
            ClientError::Refused(refusal) => refusal.outcome,
            ClientError::Lost { .. } | ClientError::TimedOut { .. } | ClientError::Answer(_) => {
                Outcome::Indefinite
            }
        }
    }

    /// Whether the same request may succeed later without a change.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } | ClientError::Lost { .. } | ClientError::TimedOut { .. } => true,
            ClientError::Refused(refusal) => refusal.is_retriable,
            ClientError::Config { .. } | ClientError::Answer(_) => false,
        }
    }

    /// The leader that the broker named, with [`ErrorCode::NotLeader`].
    #[must_use]
    pub fn leader(&self) -> Option<&str> {
        match self {
            ClientError::Refused(refusal) => refusal.leader.as_deref(),
            _ => None,
        }
    }

    /// The error of a call that `server` did not answer well.
    pub(crate) fn of_status(server: &str, status: &tonic::Status) -> ClientError {
        if let Some(error) = millrace_proto::error_of(status) {
            return ClientError::Refused(Refusal::of(error));
        }
        let (server, reason) = (server.to_owned(), reason_of(status));
        if never_sent(status) {
            return ClientError::Unreachable { server, reason };
        }
        match status.code() {
            Code::Unimplemented => {
                ClientError::Refused(Refusal::new(ErrorCode::Unsupported, format!("{server}: {reason}")))
            }
            _ => ClientError::Lost { server, reason },
        }
    }
}

/// Whether the connection could not be made at all.
fn never_sent(status: &tonic::Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The innermost cause, which says more than the layers around it.
fn reason_of(status: &tonic::Status) -> String {
    let mut reason = format!("{:?}: {}", status.code(), status.message());
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        reason = error.to_string();
        cause = error.source();
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brokers_error_keeps_its_code_and_outcome() {
        let status = v1::Error::new(ErrorCode::NotLeader, "go there")
            .with_leader("10.0.0.1:7070")
            .into_status(Code::FailedPrecondition);
        let error = ClientError::of_status("a:1", &status);
        assert_eq!(error.code(), Some(ErrorCode::NotLeader));
        assert_eq!(error.outcome(), Outcome::Definite);
        assert_eq!(error.leader(), Some("10.0.0.1:7070"));
        assert!(error.is_retriable());
    }

    #[test]
    fn a_status_of_nobody_is_indefinite() {
        let error = ClientError::of_status("a:1", &tonic::Status::unavailable("h2 protocol error"));
        assert_eq!(error.outcome(), Outcome::Indefinite);
        assert!(error.is_retriable());
    }

    #[test]
    fn a_code_of_a_newer_broker_keeps_what_it_says_of_itself() {
        let error = v1::Error {
            code: 9_999,
            name: "NEW".to_owned(),
            outcome: v1::Outcome::Definite.into(),
            retriable: true,
            ..v1::Error::default()
        };
        let refusal = Refusal::of(error);
        assert_eq!((refusal.code, refusal.outcome, refusal.is_retriable), (None, Outcome::Definite, true));
    }
}
