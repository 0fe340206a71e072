//! Randomness.

use std::fmt::Debug;

/// A source of random bytes: the kernel's, or a seeded generator in the simulator.
pub trait Rng: Send + Sync + Debug {
    /// Fills `buffer`.
    fn fill(&self, buffer: &mut [u8]);
}

/// What callers want of an [`Rng`].
pub trait RngExt: Rng {
    /// A uniform 64-bit number.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Sixteen random bytes in the form of a version-4 UUID (RFC 9562).
    fn uuid_v4(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        bytes
    }
}

impl<R: Rng + ?Sized> RngExt for R {}
