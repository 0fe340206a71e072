//! Pauses between attempts: doubling, bounded, half of each random, so that clients do not return in step.

use std::time::Duration;

use millrace_env::{Rng, RngExt};

use crate::ClientOptions;

/// The longest pause of whoever follows a leader from broker to broker: another one is there within seconds.
const FOLLOWING_MAX: Duration = Duration::from_millis(250);

/// Counts the attempts of one purpose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(options: &ClientOptions) -> Backoff {
        Backoff { min: options.backoff_min, max: options.backoff_max, attempts: 0 }
    }

    /// For whoever follows a leader.
    pub(crate) fn following(options: &ClientOptions) -> Backoff {
        Backoff { max: options.backoff_max.min(FOLLOWING_MAX), ..Backoff::new(options) }
    }

    /// The pause before the next attempt.
    pub(crate) fn next(&mut self, rng: &dyn Rng) -> Duration {
        let factor = 1_u32.checked_shl(self.attempts.min(16)).unwrap_or(u32::MAX);
        self.attempts = self.attempts.saturating_add(1);
        let whole = self.min.saturating_mul(factor).min(self.max.max(self.min));
        let half = u64::try_from(whole.as_micros() / 2).unwrap_or(u64::MAX);
        Duration::from_micros(half + rng.next_u64() % half.max(1))
    }

    /// Forgets the attempts: the last one worked.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound() {
        let options = ClientOptions::default();
        let mut backoff = Backoff::new(&options);
        let mut bound = options.backoff_min;
        for _ in 0..100 {
            let pause = backoff.next(&*options.env.rng);
            assert!(pause >= bound / 2 && pause <= bound, "{pause:?} of {bound:?}");
            bound = (bound * 2).min(options.backoff_max);
        }
        backoff.reset();
        assert!(backoff.next(&*options.env.rng) <= options.backoff_min);
    }
}
