//! What a call may send, by its path.

use millrace_types::limits::{MEMBER_MESSAGE_BYTES_MAX, REQUEST_BYTES_MAX, SIDE_MESSAGE_BYTES_MAX};

/// How many messages a call takes, and when the memory of one is given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Messages {
    /// One; its memory is held until the answer is done.
    One,
    /// Many; the handler claims the memory of each and gives it back when that message is dealt with.
    Claimed,
    /// Many; one is forgotten when the next comes.
    OneAtATime,
}

/// The methods of the native API.
pub(crate) const METHODS: &[&str] = &[
    "InitProducer",
    "Produce",
    "ProduceStream",
    "Fetch",
    "Subscribe",
    "ListOffsets",
    "CommitOffsets",
    "FetchOffsets",
    "GroupMember",
    "ListGroups",
    "DescribeGroup",
    "DeleteGroup",
    "ResetGroupOffsets",
    "GroupLag",
    "CreateTopic",
    "DeleteTopic",
    "AlterTopic",
    "CreatePartitions",
    "DeleteRecords",
    "ListTopics",
    "DescribeTopic",
    "DescribeCluster",
    "ClusterStatus",
    "PlanMoves",
    "ReassignPartitions",
    "ElectLeader",
    "RemoveBroker",
];

/// What a call may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Route {
    pub(crate) messages: Messages,
    pub(crate) message_bytes_max: usize,
    /// Whether it answers on and on, at the pace of its client.
    pub(crate) is_paced: bool,
    /// Whether it is the stream of a member of a group, who must be heard in time.
    pub(crate) is_member: bool,
    /// Its name in the metrics; empty for what is not ours.
    pub(crate) name: &'static str,
}

impl Route {
    pub(crate) fn of(path: &str) -> Route {
        let method = path.strip_prefix("/millrace.v1.Millrace/");
        let name = METHODS.iter().find(|name| method == Some(**name)).copied().unwrap_or_default();
        let (messages, message_bytes_max) = match method {
            Some("ProduceStream") => (Messages::Claimed, REQUEST_BYTES_MAX),
            Some("GroupMember") => (Messages::Claimed, MEMBER_MESSAGE_BYTES_MAX),
            Some("ResetGroupOffsets") => (Messages::One, MEMBER_MESSAGE_BYTES_MAX),
            Some(_) => (Messages::One, REQUEST_BYTES_MAX),
            // Health, reflection, and whatever does not exist.
            None => (Messages::OneAtATime, SIDE_MESSAGE_BYTES_MAX),
        };
        let is_member = name == "GroupMember";
        Route { messages, message_bytes_max, is_paced: is_member || name == "Subscribe", is_member, name }
    }

    /// Whether how long it takes says nothing: it goes on for as long as the client likes.
    pub(crate) fn is_stream(self) -> bool {
        self.messages != Messages::One || self.is_paced
    }

    /// Whether the answer may go on for ever without the door's handlers seeing that the broker is draining.
    pub(crate) fn is_side_call(self) -> bool {
        self.messages == Messages::OneAtATime
    }
}
