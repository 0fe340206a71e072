//! Elections that do not end.
//!
//! openraft draws its election timeout once for each process. Two candidates that have drawn nearly the same may take each
//! other's votes again and again. Whoever stays a candidate for too long is therefore sent into another election after a
//! delay that is drawn anew each time.

use std::sync::Arc;
use std::time::Duration;

use millrace_env::{Env, RngExt};
use openraft::{Raft, ServerState};

use crate::options::QuorumPace;
use crate::raft::Consensus;

/// Runs until the node stops.
pub(crate) async fn watch(env: Arc<Env>, raft: Raft<Consensus>, pace: QuorumPace) {
    let metrics = raft.metrics();
    let mut candidate_since = None;
    loop {
        env.clock.sleep(delay(&env, pace)).await;
        let (is_candidate, term, is_over) = {
            let seen = metrics.borrow();
            (seen.state == ServerState::Candidate, seen.current_term, seen.running_state.is_err())
        };
        if is_over {
            return;
        }
        let now = env.clock.monotonic();
        let since = *candidate_since.get_or_insert(now);
        if !is_candidate {
            candidate_since = None;
        } else if now.since(since) >= pace.election_max {
            tracing::info!(term, "the election does not end: another one is begun");
            candidate_since = None;
            if raft.trigger().elect().await.is_err() {
                return;
            }
        }
    }
}

/// Between one and two of the shortest election timeouts.
fn delay(env: &Env, pace: QuorumPace) -> Duration {
    let spread = u64::try_from(pace.election_min.as_millis()).unwrap_or(u64::MAX).max(1);
    pace.election_min + Duration::from_millis(env.rng.next_u64() % spread)
}
