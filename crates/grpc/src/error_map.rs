//! The one table from the product's error codes to gRPC's, and from errors to what travels.

use millrace_broker::ApiError;
use millrace_proto::v1;
use millrace_types::ErrorCode;
use tonic::{Code, Status};

/// The gRPC code of a call that failed as a whole.
///
/// It follows gRPC's own advice for retries: `UNAVAILABLE` where the same call may be sent again, `FAILED_PRECONDITION`
/// where something else has to happen first, `ABORTED` where the client has to start over at a higher level.
/// What a client must not guess from it, whether the request had an effect, is in the details.
#[must_use]
pub fn grpc_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::NotLeader
        | ErrorCode::StorageFailed
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::ShuttingDown
        | ErrorCode::CoordinatorLoading
        | ErrorCode::NotCoordinator
        | ErrorCode::OffsetNotAvailable
        | ErrorCode::QuorumUnavailable
        | ErrorCode::UnknownLeaderEpoch => Code::Unavailable,
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownMember | ErrorCode::GroupNotFound => {
            Code::NotFound
        }
        ErrorCode::TopicAlreadyExists | ErrorCode::DuplicateSequence => Code::AlreadyExists,
        ErrorCode::InvalidTopicName
        | ErrorCode::InvalidPartitionCount
        | ErrorCode::InvalidReplicationFactor
        | ErrorCode::InvalidConfig
        | ErrorCode::InvalidRequest
        | ErrorCode::CorruptBatch
        | ErrorCode::BatchTooLarge
        | ErrorCode::InvalidRecord
        | ErrorCode::UnsupportedCompression
        | ErrorCode::GroupIdInvalid
        | ErrorCode::InvalidPattern
        | ErrorCode::OffsetMetadataTooLarge => Code::InvalidArgument,
        ErrorCode::RequestTooLarge | ErrorCode::StorageFull | ErrorCode::Throttled | ErrorCode::GroupFull => {
            Code::ResourceExhausted
        }
        ErrorCode::Unsupported => Code::Unimplemented,
        ErrorCode::OffsetOutOfRange => Code::OutOfRange,
        ErrorCode::LogTruncated | ErrorCode::Corrupt => Code::DataLoss,
        ErrorCode::OutOfOrderSequence
        | ErrorCode::UnknownProducerId
        | ErrorCode::GroupNotEmpty
        | ErrorCode::GroupKindMismatch => Code::FailedPrecondition,
        ErrorCode::ProducerFenced
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::FencedMemberEpoch
        | ErrorCode::StaleMemberEpoch
        | ErrorCode::StaleGeneration
        | ErrorCode::FencedInstance
        | ErrorCode::InstanceInUse
        | ErrorCode::RebalanceInProgress => Code::Aborted,
        ErrorCode::NotAuthorized => Code::PermissionDenied,
        ErrorCode::TimedOut => Code::DeadlineExceeded,
        ErrorCode::OutcomeUnknown => Code::Unknown,
        ErrorCode::Internal => Code::Internal,
        // A code appended to the list and not to this table; a test refuses that.
        unlisted => {
            tracing::error!(code = %unlisted, "an error code without a gRPC code");
            Code::Unknown
        }
    }
}

/// An error inside an answer, for one partition of the request.
pub(crate) fn error_in_answer(error: ApiError) -> v1::Error {
    let wire = v1::Error::new(error.code, error.message);
    let wire = match error.corrupt {
        Some(offsets) => wire.with_damage(offsets),
        None => wire,
    };
    match error.leader {
        Some(leader) => wire.with_leader(leader),
        None => wire,
    }
}

/// The status of a call that failed as a whole.
pub(crate) fn status_of(error: ApiError) -> Status {
    let code = grpc_code(error.code);
    error_in_answer(error).into_status(code)
}

/// The status of a request that the door itself refuses.
pub(crate) fn refuse(code: ErrorCode, message: impl Into<String>) -> Status {
    v1::Error::new(code, message).into_status(grpc_code(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_table() {
        for code in ErrorCode::ALL {
            let unknown = grpc_code(*code) == Code::Unknown;
            assert_eq!(unknown, *code == ErrorCode::OutcomeUnknown, "{code}");
        }
    }

    #[test]
    fn a_whole_call_that_failed_names_the_leader() {
        let error = ApiError {
            leader: Some("h:1".to_owned()),
            ..ApiError::new(ErrorCode::NotLeader, "node 2 leads")
        };
        let status = status_of(error);
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "node 2 leads"));
        assert_eq!(millrace_proto::error_of(&status).unwrap().leader, "h:1");
    }
}
