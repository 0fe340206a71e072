//! Positions of records in a partition.

use std::fmt;

/// The position of a record in its partition: 0 for the first record ever written, then one more for each.
///
/// Never negative and never above `i64::MAX`, because the wire and the disk carry it as a signed 64-bit number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(i64);

impl Offset {
    /// The offset of the first record of a partition.
    pub const ZERO: Offset = Offset(0);
    /// The largest offset that a partition can ever reach.
    pub const MAX: Offset = Offset(i64::MAX);

    /// An offset from its wire form; `None` if it is negative (the protocols use negative numbers as sentinels).
    #[must_use]
    pub const fn new(value: i64) -> Option<Offset> {
        if value < 0 { None } else { Some(Offset(value)) }
    }

    /// An offset from a count of records, saturating at [`Offset::MAX`].
    #[must_use]
    pub fn from_count(count: u64) -> Offset {
        Offset(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// The wire form.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The offset `records` after this one, or `None` past [`Offset::MAX`].
    #[must_use]
    pub fn checked_add(self, records: u64) -> Option<Offset> {
        i64::try_from(records).ok().and_then(|n| self.0.checked_add(n)).map(Offset)
    }

    /// The offset `records` after this one, saturating at [`Offset::MAX`].
    #[must_use]
    pub fn saturating_add(self, records: u64) -> Offset {
        self.checked_add(records).unwrap_or(Offset::MAX)
    }

    /// The offset `records` before this one, saturating at zero.
    #[must_use]
    pub fn saturating_sub(self, records: u64) -> Offset {
        Offset(i64::try_from(records).map_or(0, |n| self.0.saturating_sub(n).max(0)))
    }

    /// The next offset, saturating at [`Offset::MAX`].
    #[must_use]
    pub fn next(self) -> Offset {
        self.saturating_add(1)
    }

    /// How many records lie between `start` and this offset; zero if this offset is below `start`.
    #[must_use]
    pub fn since(self, start: Offset) -> u64 {
        u64::try_from(self.0.saturating_sub(start.0)).unwrap_or(0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

/// A half-open range of offsets: `start` is in it, `end` is not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OffsetRange {
    /// The first offset of the range.
    pub start: Offset,
    /// The first offset after the range.
    pub end: Offset,
}

impl OffsetRange {
    /// Whether the range holds no offset.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// Whether `offset` lies in the range.
    #[must_use]
    pub fn contains(&self, offset: Offset) -> bool {
        self.start <= offset && offset < self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_never_negative() {
        assert_eq!(Offset::new(-1), None);
        assert_eq!(Offset::ZERO.saturating_sub(5), Offset::ZERO);
        assert_eq!(Offset::MAX.next(), Offset::MAX);
        assert_eq!(Offset::MAX.checked_add(1), None);
        assert_eq!(Offset::from_count(u64::MAX), Offset::MAX);
    }

    #[test]
    fn since_counts_records_between() {
        let (low, high) = (Offset::from_count(3), Offset::from_count(10));
        assert_eq!(high.since(low), 7);
        assert_eq!(low.since(high), 0);
    }
}
