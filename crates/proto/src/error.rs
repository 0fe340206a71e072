//! Errors on the wire: `millrace.v1.Error`, alone in the part of an answer, or inside `google.rpc.Status`.

use bytes::Bytes;
use millrace_types::{ErrorCode, OffsetRange, Outcome};
use prost::Message;

use crate::v1;

/// How `google.protobuf.Any` names [`v1::Error`].
const ERROR_TYPE_URL: &str = "type.googleapis.com/millrace.v1.Error";

/// `google.rpc.Status`, as it travels in the metadata key `grpc-status-details-bin`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RpcStatus {
    /// The gRPC code, the same as `grpc-status`.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// The message, the same as `grpc-message`.
    #[prost(string, tag = "2")]
    pub message: String,
    /// What else there is to say; ours hold one [`v1::Error`].
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<prost_types::Any>,
}

impl v1::Error {
    /// The wire form of an error; its outcome and whether a retry may help follow from the code.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> v1::Error {
        let outcome = match code.outcome() {
            Outcome::Definite => v1::Outcome::Definite,
            Outcome::Indefinite => v1::Outcome::Indefinite,
        };
        v1::Error {
            code: code.number(),
            name: code.name(),
            outcome: outcome.into(),
            retriable: code.is_retriable(),
            message: message.into(),
            leader: String::new(),
            damaged_from: None,
            damaged_until: None,
        }
    }

    /// The same error, naming the gRPC address of the partition's leader.
    #[must_use]
    pub fn with_leader(self, leader: impl Into<String>) -> v1::Error {
        v1::Error { leader: leader.into(), ..self }
    }

    /// The same error, naming the damaged offsets.
    #[must_use]
    pub fn with_damage(self, offsets: OffsetRange) -> v1::Error {
        let (from, until) = (offsets.start.get(), offsets.end.get());
        v1::Error { damaged_from: Some(from), damaged_until: Some(until), ..self }
    }

    /// The code, or `None` if a newer broker sent one that this build does not know; `outcome` and `retriable` then
    /// still say what to do.
    #[must_use]
    pub fn known_code(&self) -> Option<ErrorCode> {
        ErrorCode::from_number(self.code)
    }

    /// Whether the failed request can have had an effect. Whatever does not say `DEFINITE` may have had one.
    #[must_use]
    pub fn known_outcome(&self) -> Outcome {
        if self.outcome() == v1::Outcome::Definite { Outcome::Definite } else { Outcome::Indefinite }
    }

    /// The status of a whole call that failed with this error.
    #[must_use]
    pub fn into_status(self, code: tonic::Code) -> tonic::Status {
        let message = self.message.clone();
        let any = prost_types::Any { type_url: ERROR_TYPE_URL.to_owned(), value: self.encode_to_vec() };
        let details = RpcStatus { code: code.into(), message: message.clone(), details: vec![any] };
        tonic::Status::with_details(code, message, Bytes::from(details.encode_to_vec()))
    }
}

/// The [`v1::Error`] of a failed call, or `None` if the status did not come from a broker (a broken connection, a
/// proxy) or is malformed.
#[must_use]
pub fn error_of(status: &tonic::Status) -> Option<v1::Error> {
    let details = RpcStatus::decode(status.details()).ok()?;
    let any = details.details.iter().find(|any| any.type_url == ERROR_TYPE_URL)?;
    v1::Error::decode(any.value.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> tonic::Status {
        let error = v1::Error::new(ErrorCode::NotLeader, "node 2 leads it").with_leader("10.0.0.2:7070");
        error.into_status(tonic::Code::FailedPrecondition)
    }

    #[test]
    fn an_error_comes_back_out_of_its_status() {
        let error = error_of(&status()).unwrap();
        assert_eq!(error.known_code(), Some(ErrorCode::NotLeader));
        assert_eq!(error.known_outcome(), Outcome::Definite);
        assert_eq!((error.name.as_str(), error.leader.as_str()), ("NOT_LEADER", "10.0.0.2:7070"));
        assert!(error.retriable);
    }

    #[test]
    fn a_status_of_someone_else_has_no_error() {
        assert_eq!(error_of(&tonic::Status::unavailable("connection refused")), None);
    }

    #[test]
    fn details_cut_at_any_byte_are_no_error() {
        let status = status();
        for length in 0..status.details().len() {
            let cut = Bytes::copy_from_slice(&status.details()[..length]);
            let cut = tonic::Status::with_details(tonic::Code::Internal, "", cut);
            assert_eq!(error_of(&cut), None, "at {length}");
        }
    }

    #[test]
    fn an_error_of_a_newer_broker_still_says_what_to_do() {
        let error = v1::Error { code: 9999, outcome: 77, ..v1::Error::default() };
        assert_eq!(error.known_code(), None);
        assert_eq!(error.known_outcome(), Outcome::Indefinite);
    }
}
