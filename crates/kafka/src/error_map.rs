//! The one table from the product's error codes to Kafka's.

use millrace_broker::{ApiError, Divergence};
use millrace_types::ErrorCode;

macro_rules! kafka_errors {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        /// An error of Kafka's protocol: those of its list that this door says.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(i16)]
        pub enum KafkaError {
            $(#[doc = $text] $name = $number,)*
        }

        impl KafkaError {
            /// The name as Kafka's documentation prints it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(KafkaError::$name => $text,)* }
            }
        }
    };
}

kafka_errors! {
    UnknownServerError = -1, "UNKNOWN_SERVER_ERROR";
    OffsetOutOfRange = 1, "OFFSET_OUT_OF_RANGE";
    CorruptMessage = 2, "CORRUPT_MESSAGE";
    UnknownTopicOrPartition = 3, "UNKNOWN_TOPIC_OR_PARTITION";
    LeaderNotAvailable = 5, "LEADER_NOT_AVAILABLE";
    NotLeaderOrFollower = 6, "NOT_LEADER_OR_FOLLOWER";
    RequestTimedOut = 7, "REQUEST_TIMED_OUT";
    MessageTooLarge = 10, "MESSAGE_TOO_LARGE";
    OffsetMetadataTooLarge = 12, "OFFSET_METADATA_TOO_LARGE";
    CoordinatorLoadInProgress = 14, "COORDINATOR_LOAD_IN_PROGRESS";
    CoordinatorNotAvailable = 15, "COORDINATOR_NOT_AVAILABLE";
    NotCoordinator = 16, "NOT_COORDINATOR";
    InvalidTopic = 17, "INVALID_TOPIC_EXCEPTION";
    NotEnoughReplicas = 19, "NOT_ENOUGH_REPLICAS";
    NotEnoughReplicasAfterAppend = 20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND";
    InvalidRequiredAcks = 21, "INVALID_REQUIRED_ACKS";
    IllegalGeneration = 22, "ILLEGAL_GENERATION";
    InconsistentGroupProtocol = 23, "INCONSISTENT_GROUP_PROTOCOL";
    InvalidGroupId = 24, "INVALID_GROUP_ID";
    UnknownMemberId = 25, "UNKNOWN_MEMBER_ID";
    InvalidSessionTimeout = 26, "INVALID_SESSION_TIMEOUT";
    RebalanceInProgress = 27, "REBALANCE_IN_PROGRESS";
    InvalidCommitOffsetSize = 28, "INVALID_COMMIT_OFFSET_SIZE";
    TopicAuthorizationFailed = 29, "TOPIC_AUTHORIZATION_FAILED";
    GroupAuthorizationFailed = 30, "GROUP_AUTHORIZATION_FAILED";
    UnsupportedVersion = 35, "UNSUPPORTED_VERSION";
    TopicAlreadyExists = 36, "TOPIC_ALREADY_EXISTS";
    InvalidPartitions = 37, "INVALID_PARTITIONS";
    InvalidReplicationFactor = 38, "INVALID_REPLICATION_FACTOR";
    InvalidReplicaAssignment = 39, "INVALID_REPLICA_ASSIGNMENT";
    InvalidConfig = 40, "INVALID_CONFIG";
    NotController = 41, "NOT_CONTROLLER";
    InvalidRequest = 42, "INVALID_REQUEST";
    UnsupportedForMessageFormat = 43, "UNSUPPORTED_FOR_MESSAGE_FORMAT";
    PolicyViolation = 44, "POLICY_VIOLATION";
    OutOfOrderSequenceNumber = 45, "OUT_OF_ORDER_SEQUENCE_NUMBER";
    DuplicateSequenceNumber = 46, "DUPLICATE_SEQUENCE_NUMBER";
    InvalidProducerEpoch = 47, "INVALID_PRODUCER_EPOCH";
    KafkaStorageError = 56, "KAFKA_STORAGE_ERROR";
    UnknownProducerId = 59, "UNKNOWN_PRODUCER_ID";
    NonEmptyGroup = 68, "NON_EMPTY_GROUP";
    GroupIdNotFound = 69, "GROUP_ID_NOT_FOUND";
    FetchSessionIdNotFound = 70, "FETCH_SESSION_ID_NOT_FOUND";
    InvalidFetchSessionEpoch = 71, "INVALID_FETCH_SESSION_EPOCH";
    FencedLeaderEpoch = 74, "FENCED_LEADER_EPOCH";
    UnknownLeaderEpoch = 75, "UNKNOWN_LEADER_EPOCH";
    UnsupportedCompressionType = 76, "UNSUPPORTED_COMPRESSION_TYPE";
    OffsetNotAvailable = 78, "OFFSET_NOT_AVAILABLE";
    MemberIdRequired = 79, "MEMBER_ID_REQUIRED";
    GroupMaxSizeReached = 81, "GROUP_MAX_SIZE_REACHED";
    FencedInstanceId = 82, "FENCED_INSTANCE_ID";
    GroupSubscribedToTopic = 86, "GROUP_SUBSCRIBED_TO_TOPIC";
    InvalidRecord = 87, "INVALID_RECORD";
    UnknownTopicId = 100, "UNKNOWN_TOPIC_ID";
    FetchSessionTopicIdError = 106, "FETCH_SESSION_TOPIC_ID_ERROR";
    FencedMemberEpoch = 110, "FENCED_MEMBER_EPOCH";
    UnreleasedInstanceId = 111, "UNRELEASED_INSTANCE_ID";
    UnsupportedAssignor = 112, "UNSUPPORTED_ASSIGNOR";
    StaleMemberEpoch = 113, "STALE_MEMBER_EPOCH";
    MismatchedEndpointType = 114, "MISMATCHED_ENDPOINT_TYPE";
    UnsupportedEndpointType = 115, "UNSUPPORTED_ENDPOINT_TYPE";
    InvalidRegularExpression = 128, "INVALID_REGULAR_EXPRESSION";
}

impl KafkaError {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }
}

/// Kafka's error for one of ours.
///
/// Clients act on the number alone: those that they retry must be ours to retry, and what no client knows how to handle in
/// a fetch (Java's throws at whatever it does not expect there) is said in words that they all know. So a bound that was
/// reached and a full disk are a storage error: look again who leads, and come back.
#[must_use]
pub fn kafka_error(code: ErrorCode) -> KafkaError {
    match code {
        ErrorCode::NotLeader | ErrorCode::ShuttingDown => KafkaError::NotLeaderOrFollower,
        ErrorCode::UnknownTopicOrPartition => KafkaError::UnknownTopicOrPartition,
        ErrorCode::TopicAlreadyExists => KafkaError::TopicAlreadyExists,
        ErrorCode::InvalidTopicName => KafkaError::InvalidTopic,
        ErrorCode::InvalidPartitionCount => KafkaError::InvalidPartitions,
        ErrorCode::InvalidReplicationFactor => KafkaError::InvalidReplicationFactor,
        ErrorCode::InvalidConfig => KafkaError::InvalidConfig,
        ErrorCode::InvalidRequest | ErrorCode::RequestTooLarge => KafkaError::InvalidRequest,
        ErrorCode::CorruptBatch | ErrorCode::Corrupt => KafkaError::CorruptMessage,
        ErrorCode::BatchTooLarge => KafkaError::MessageTooLarge,
        ErrorCode::UnsupportedCompression => KafkaError::UnsupportedCompressionType,
        ErrorCode::Unsupported => KafkaError::UnsupportedVersion,
        ErrorCode::OffsetOutOfRange | ErrorCode::LogTruncated => KafkaError::OffsetOutOfRange,
        ErrorCode::OutOfOrderSequence => KafkaError::OutOfOrderSequenceNumber,
        ErrorCode::DuplicateSequence => KafkaError::DuplicateSequenceNumber,
        ErrorCode::ProducerFenced => KafkaError::InvalidProducerEpoch,
        ErrorCode::UnknownProducerId => KafkaError::UnknownProducerId,
        ErrorCode::GroupIdInvalid => KafkaError::InvalidGroupId,
        ErrorCode::OffsetMetadataTooLarge => KafkaError::OffsetMetadataTooLarge,
        ErrorCode::StorageFull | ErrorCode::StorageFailed | ErrorCode::Throttled => {
            KafkaError::KafkaStorageError
        }
        ErrorCode::NotAuthorized => KafkaError::TopicAuthorizationFailed,
        ErrorCode::TimedOut | ErrorCode::OutcomeUnknown => KafkaError::RequestTimedOut,
        ErrorCode::Internal => KafkaError::UnknownServerError,
        ErrorCode::NotEnoughReplicas => KafkaError::NotEnoughReplicas,
        ErrorCode::NotEnoughReplicasAfterAppend => KafkaError::NotEnoughReplicasAfterAppend,
        ErrorCode::FencedLeaderEpoch => KafkaError::FencedLeaderEpoch,
        ErrorCode::UnknownLeaderEpoch => KafkaError::UnknownLeaderEpoch,
        ErrorCode::InvalidRecord => KafkaError::InvalidRecord,
        ErrorCode::UnknownMember => KafkaError::UnknownMemberId,
        ErrorCode::FencedMemberEpoch => KafkaError::FencedMemberEpoch,
        ErrorCode::StaleMemberEpoch => KafkaError::StaleMemberEpoch,
        ErrorCode::FencedInstance => KafkaError::FencedInstanceId,
        ErrorCode::GroupFull => KafkaError::GroupMaxSizeReached,
        ErrorCode::GroupNotEmpty => KafkaError::NonEmptyGroup,
        ErrorCode::GroupNotFound => KafkaError::GroupIdNotFound,
        ErrorCode::CoordinatorLoading => KafkaError::CoordinatorLoadInProgress,
        ErrorCode::InvalidPattern => KafkaError::InvalidRegularExpression,
        ErrorCode::GroupKindMismatch => KafkaError::InconsistentGroupProtocol,
        ErrorCode::StaleGeneration => KafkaError::IllegalGeneration,
        ErrorCode::RebalanceInProgress => KafkaError::RebalanceInProgress,
        ErrorCode::InstanceInUse => KafkaError::UnreleasedInstanceId,
        ErrorCode::NotCoordinator => KafkaError::NotCoordinator,
        ErrorCode::OffsetNotAvailable => KafkaError::OffsetNotAvailable,
        // Admin clients look for the controller anew and come back.
        ErrorCode::QuorumUnavailable => KafkaError::NotController,
        // A code appended to the list and not to this table; a test refuses that.
        unlisted => {
            tracing::error!(code = %unlisted, "an error code without one of Kafka's");
            KafkaError::UnknownServerError
        }
    }
}

/// What a part of an answer says of an error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) error: KafkaError,
    pub(crate) message: String,
    /// Where the log of a reader and ours part.
    pub(crate) diverging: Option<Divergence>,
    /// Which records of a batch are to blame.
    pub(crate) records: Box<[usize]>,
}

impl Fault {
    pub(crate) fn new(error: KafkaError, message: impl Into<String>) -> Fault {
        Fault { error, message: message.into(), diverging: None, records: Box::default() }
    }

    pub(crate) fn code(&self) -> i16 {
        self.error.code()
    }

    /// What a coordinator says of an error: in words that clients of groups expect, where they stop at others. What may pass is
    /// `COORDINATOR_NOT_AVAILABLE`; a broker that goes is `NOT_COORDINATOR`, so that they look for another.
    pub(crate) fn of_coordinator(error: ApiError) -> Fault {
        let said = match error.code {
            ErrorCode::NotLeader | ErrorCode::ShuttingDown => KafkaError::NotCoordinator,
            ErrorCode::StorageFull
            | ErrorCode::StorageFailed
            | ErrorCode::Throttled
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::NotEnoughReplicasAfterAppend
            | ErrorCode::TimedOut
            | ErrorCode::OutcomeUnknown
            | ErrorCode::Corrupt => KafkaError::CoordinatorNotAvailable,
            ErrorCode::NotAuthorized => KafkaError::GroupAuthorizationFailed,
            code => kafka_error(code),
        };
        Fault::new(said, error.message)
    }
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Fault {
        let ApiError { code, message, diverging, records, .. } = error;
        Fault { error: kafka_error(code), message, diverging, records }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_table() {
        for code in ErrorCode::ALL {
            let unknown = kafka_error(*code) == KafkaError::UnknownServerError;
            assert_eq!(unknown, *code == ErrorCode::Internal, "{code}");
        }
    }
}
