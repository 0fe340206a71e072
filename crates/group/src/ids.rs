//! Names of members, the epoch that fences them, and the two times that a step is given.

use std::fmt;
use std::sync::Arc;

use millrace_types::TimestampMs;
use millrace_types::limits::{
    INSTANCE_ID_BYTES_MAX, MEMBER_ID_BYTES_MAX, PATTERN_BYTES_MAX, RACK_ID_BYTES_MAX,
};

/// Why a text is no id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdError {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It is too long.
    #[error("it has {bytes} bytes, {max} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The most that is allowed.
        max: usize,
    },
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the length; any character is allowed.
            ///
            /// # Errors
            /// [`IdError`] says what is wrong with it.
            pub fn new(text: &str) -> Result<$name, IdError> {
                match text.len() {
                    0 => Err(IdError::Empty),
                    bytes if bytes > $max => Err(IdError::TooLong { bytes, max: $max }),
                    _ => Ok($name(text.into())),
                }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }
    };
}

text_id! {
    /// One life of a consumer in a group. Drawn by the client or the door, never used by two processes.
    MemberId, MEMBER_ID_BYTES_MAX
}
text_id! {
    /// The name that a static member keeps over its lives (KIP-345).
    InstanceId, INSTANCE_ID_BYTES_MAX
}
text_id! {
    /// Where a member or a replica stands.
    RackId, RACK_ID_BYTES_MAX
}
text_id! {
    /// The text of a regular expression. Whoever drives the group compiles it, with an engine whose time is linear in the
    /// text, and refuses what does not compile before it reaches a step.
    Pattern, PATTERN_BYTES_MAX
}

/// Counts the changes of a group. A member's epoch is the group epoch whose assignment it has reached; in a classic group it
/// is the generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct GroupEpoch(pub i32);

impl GroupEpoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> GroupEpoch {
        GroupEpoch(self.0.saturating_add(1))
    }
}

impl fmt::Display for GroupEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds of a clock that never goes back, since any beginning. Deadlines are counted in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// The moment `ms` milliseconds later.
    #[must_use]
    pub fn after_ms(self, ms: u64) -> Moment {
        Moment(self.0.saturating_add(ms))
    }
}

/// The time of a step, by both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// For deadlines.
    pub moment: Moment,
    /// For what is written down and must mean something to another broker.
    pub wall: TimestampMs,
}
