//! Whether a log that was found at a start still holds all that its broker ever vouched for (KIP-966).
//!
//! A broker that was in sync, or may be elected, has said of records that it holds them. After a stop it says so again only if it is
//! certain; else it is *lossy*, and must first have caught up with a leader.

use millrace_types::SyncMode;

/// How the last run ended, as the data directory tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LastRun {
    /// It stopped, and synced all there was.
    Clean,
    /// It died, and the kernel that it ran on still runs, on the same mount: what was written is there.
    Killed,
    /// The page cache may have gone with it.
    CacheLost,
}

/// What recovery has found of the bytes that were synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Synced {
    /// They are there.
    Intact,
    /// Some are bad or gone.
    Damaged,
}

/// What a broker says of a log when it registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Completeness {
    /// It holds what it ever said that it does.
    Complete,
    /// It may not.
    Lossy,
}

/// Decides it, for one log.
#[must_use]
pub fn of_log(last_run: LastRun, mode: SyncMode, synced: Synced) -> Completeness {
    let survives = match last_run {
        LastRun::Clean | LastRun::Killed => true,
        // What is not synced was never said to be held.
        LastRun::CacheLost => mode == SyncMode::Always,
    };
    if survives && synced == Synced::Intact { Completeness::Complete } else { Completeness::Lossy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certain_is_complete() {
        for mode in [SyncMode::Always, SyncMode::Os] {
            assert_eq!(of_log(LastRun::Clean, mode, Synced::Intact), Completeness::Complete);
            assert_eq!(of_log(LastRun::Killed, mode, Synced::Intact), Completeness::Complete);
            assert_eq!(of_log(LastRun::Killed, mode, Synced::Damaged), Completeness::Lossy, "damage is loss");
        }
        assert_eq!(of_log(LastRun::CacheLost, SyncMode::Always, Synced::Intact), Completeness::Complete);
        assert_eq!(of_log(LastRun::CacheLost, SyncMode::Os, Synced::Intact), Completeness::Lossy);
    }
}
