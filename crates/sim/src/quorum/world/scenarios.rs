//! Histories that are told, not drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::Command;
use millrace_quorum::{MembersError, MetadataQuorum, Peer, QuorumRole};
use millrace_types::{DirectoryId, TopicName};
use parking_lot::Mutex;

use super::{NODES, PEACE, World, topic};
use millrace_env::{Clock, Tasks};

/// A change of the members, as the driver's task makes it.
type Change = Pin<Box<dyn Future<Output = Result<(), MembersError>> + Send>>;

pub(in crate::quorum) fn grow_and_replace(seed: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    let mut world = World::new(seed);
    runtime.block_on(world.grow_and_replace())
}

impl World {
    async fn grow_and_replace(&mut self) -> Result<(), String> {
        let founder = self.start(0).await?;
        founder.found(BTreeMap::from([(founder.own(), "node0:1".to_owned())])).await.map_err(told)?;
        self.pass(Duration::from_secs(2)).await?;
        let grpc = "node0:2".to_owned();
        self.insist(&Command::RegisterBroker { node: NODES[0], directory: DirectoryId([1; 16]), grpc })
            .await?;
        let mut voters = BTreeSet::from([founder.own()]);
        for machine in 1..3 {
            let joining = self.start(machine).await?;
            self.join(&joining, machine).await?;
            voters.insert(joining.own());
            self.become_voters(&voters).await?;
        }
        self.insist(&topic(name("one")?, &self.rng)).await?;
        self.lose_disk(2, &mut voters).await?;
        self.insist(&topic(name("two")?, &self.rng)).await?;
        // With the others gone nobody decides; with one of them back two of three do.
        self.kill(0);
        self.kill(1);
        self.pass(Duration::from_secs(10)).await?;
        let alone = self.quorum(2).ok_or("the replaced node is down")?;
        if alone.status().role == QuorumRole::Leader {
            return Err("one of three leads alone".to_owned());
        }
        self.restart(1).await?;
        self.insist(&topic(name("three")?, &self.rng)).await?;
        self.restart(0).await?;
        self.agree(&["one", "two", "three"]).await
    }

    /// The node comes back with an empty disk: nobody counts it until it is made a voter as what it is now.
    async fn lose_disk(
        &mut self,
        machine: usize,
        voters: &mut BTreeSet<millrace_schema::QuorumVoter>,
    ) -> Result<(), String> {
        let lost = self.quorum(machine).ok_or("it is down already")?.own();
        self.kill(machine);
        if let Some(machine) = self.machines.get_mut(machine) {
            machine.sim = millrace_env::sim::Sim::new(77);
        }
        let back = self.start(machine).await?;
        if back.own() == lost {
            return Err("a node without a memory is who it was".to_owned());
        }
        self.pass(Duration::from_secs(3)).await?;
        if back.status().role != QuorumRole::Learner || back.status().last_index.is_some() {
            return Err(format!("what was meant for another voter was taken: {:?}", back.status()));
        }
        self.join(&back, machine).await?;
        voters.remove(&lost);
        voters.insert(back.own());
        self.become_voters(voters).await
    }

    async fn join(&mut self, joining: &MetadataQuorum, machine: usize) -> Result<(), String> {
        let peer = Peer { voter: joining.own(), address: format!("node{machine}:1") };
        self.change(move |leader| {
            let peer = peer.clone();
            Box::pin(async move { leader.add_learner(peer).await })
        })
        .await
    }

    async fn become_voters(&mut self, voters: &BTreeSet<millrace_schema::QuorumVoter>) -> Result<(), String> {
        let voters = voters.clone();
        self.change(move |leader| {
            let voters = voters.clone();
            Box::pin(async move { leader.change_voters(voters).await })
        })
        .await
    }

    /// Asks whoever leads until it is done.
    async fn change(&mut self, change: impl Fn(Arc<MetadataQuorum>) -> Change) -> Result<(), String> {
        let end = self.clock.monotonic().after(PEACE);
        let mut last = String::new();
        while self.clock.monotonic() < end {
            let quorums = (0..NODES.len()).filter_map(|machine| self.quorum(machine));
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

    /// All three have these topics in the end.
    async fn agree(&mut self, topics: &[&str]) -> Result<(), String> {
        let end = self.clock.monotonic().after(PEACE);
        let names = topics.iter().map(|text| name(text)).collect::<Result<Vec<_>, _>>()?;
        while self.clock.monotonic() < end {
            let images: Vec<_> =
                (0..NODES.len()).filter_map(|machine| Some(self.quorum(machine)?.image())).collect();
            let has_all = |image: &Arc<millrace_metadata::Image>| {
                names.iter().all(|name| image.topic_by_name(name).is_some())
            };
            if images.len() == NODES.len() && images.iter().all(has_all) {
                return Ok(());
            }
            self.pass(Duration::from_millis(100)).await?;
        }
        Err(format!("they do not agree in the end: {}", self.standing()))
    }
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn name(text: &str) -> Result<TopicName, String> {
    TopicName::new(text).map_err(told)
}
