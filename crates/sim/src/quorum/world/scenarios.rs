//! Histories that are told, not drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::Command;
use millrace_quorum::{MetadataQuorum, Peer, QuorumRole};
use millrace_types::{DirectoryId, TopicName};

use super::{NODES, PEACE, World, topic};
use millrace_env::Clock;

pub(in crate::quorum) fn grow_and_replace(seed: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    let mut world = World::new(seed, 3);
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

    /// All three have these topics in the end.
    async fn agree(&mut self, topics: &[&str]) -> Result<(), String> {
        let end = self.clock.monotonic().after(PEACE);
        let names = topics.iter().map(|text| name(text)).collect::<Result<Vec<_>, _>>()?;
        while self.clock.monotonic() < end {
            let images: Vec<_> =
                (0..self.machines.len()).filter_map(|machine| Some(self.quorum(machine)?.image())).collect();
            let has_all = |image: &Arc<millrace_metadata::Image>| {
                names.iter().all(|name| image.topic_by_name(name).is_some())
            };
            if images.len() == self.machines.len() && images.iter().all(has_all) {
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
