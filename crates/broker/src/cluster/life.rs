//! The life of this broker in its cluster: it says where it is, registers, is heard, and takes its leave.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::{Command, StartBroker};
use millrace_types::{BrokerEpoch, ErrorCode, NodeId};

use super::Cluster;
use super::metadata::strange;
use super::peers::{Greeting, HeartbeatAnswer, PeerAnswer, PeerError, PeerHeartbeat, PeerRequest};
use super::unreported;
use crate::ApiError;

/// How often it is heard; three quarters of a session may be lost.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(500);
/// A broker that is not active yet, or wants to stop, is in a hurry.
const HURRIED_EVERY: Duration = Duration::from_millis(25);
/// How long one call may take.
const CALL_WITHIN: Duration = Duration::from_secs(2);
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Lives, for ever.
pub(crate) async fn run(cluster: Arc<Cluster>) {
    cluster.greet_all().await;
    let epoch = cluster.register().await;
    cluster.replicas.registered(epoch);
    tracing::info!(node = %cluster.me, %epoch, "this broker is registered");
    let mut greeted: Option<NodeId> = None;
    loop {
        let leader = cluster.metadata().leader();
        if let Some((node, address)) = leader.clone()
            && greeted != Some(node)
            && cluster.greet(&address).await.is_some()
        {
            greeted = Some(node);
        }
        let answer = cluster.be_heard(epoch).await;
        let draining = *cluster.draining.borrow();
        let mut hurried = draining;
        match answer {
            Ok(HeartbeatAnswer { registered: true, active, may_stop }) => {
                cluster.active.send_replace(active);
                cluster.may_stop.send_replace(draining && may_stop);
                hurried = hurried || !active;
            }
            Ok(HeartbeatAnswer { registered: false, .. }) => {
                cluster.active.send_replace(false);
                tracing::error!(node = %cluster.me, %epoch, "this broker is registered no more: it was removed, or another process has its node id");
            }
            Err(error) => {
                tracing::debug!(%error, "the controller was not reached");
                hurried = true;
            }
        }
        let pause = if hurried { HURRIED_EVERY } else { HEARTBEAT_EVERY };
        let mut draining = cluster.draining.subscribe();
        tokio::select! {
            biased;
            // It is told at once that this broker wants to stop.
            _ = draining.wait_for(|draining| *draining), if !hurried => {}
            () = cluster.env.clock.sleep(pause) => {}
        }
    }
}

impl Cluster {
    /// Tells every node that is known where this one is; until it is a member, again and again.
    async fn greet_all(&self) {
        let own = self.quorum().own();
        loop {
            let status = self.quorum().status();
            let is_member = status.members.nodes.contains_key(&own);
            let known = status.members.nodes.iter().filter(|(voter, _)| **voter != own);
            let mut addresses: BTreeSet<String> = known.map(|(_, address)| address.clone()).collect();
            addresses.extend(self.options.join.iter().cloned());
            addresses.remove(&self.options.internal);
            let mut reached = addresses.is_empty();
            for address in addresses {
                if let Some(Some(leader)) = self.greet(&address).await {
                    reached = true;
                    // Only the leader can bring it in.
                    if leader != address {
                        let _answer = self.greet(&leader).await;
                    }
                }
            }
            if is_member || (reached && self.quorum().status().members.nodes.contains_key(&own)) {
                return;
            }
            self.env.clock.sleep(RETRY_AFTER).await;
        }
    }

    /// Says who and where this node is; answers who leads, if that is known there. `None`: nobody has heard it.
    async fn greet(&self, address: &str) -> Option<Option<String>> {
        let greeting = Greeting { voter: Some(self.quorum().own()), internal: self.options.internal.clone() };
        match self.ask(address, PeerRequest::Greet(greeting), CALL_WITHIN).await {
            Ok(PeerAnswer::Greeted(greeted)) => {
                Some(greeted.leader.filter(|(node, _)| *node != self.me).map(|(_, address)| address))
            }
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(address, %error, "a node was not reached");
                None
            }
        }
    }

    /// Asks for an epoch until there is one.
    async fn register(&self) -> BrokerEpoch {
        let mut said = String::new();
        loop {
            let wanted = Command::StartBroker(StartBroker {
                node: self.me,
                incarnation: self.incarnation,
                directory: self.directory,
                grpc: self.options.grpc.clone(),
                kafka: self.options.kafka.clone(),
                internal: self.options.internal.clone(),
                losses: self.found.losses,
                damaged: self.found.damaged.clone(),
            });
            let outcome = self.metadata().propose(&wanted).await;
            let image = self.quorum().image();
            if let Some(broker) = image.broker(self.me)
                && broker.incarnation == Some(self.incarnation)
            {
                if let Err(error) = unreported::forget(&self.env, &self.data_dir) {
                    tracing::warn!(%error, "what was lost will be told again");
                }
                return broker.epoch;
            }
            if let Err(error) = outcome {
                let text = error.to_string();
                if text != said {
                    tracing::warn!(%error, "this broker is not registered yet");
                    said = text;
                }
            }
            self.env.clock.sleep(RETRY_AFTER).await;
        }
    }

    async fn be_heard(&self, epoch: BrokerEpoch) -> Result<HeartbeatAnswer, ApiError> {
        let says = PeerHeartbeat {
            node: self.me,
            epoch,
            applied: self.metadata().applied(),
            draining: *self.draining.borrow(),
        };
        if self.metadata().leads() {
            return self.heartbeat(says).await;
        }
        let unavailable = |why: String| ApiError::new(ErrorCode::QuorumUnavailable, why);
        let nobody = || unavailable("nobody leads the metadata quorum".to_owned());
        let (_, address) =
            self.metadata().leader().filter(|(node, _)| *node != self.me).ok_or_else(nobody)?;
        match self.ask(&address, PeerRequest::Heartbeat(says), CALL_WITHIN).await {
            Ok(PeerAnswer::Heartbeat(answer)) => Ok(answer),
            Ok(_) => Err(strange(&address)),
            Err(PeerError::Refused(error)) => Err(error),
            Err(error) => Err(unavailable(error.to_string())),
        }
    }
}
