//! Why a message could not be read or written.

/// A message that could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct WireError {
    /// The field, as the protocol names it.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The message ends within the field.
    #[error("{wanted} bytes are wanted, {left} are left")]
    Short {
        /// Bytes that the field needs.
        wanted: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// A length below zero that does not stand for null.
    #[error("a length of {0}")]
    NegativeLength(i64),
    /// Null where the version has no null.
    #[error("null, where version {0} allows none")]
    Null(i16),
    /// More elements than the bytes that are left could hold.
    #[error("{count} elements are announced, at most {max} are possible")]
    TooManyElements {
        /// The count announced.
        count: usize,
        /// The most that are possible.
        max: usize,
    },
    /// More elements and text than the reader was told to take.
    #[error("more than {max} elements")]
    OverBound {
        /// The most that are taken.
        max: usize,
    },
    /// Text that is longer than any may be.
    #[error("a text of {0} bytes")]
    LongText(usize),
    /// Bytes that are not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// A variable-length integer of more than five bytes.
    #[error("a variable-length integer that does not end")]
    Varint,
    /// Tags that do not rise, or a tag given twice.
    #[error("tag {0} does not rise above the one before it")]
    TagOrder(u32),
    /// A tagged field whose content is not as long as it says.
    #[error("tag {tag} has {left} bytes too many")]
    TagLength {
        /// The tag.
        tag: u32,
        /// Bytes that its field did not use.
        left: usize,
    },
    /// Bytes behind the message.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
    /// A version that the message does not have.
    #[error("there is no version {0}")]
    Version(i16),
    /// A value that cannot be said in the version asked for.
    #[error("is set, which version {0} cannot say")]
    Unsayable(i16),
    /// A length that its field cannot carry.
    #[error("{0} bytes or elements are more than the length field can say")]
    TooLong(usize),
}

impl Problem {
    pub(crate) fn of(self, field: &'static str) -> WireError {
        WireError { field, problem: self }
    }
}
