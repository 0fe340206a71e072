//! How lengths are written.

/// How a version writes the lengths of strings, bytes and arrays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lengths {
    /// In two or four bytes, -1 for null.
    Plain,
    /// One more than they are, in seven-bit groups, 0 for null (KIP-482).
    Compact,
}
