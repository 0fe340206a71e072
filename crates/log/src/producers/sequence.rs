//! Sequence numbers: 31 bits, after `i32::MAX` comes 0.

/// The sequence number of a record of an idempotent producer; never negative.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sequence(u32);

impl Sequence {
    pub(crate) const ZERO: Sequence = Sequence(0);
    /// How many there are.
    pub(crate) const COUNT: u32 = 1 << 31;
    const MASK: u32 = Self::COUNT - 1;

    pub(crate) fn new(wire: i32) -> Option<Sequence> {
        u32::try_from(wire).ok().map(Sequence)
    }

    /// The wire form.
    pub(crate) fn get(self) -> i32 {
        i32::try_from(self.0).unwrap_or(i32::MAX)
    }

    /// The sequence `steps` later.
    pub(crate) fn after(self, steps: u32) -> Sequence {
        Sequence(self.0.wrapping_add(steps) & Self::MASK)
    }

    pub(crate) fn next(self) -> Sequence {
        self.after(1)
    }

    /// How many steps lead from `earlier` to this one, going forward.
    pub(crate) fn since(self, earlier: Sequence) -> u32 {
        self.0.wrapping_sub(earlier.0) & Self::MASK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_largest_comes_zero() {
        let largest = Sequence::new(i32::MAX).unwrap();
        assert_eq!(largest.next(), Sequence::ZERO);
        assert_eq!(Sequence::ZERO.since(largest), 1);
        assert_eq!(largest.since(Sequence::ZERO), u32::try_from(i32::MAX).unwrap());
        assert_eq!(Sequence::new(i32::MAX - 2).unwrap().after(5), Sequence::new(2).unwrap());
        assert_eq!(Sequence::new(-1), None);
    }
}
