//! The kernel's random bytes.

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::Rng;

/// `getrandom(2)`: waits at boot until the kernel's pool is seeded, never afterwards.
#[derive(Clone, Copy, Debug)]
pub struct RealRng;

impl Rng for RealRng {
    /// # Panics
    /// If the kernel has no `getrandom` (Linux before 3.17): ids made of anything less would not be unique.
    fn fill(&self, buffer: &mut [u8]) {
        let mut rest = buffer;
        while !rest.is_empty() {
            match getrandom(&mut *rest, GetRandomFlags::empty()) {
                Ok(filled) => rest = rest.get_mut(filled..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(e) => panic!("the kernel gives no random bytes: {e}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RngExt;

    #[test]
    fn two_draws_differ() {
        assert_ne!(RealRng.uuid_v4(), RealRng.uuid_v4());
    }

    #[test]
    fn a_long_buffer_is_filled_to_its_end() {
        let mut buffer = vec![0; 100_000];
        RealRng.fill(&mut buffer);
        assert!(buffer.rchunks(32).all(|chunk| chunk.iter().any(|&b| b != 0)));
    }
}
