//! Finding out who leads: one task for all of a client's producers and readers, as long as somebody wants to know.

use std::collections::BTreeSet;
use std::time::Duration;

use millrace_proto::v1;
use millrace_types::{NodeId, TopicId, TopicPartition};

use super::{Client, deserves_another_server};
use crate::ClientError;
use crate::admin::leaderships;
use crate::backoff::Backoff;
use crate::connection::Rpc;
use crate::whereabouts::Place;

/// How long one broker may take to say where things are, before another one is asked.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause of whoever waits for a look-up.
pub(crate) const LOOK_UP_PAUSE: Duration = Duration::from_millis(50);

impl Client {
    /// Who leads a partition; has it looked up if nobody knows.
    pub(crate) fn leader(&self, at: TopicPartition) -> Place {
        let place = self.whereabouts().leader(at);
        let is_missing = place == Place::Home && self.whereabouts().is_cluster();
        if is_missing || place == Place::Unknown {
            self.look_up(at.topic);
        }
        place
    }

    /// Where to ask for a partition now; `None` while that is being looked up: to be asked again after [`LOOK_UP_PAUSE`].
    pub(crate) fn server_of(&self, at: TopicPartition) -> Option<String> {
        match self.leader(at) {
            Place::Home => Some(self.home()),
            Place::At(server) => Some(server),
            Place::Unknown => None,
        }
    }

    /// Has the leaders of a topic looked up.
    pub(crate) fn look_up(&self, topic: TopicId) {
        if self.whereabouts().want(topic) {
            let client = self.clone();
            // It ends by itself when nobody wants to know any more.
            drop(self.env().tasks.spawn("leaders", Box::pin(client.keep_looking())));
        }
    }

    async fn keep_looking(self) {
        let mut backoff = Backoff::following(self.options());
        loop {
            let topics = self.whereabouts().next_round();
            if topics.is_empty() {
                return;
            }
            let server = self.next_server();
            match self.ask_where(&server, topics).await {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    tracing::debug!(%server, %error, "who leads is not known yet");
                    if deserves_another_server(&error) {
                        self.leave(&server);
                    }
                }
            }
            let pause = backoff.next(&*self.env().rng);
            self.env().clock.sleep(pause).await;
        }
    }

    /// Asks one broker, which may be behind: another one is asked the next time.
    async fn ask_where(&self, server: &str, topics: BTreeSet<TopicId>) -> Result<(), ClientError> {
        let send = |mut rpc: Rpc, request| async move { rpc.describe_cluster(request).await };
        let request = v1::DescribeClusterRequest {};
        let cluster = self.attempt(server, LOOK_UP_TIMEOUT, request, &send).await?;
        self.learn_brokers(cluster);
        for id in topics {
            let send = |mut rpc: Rpc, request| async move { rpc.describe_topic(request).await };
            let request = v1::DescribeTopicRequest { topic: Some(v1::TopicRef::by_id(id)) };
            match self.attempt(server, LOOK_UP_TIMEOUT, request, &send).await {
                Ok(answer) => self.whereabouts().learn_leaders(leaderships(id, &answer)),
                // Of one topic: whoever reads or writes it is told so as well.
                Err(ClientError::Refused(refusal)) => tracing::debug!(topic = %id, %refusal, "no leaders"),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes what a broker says of all.
    pub(super) fn learn_brokers(&self, cluster: v1::DescribeClusterResponse) {
        let brokers = cluster.brokers.into_iter();
        self.whereabouts().learn_brokers(brokers.map(|broker| (NodeId(broker.node), broker.grpc)));
        let mut servers = self.inner.servers.lock();
        servers.truncate(self.inner.bootstrap);
        for address in self.whereabouts().addresses() {
            if !servers.contains(&address) {
                servers.push(address);
            }
        }
    }
}
