//! Changes of who votes.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use millrace_env::{Clock, Tasks};
use millrace_quorum::{MembersError, MetadataQuorum, QuorumRole};
use millrace_schema::QuorumVoter;
use millrace_types::limits::QUORUM_VOTERS_MAX;
use parking_lot::Mutex;

use super::{PEACE, World};

/// A change of the members, as the driver's task makes it.
type Change = Pin<Box<dyn Future<Output = Result<(), MembersError>> + Send>>;

impl World {
    /// Lets whoever leads make some of the nodes the voters and the others learners, as far as it gets.
    pub(super) fn reshape(&self) {
        let quorums = (0..self.machines.len()).filter_map(|machine| self.quorum(machine));
        let leader = quorums.into_iter().find(|quorum| quorum.status().role == QuorumRole::Leader);
        let Some(leader) = leader else { return };
        let mut others = self.peers.clone();
        let mut voters = BTreeSet::new();
        while voters.len() < QUORUM_VOTERS_MAX {
            voters.insert(others.swap_remove(self.rng.index(others.len())).voter);
        }
        let shared = Arc::clone(&self.shared);
        let work = async move {
            let changed = leader.change_voters(voters).await.is_ok();
            shared.lock().marks.reshaped += u64::from(changed);
            for learner in others {
                let _as_far_as_it_gets = leader.add_learner(learner).await;
            }
        };
        let _runs_on = self.tasks.spawn("reshape", Box::pin(work));
    }

    /// Everybody votes or learns.
    pub(super) async fn bring_back_all(&mut self) -> Result<(), String> {
        self.join_all().await?;
        let voters = self.peers.iter().take(QUORUM_VOTERS_MAX).map(|peer| peer.voter).collect();
        self.become_voters(&voters).await?;
        self.join_all().await
    }

    async fn join_all(&mut self) -> Result<(), String> {
        for peer in self.peers.clone() {
            self.change(move |leader| {
                let peer = peer.clone();
                Box::pin(async move { leader.add_learner(peer).await })
            })
            .await?;
        }
        Ok(())
    }

    pub(super) async fn become_voters(&mut self, voters: &BTreeSet<QuorumVoter>) -> Result<(), String> {
        let voters = voters.clone();
        self.change(move |leader| {
            let voters = voters.clone();
            Box::pin(async move { leader.change_voters(voters).await })
        })
        .await
    }

    /// Asks whoever leads until it is done.
    pub(super) async fn change(
        &mut self,
        change: impl Fn(Arc<MetadataQuorum>) -> Change,
    ) -> Result<(), String> {
        let end = self.clock.monotonic().after(PEACE);
        let mut last = String::new();
        while self.clock.monotonic() < end {
            let quorums = (0..self.machines.len()).filter_map(|machine| self.quorum(machine));
            let leader = quorums.into_iter().find(|quorum| quorum.status().role == QuorumRole::Leader);
            if let Some(leader) = leader {
                let done = Arc::new(Mutex::new(None));
                let (answer, work) = (Arc::clone(&done), change(leader));
                let _runs_on = self.tasks.spawn(
                    "driver",
                    Box::pin(async move {
                        *answer.lock() = Some(work.await);
                    }),
                );
                while done.lock().is_none() {
                    self.pass(Duration::from_millis(20)).await?;
                }
                match done.lock().take() {
                    Some(Ok(())) => return Ok(()),
                    refused => last = format!("{refused:?}"),
                }
            }
            self.pass(Duration::from_millis(100)).await?;
        }
        Err(format!("the members were not changed: {last}; {}", self.standing()))
    }
}
