//! What a group refuses, in the words that doors answer.

use millrace_group::classic::ClassicRefusal;
use millrace_group::{CommitRefusal, CommitRefused, Refusal, Stranger};
use millrace_types::ErrorCode;

use crate::ApiError;

impl From<Stranger> for ApiError {
    fn from(stranger: Stranger) -> ApiError {
        let code = match &stranger {
            Stranger::Unknown { .. } | Stranger::UnknownInstance { .. } => ErrorCode::UnknownMember,
            Stranger::FencedInstance { .. } => ErrorCode::FencedInstance,
        };
        ApiError::new(code, stranger.to_string())
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        let code = match &refusal {
            Refusal::Stranger(stranger) => return ApiError::from(stranger.clone()),
            Refusal::FencedEpoch { .. } => ErrorCode::FencedMemberEpoch,
            Refusal::Full { .. } => ErrorCode::GroupFull,
            Refusal::TooManyNames { .. }
            | Refusal::TooManyOwned { .. }
            | Refusal::RebalanceTimeout { .. }
            | Refusal::NotStatic => ErrorCode::InvalidRequest,
            Refusal::NotEmpty { .. } => ErrorCode::GroupNotEmpty,
        };
        ApiError::new(code, refusal.to_string())
    }
}

impl From<ClassicRefusal> for ApiError {
    fn from(refusal: ClassicRefusal) -> ApiError {
        let code = match &refusal {
            ClassicRefusal::Stranger(stranger) => return ApiError::from(stranger.clone()),
            ClassicRefusal::StaleGeneration { .. } => ErrorCode::StaleGeneration,
            ClassicRefusal::Rebalancing => ErrorCode::RebalanceInProgress,
            ClassicRefusal::InconsistentProtocol => ErrorCode::GroupKindMismatch,
            ClassicRefusal::Full { .. } => ErrorCode::GroupFull,
            // The first is told with the id, where somebody waits for it.
            ClassicRefusal::MemberIdRequired { .. } | ClassicRefusal::OutOfRange { .. } => {
                ErrorCode::InvalidRequest
            }
            ClassicRefusal::NotEmpty { .. } => ErrorCode::GroupNotEmpty,
        };
        ApiError::new(code, refusal.to_string())
    }
}

impl From<CommitRefused> for ApiError {
    fn from(refused: CommitRefused) -> ApiError {
        let code = match &refused {
            CommitRefused::NotAMember => ErrorCode::UnknownMember,
            CommitRefused::Stranger(stranger) => return ApiError::from(stranger.clone()),
            CommitRefused::StaleEpoch { .. } => ErrorCode::StaleMemberEpoch,
            CommitRefused::Rebalancing => ErrorCode::RebalanceInProgress,
        };
        ApiError::new(code, refused.to_string())
    }
}

impl From<CommitRefusal> for ApiError {
    fn from(refusal: CommitRefusal) -> ApiError {
        ApiError::new(refusal.code(), refusal.to_string())
    }
}
