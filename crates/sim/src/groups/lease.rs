//! What a member may rely on, from what it has sent and heard alone.
//!
//! ```text
//!   sent ──► taken ──► answered ──► heard            sent + session timeout
//!     ├─────────────────────────────────────────────────────┤
//!         the coordinator heard of it at `sent` or later, so it keeps it until here at least
//! ```
//! Three things shorten that: it is told to let go of something (then its rebalance timeout counts, from the last time that
//! it certainly had nothing to let go), its stream breaks (then the time that it has to come back), and what makes it
//! another's for good: it begins anew, or another life of the same static member asks to come in. Those count until the
//! coordinator answers something that was sent later.
//!
//! A member whose lease is over may still believe to own something. That is the paused member that nobody can prevent; what
//! it does then is fenced.

use millrace_types::limits::{MEMBER_RECONNECT_MS, SESSION_TIMEOUT_MS_DEFAULT};

use super::wire::Tick;

/// When something was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct SentAt {
    pub(crate) ms: u64,
    pub(crate) tick: Tick,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Lease {
    /// When that was sent which was answered.
    heard_of: Option<u64>,
    /// The same, of what shows that nothing was to be let go.
    settled: Option<u64>,
    broken: Option<SentAt>,
    void: Option<Tick>,
}

impl Lease {
    /// What was sent then was answered with an assignment.
    pub(crate) fn answered(&mut self, sent: SentAt, settled: bool) {
        self.heard_of = self.heard_of.max(Some(sent.ms));
        if settled {
            self.settled = self.settled.max(Some(sent.ms));
        }
        self.broken = self.broken.filter(|broken| broken.tick > sent.tick);
        self.void = self.void.filter(|void| *void > sent.tick);
    }

    /// Whether something was answered that was sent then or later.
    pub(crate) fn heard_since(&self, sent: SentAt) -> bool {
        self.heard_of >= Some(sent.ms)
    }

    /// The stream broke. The time that is left counts from the first break, what was sent before the last one ends nothing.
    pub(crate) fn broke(&mut self, at: SentAt) {
        let ms = self.broken.map_or(at.ms, |broken| broken.ms);
        self.broken = Some(SentAt { ms, tick: at.tick });
    }

    /// From now on nothing is certain.
    pub(crate) fn void(&mut self, tick: Tick) {
        self.void = Some(tick);
    }

    /// Whether the member is certainly one at `now`.
    pub(crate) fn holds(&self, now: u64, rebalance_timeout_ms: u64) -> bool {
        let (Some(heard_of), Some(settled), None) = (self.heard_of, self.settled, self.void) else {
            return false;
        };
        let reconnect = self.broken.map_or(u64::MAX, |broken| broken.ms + MEMBER_RECONNECT_MS);
        let until =
            (heard_of + SESSION_TIMEOUT_MS_DEFAULT).min(settled + rebalance_timeout_ms).min(reconnect);
        now < until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_with_the_session_the_revocation_the_reconnection_or_at_once() {
        let sent = |ms, tick| SentAt { ms, tick };
        let mut lease = Lease::default();
        assert!(!lease.holds(0, 8_000));
        lease.answered(sent(1_000, 1), true);
        assert!(lease.holds(8_999, 8_000) && !lease.holds(9_000, 8_000));
        lease.answered(sent(2_000, 2), false);
        assert!(lease.holds(10_999, 30_000) && !lease.holds(9_000, 8_000));
        lease.broke(sent(3_000, 3));
        assert!(lease.holds(7_999, 30_000) && !lease.holds(8_000, 30_000));
        lease.broke(sent(3_500, 3));
        lease.answered(sent(2_500, 2), true);
        assert!(!lease.holds(8_000, 30_000));
        lease.answered(sent(4_000, 4), true);
        assert!(lease.holds(8_000, 30_000));
        lease.void(5);
        assert!(!lease.holds(4_000, 30_000));
        lease.answered(sent(6_000, 6), true);
        assert!(lease.holds(6_000, 30_000));
    }
}
