//! What a call may send, by its path.

use millrace_types::limits::{REQUEST_BYTES_MAX, SIDE_MESSAGE_BYTES_MAX};

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

/// What a call may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Route {
    pub(crate) messages: Messages,
    pub(crate) message_bytes_max: usize,
}

impl Route {
    pub(crate) fn of(path: &str) -> Route {
        match path.strip_prefix("/millrace.v1.Millrace/") {
            Some("ProduceStream") => {
                Route { messages: Messages::Claimed, message_bytes_max: REQUEST_BYTES_MAX }
            }
            Some(_) => Route { messages: Messages::One, message_bytes_max: REQUEST_BYTES_MAX },
            // Health, reflection, and whatever does not exist.
            None => Route { messages: Messages::OneAtATime, message_bytes_max: SIDE_MESSAGE_BYTES_MAX },
        }
    }

    /// Whether the answer may go on for ever without the door's handlers seeing that the broker is draining.
    pub(crate) fn is_side_call(self) -> bool {
        self.messages == Messages::OneAtATime
    }
}
