//! The errors that every door speaks: one closed list, numbers only ever appended.

use std::fmt;

/// What an error says about the request that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It did not happen and will not happen.
    Definite,
    /// It may have happened, or may still; a retry must carry the same producer sequence.
    Indefinite,
}

macro_rules! error_codes {
    ($($name:ident = $number:literal, $outcome:ident, $retriable:literal, $text:literal;)*) => {
        /// Why a request failed. The numbers are part of the native protocol: append only.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $(#[doc = $text] $name = $number,)*
        }

        impl ErrorCode {
            /// Every code, in the order of its number.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// Whether the failed request can have had an effect.
            #[must_use]
            pub const fn outcome(self) -> Outcome {
                match self { $(ErrorCode::$name => Outcome::$outcome,)* }
            }

            /// Whether the same request may succeed later without a change.
            #[must_use]
            pub const fn is_retriable(self) -> bool {
                match self { $(ErrorCode::$name => $retriable,)* }
            }

            /// What the code means, one sentence for documentation and help texts.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)* }
            }

            const fn camel_name(self) -> &'static str {
                match self { $(ErrorCode::$name => stringify!($name),)* }
            }
        }
    };
}

error_codes! {
    NotLeader = 1, Definite, true, "Another broker leads the partition; the error names it where it is known.";
    UnknownTopicOrPartition = 2, Definite, true, "There is no such topic or partition here.";
    TopicAlreadyExists = 3, Definite, false, "A topic of that name, or of one that clashes with it, exists.";
    InvalidTopicName = 4, Definite, false, "The topic's name breaks the naming rule.";
    InvalidPartitionCount = 5, Definite, false, "The partition count is zero or above the limit.";
    InvalidReplicationFactor = 6, Definite, false, "The replication factor is zero, above the number of brokers, or below `min.insync.replicas`.";
    InvalidConfig = 7, Definite, false, "A config key is unknown, or its value is not allowed.";
    InvalidRequest = 8, Definite, false, "The request contradicts itself or lacks a field.";
    CorruptBatch = 9, Definite, false, "A record batch fails its checksum or its layout.";
    BatchTooLarge = 10, Definite, false, "A record batch is larger than the topic's `max.message.bytes`.";
    RequestTooLarge = 11, Definite, false, "The request is larger than the broker reads.";
    UnsupportedCompression = 12, Definite, false, "The batch names a compression that does not exist.";
    Unsupported = 13, Definite, false, "What was asked for is not there yet, or never will be; the message says which.";
    OffsetOutOfRange = 14, Definite, false, "The offset lies outside of what the partition holds.";
    LogTruncated = 15, Definite, false, "The reader is ahead of the log: the records it read last were never acknowledged and are gone.";
    Corrupt = 16, Definite, false, "The stored bytes failed their check; what else the partition holds stays readable.";
    OutOfOrderSequence = 17, Definite, false, "A producer's batch leaves a gap behind the one before it.";
    DuplicateSequence = 18, Definite, false, "The batch was stored earlier, too long ago to tell its offset.";
    ProducerFenced = 19, Definite, false, "A newer incarnation of this producer has written.";
    UnknownProducerId = 20, Definite, false, "The partition no longer knows this producer.";
    GroupIdInvalid = 21, Definite, false, "The group's name breaks the naming rule.";
    OffsetMetadataTooLarge = 22, Definite, false, "The metadata text of a committed offset is over the limit.";
    StorageFull = 23, Definite, true, "The disk has no room left for appends.";
    StorageFailed = 24, Indefinite, false, "A sync failed: the data directory accepts nothing until the broker has been restarted.";
    Throttled = 25, Definite, true, "A bound on memory, queue length or quota was reached; try again later.";
    NotAuthorized = 26, Definite, false, "The principal may not do this.";
    ShuttingDown = 27, Definite, true, "The broker is draining and takes no new requests.";
    TimedOut = 28, Indefinite, true, "No answer within the deadline; the request may still take effect.";
    OutcomeUnknown = 29, Indefinite, true, "The broker lost track of the request, which may have taken effect.";
    Internal = 30, Indefinite, false, "The broker broke one of its own rules; its log says which.";
    NotEnoughReplicas = 31, Definite, true, "Fewer replicas are in sync than the topic demands; nothing was appended.";
    NotEnoughReplicasAfterAppend = 32, Indefinite, true, "Replicas fell out of sync after the append; the record may or may not stay.";
    FencedLeaderEpoch = 33, Definite, true, "The request names an older leader epoch than the partition has.";
    UnknownLeaderEpoch = 34, Definite, true, "The request names a newer leader epoch than this broker knows.";
    InvalidRecord = 35, Definite, false, "A record is malformed, or not one that the topic takes: a compacted topic wants a key.";
    UnknownMember = 36, Definite, false, "The group has no such member: it never was one, has left, or was silent for too long. Join anew.";
    FencedMemberEpoch = 37, Definite, false, "The member's epoch is not the one it was told last: it must let go of everything and join anew.";
    StaleMemberEpoch = 38, Definite, true, "A commit or a fetch of offsets names another epoch than the member has; repeat it with the newest, for what is still owned.";
    FencedInstance = 39, Definite, false, "A newer life of the static member is in its place.";
    GroupFull = 40, Definite, false, "The group has as many members as may be.";
    GroupNotEmpty = 41, Definite, false, "The group has members, who must leave first.";
    GroupNotFound = 42, Definite, false, "There is no such group: nobody is in it and it has committed nothing.";
    CoordinatorLoading = 43, Definite, true, "The coordinator is still reading the group's state from its log.";
    InvalidPattern = 44, Definite, false, "The pattern of a subscription does not compile, or is too large.";
    GroupKindMismatch = 45, Definite, false, "The group's members are assigned in another way (by the coordinator, or by one of them).";
    RebalanceInProgress = 46, Definite, true, "The members of the group are being assigned; the same request may succeed afterwards.";
    StaleGeneration = 47, Definite, false, "The request names another generation than the group has whose members are assigned by one of them: join again.";
    InstanceInUse = 48, Definite, false, "Another life of the static member is still in the group; it must leave first, or be silent for long enough.";
    NotCoordinator = 49, Definite, true, "Another broker coordinates the group; the error names it where it is known.";
    OffsetNotAvailable = 50, Definite, true, "The broker does not know yet whether the offset is there, or where the partition ends: a new leader is still finding out. Or the records are damaged on the leader and are being put back from another replica.";
    QuorumUnavailable = 51, Definite, true, "The metadata quorum has no leader that can be reached, or no majority: nothing was decided.";
}

impl ErrorCode {
    /// The number in the native protocol.
    #[must_use]
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// The code of a number, or `None` if this build does not know it.
    #[must_use]
    pub fn from_number(number: i32) -> Option<ErrorCode> {
        ErrorCode::ALL.iter().copied().find(|code| code.number() == number)
    }

    /// The name in capitals, as tools and error details print it: `NOT_LEADER`.
    #[must_use]
    pub fn name(self) -> String {
        let mut name = String::new();
        for (index, c) in self.camel_name().char_indices() {
            if c.is_ascii_uppercase() && index > 0 {
                name.push('_');
            }
            name.push(c.to_ascii_uppercase());
        }
        name
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_distinct_and_read_back() {
        for (index, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(code.number(), i32::try_from(index).unwrap_or(-1) + 1, "{code}: numbers leave no gap");
            assert_eq!(ErrorCode::from_number(code.number()), Some(*code));
        }
        assert_eq!(ErrorCode::from_number(0), None);
    }

    #[test]
    fn names_are_in_capitals() {
        assert_eq!(ErrorCode::NotLeader.name(), "NOT_LEADER");
        assert_eq!(ErrorCode::UnknownTopicOrPartition.name(), "UNKNOWN_TOPIC_OR_PARTITION");
    }
}
