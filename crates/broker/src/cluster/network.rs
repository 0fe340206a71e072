//! The quorum's way to its peers, which also tells who cannot be reached.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_env::BoxFuture;
use millrace_quorum::{CallError, Peer, QuorumAnswer, QuorumNetwork, QuorumRequest};
use millrace_types::NodeId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::peers::Peers;

/// Where nodes say that they are. The members of the quorum know each other by the addresses of the day on which they
/// joined; who has moved says so when it starts.
#[derive(Debug, Default)]
pub(crate) struct AddressBook {
    said: Mutex<BTreeMap<NodeId, String>>,
}

impl AddressBook {
    pub(crate) fn note(&self, node: NodeId, address: &str) {
        self.said.lock().insert(node, address.to_owned());
    }

    /// Where a peer is.
    pub(crate) fn find(&self, peer: &Peer) -> String {
        let said = self.said.lock().get(&peer.voter.node).cloned();
        said.unwrap_or_else(|| peer.address.clone())
    }
}

/// Nodes whose connection was refused or has broken lately.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    nodes: Mutex<BTreeMap<NodeId, String>>,
    more: Notify,
}

impl Suspects {
    pub(crate) fn add(&self, node: NodeId, why: String) {
        self.nodes.lock().insert(node, why);
        self.more.notify_one();
    }

    pub(crate) fn take(&self) -> BTreeMap<NodeId, String> {
        std::mem::take(&mut *self.nodes.lock())
    }

    /// Completes when somebody is suspected, for one waiter.
    pub(crate) async fn more(&self) {
        self.more.notified().await;
    }
}

/// See above.
#[derive(Debug)]
pub(crate) struct WatchedNetwork {
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) book: Arc<AddressBook>,
    pub(crate) suspects: Arc<Suspects>,
}

impl QuorumNetwork for WatchedNetwork {
    fn call(
        &self,
        to: &Peer,
        request: QuorumRequest,
        within: Duration,
    ) -> BoxFuture<Result<QuorumAnswer, CallError>> {
        let node = to.voter.node;
        let to = Peer { address: self.book.find(to), ..to.clone() };
        let call = self.peers.call(&to, request, within);
        let suspects = Arc::clone(&self.suspects);
        Box::pin(async move {
            let answer = call.await;
            if let Err(CallError::Unreachable(why)) = &answer {
                suspects.add(node, why.clone());
            }
            answer
        })
    }
}
