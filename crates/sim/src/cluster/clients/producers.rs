//! Producers: idempotent ones, which send a batch again until they hear where it lies, and plain ones, which give up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_broker::{
    ApiError, Broker, Durability, NewRecord, PartitionProduce, ProduceData, ProduceRequest, Produced,
    SequenceStart, TopicRef,
};
use millrace_env::{BoxFuture, Clock};
use millrace_record::Compression;
use millrace_types::{ErrorCode, NodeId, Outcome, ProducerEpoch, ProducerId, TopicName, TopicPartition};

use super::{Client, No};
use crate::caller::ctx;

/// How often a plain producer tries.
const TRIES: usize = 4;
/// How long a broker may take to commit a batch.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What is sent to one partition at once.
#[derive(Clone)]
struct Outgoing {
    name: TopicName,
    at: TopicPartition,
    values: Vec<u64>,
    sequence: Option<SequenceStart>,
    padding: usize,
    /// How long the leader's disk takes.
    disk: Duration,
}

impl Outgoing {
    fn request(&self) -> ProduceRequest {
        let record = |value: &u64| NewRecord {
            key: None,
            value: Some(Bytes::from(format!("{value}:{}", "x".repeat(self.padding)))),
            headers: Vec::new(),
            timestamp: None,
        };
        let records = self.values.iter().map(record).collect();
        let data = ProduceData::Records { records, sequence: self.sequence, compression: Compression::None };
        let topic = TopicRef::Both(self.name.clone(), self.at.topic);
        let part = PartitionProduce { topic, partition: self.at.partition, data };
        ProduceRequest { partitions: vec![part], durability: Durability::Committed, timeout: Some(TIMEOUT) }
    }
}

/// What the door of a broker does with a produce.
fn serve(
    broker: Arc<Broker>,
    out: Outgoing,
    clock: Arc<millrace_env::sim::SimClock>,
) -> BoxFuture<Result<Produced, ApiError>> {
    Box::pin(async move {
        let pending = broker.produce(&ctx(), out.request()).await?;
        // Written, and not synced yet: whoever polls the acknowledgement syncs.
        clock.sleep(out.disk).await;
        let answer = pending.acknowledged().await.partitions.pop();
        answer.unwrap_or_else(|| Err(ApiError::new(ErrorCode::Internal, "an answer without partitions")))
    })
}

impl Client {
    /// Produces until the world closes.
    pub(in super::super) async fn produce(self, think_ms: u64, disk_us: u64) {
        let id = if self.rng.chance(3, 4) { self.identity().await } else { None };
        let mut sequences: BTreeMap<TopicPartition, i32> = BTreeMap::new();
        let mut leaders: BTreeMap<TopicPartition, NodeId> = BTreeMap::new();
        while !self.is_closing() {
            self.sleep(think_ms).await;
            let parts = self.shared.state.lock().truth.living();
            let Some((name, at)) = self.rng.pick(&parts).cloned() else { continue };
            let count = 1 + self.rng.below(3);
            let values = self.shared.state.lock().truth.send(at, count);
            let next = sequences.entry(at).or_insert(0);
            let sequence = id.map(|id| SequenceStart { id, epoch: ProducerEpoch(0), base_sequence: *next });
            *next += i32::try_from(count).unwrap_or(0);
            let padding = if self.rng.chance(1, 8) { 2_000 } else { 10 };
            let disk = Duration::from_micros(self.rng.below(disk_us + 1));
            let out = Outgoing { name, at, values, sequence, padding, disk };
            let leader = leaders.entry(at).or_insert_with(|| self.anybody());
            match sequence {
                Some(_) => self.insist(out, leader).await,
                None => self.try_some(out, leader).await,
            }
        }
    }

    async fn identity(&self) -> Option<ProducerId> {
        while !self.is_closing() {
            let init = |broker: Arc<Broker>| -> BoxFuture<_> {
                Box::pin(async move { broker.init_producer(&ctx()).await })
            };
            match self.ask(self.anybody(), init).await {
                Ok(identity) => {
                    self.mark(|marks| marks.ids += 1);
                    self.shared.state.lock().truth.given(identity.id.0);
                    return Some(identity.id);
                }
                Err(no) => self.tell(|| format!("no id: {no:?}")),
            }
            self.sleep(200).await;
        }
        None
    }

    async fn attempt(&self, out: &Outgoing, node: NodeId) -> Result<Produced, No> {
        let (clock, sent) = (Arc::clone(&self.shared.clock), out.clone());
        let send = move |broker| serve(broker, sent.clone(), Arc::clone(&clock));
        let answer = self.ask(node, send).await;
        match &answer {
            Ok(produced) => {
                self.mark(|marks| {
                    marks.produced += 1;
                    marks.duplicates += u64::from(produced.duplicate);
                });
                self.tell(|| {
                    format!("{} {:?} lie at {} by {node}", out.at, out.values, produced.base_offset)
                });
                let base = produced.base_offset.get();
                self.shared.state.lock().truth.acknowledge(out.at, base, &out.values);
                let count = produced.last_offset.get() - base + 1;
                if usize::try_from(count) != Ok(out.values.len()) {
                    self.breaks(&format!("{:?} were acknowledged as {count} records", out.values));
                }
            }
            Err(no) => {
                self.tell(|| format!("{} {:?} at {node}: {no:?}", out.at, out.values));
                self.note(no);
            }
        }
        answer
    }

    /// Sends a batch again until it is acknowledged, or its topic goes.
    async fn insist(&self, out: Outgoing, leader: &mut NodeId) {
        loop {
            let Err(no) = self.attempt(&out, *leader).await else { return };
            if self.shared.state.lock().truth.is_doomed(out.at.topic) {
                return;
            }
            // Not even a leader that is none any more, and does not know it, may speak of a gap: who leads has the batches before this.
            if let No::Error(error) = &no
                && !error.code.is_retriable()
            {
                let said = format!("a batch is refused for good by {leader}: {error:?}, {:?}", out.sequence);
                return self.breaks(&said);
            }
            self.mark(|marks| marks.retried += 1);
            *leader = self.follow(&no);
            self.sleep(100).await;
        }
    }

    /// Sends a batch again only while it was certainly not taken.
    async fn try_some(&self, out: Outgoing, leader: &mut NodeId) {
        for _ in 0..TRIES {
            let Err(no) = self.attempt(&out, *leader).await else { return };
            *leader = self.follow(&no);
            let is_definite = match &no {
                No::Error(error) => error.code.outcome() == Outcome::Definite,
                No::Unanswered(why) => *why == super::Unanswered::Unheard,
            };
            if !is_definite {
                self.mark(|marks| marks.in_doubt += 1);
                return;
            }
            self.sleep(100).await;
        }
        self.mark(|marks| marks.refused += 1);
        self.shared.state.lock().truth.refuse(out.at, &out.values);
    }
}
