//! Readers: from offset 0, and from where somebody else was, with the epochs of KIP-320 and without.

use std::sync::Arc;
use std::time::Duration;

use millrace_broker::{ApiError, Broker, FetchRequest, Fetched, Isolation, PartitionFetch, TopicRef};
use millrace_env::BoxFuture;
use millrace_record::split_batches;
use millrace_types::{ErrorCode, LeaderEpoch, NodeId, Offset, TopicName, TopicPartition};

use super::{Client, No};
use crate::caller::ctx;

/// How long a broker may wait for records.
const WAIT: Duration = Duration::from_millis(300);

/// Where a reader is.
struct Position {
    name: TopicName,
    at: TopicPartition,
    next: u64,
    /// The epoch of the last record that it read.
    last_epoch: Option<LeaderEpoch>,
    node: NodeId,
    /// The epoch of the leader that it asks, if it goes by epochs.
    leader_epoch: Option<LeaderEpoch>,
}

/// A record as it was read.
pub(in super::super) struct Found {
    pub(in super::super) offset: u64,
    pub(in super::super) value: u64,
    epoch: LeaderEpoch,
}

/// Records of stored batches.
///
/// # Errors
/// They are not what was sent.
pub(in super::super) fn records_of(extents: Vec<bytes::Bytes>) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    for batch in extents.into_iter().flat_map(split_batches) {
        let batch = batch.map_err(|error| format!("a batch is broken: {error}"))?;
        let epoch = batch.leader_epoch();
        for record in batch.records().map_err(|error| error.to_string())? {
            let record = record.map_err(|error| error.to_string())?;
            let text = record.value.as_deref().and_then(|value| std::str::from_utf8(value).ok());
            let number =
                text.and_then(|text| text.split_once(':')).and_then(|(number, _)| number.parse().ok());
            let Some(value) = number else { return Err(format!("{text:?} was never sent")) };
            let offset = u64::try_from(record.offset.get()).map_err(|error| error.to_string())?;
            found.push(Found { offset, value, epoch });
        }
    }
    Ok(found)
}

impl Client {
    /// Reads until the world closes.
    pub(in super::super) async fn read(self) {
        let by_epochs = self.rng.chance(2, 3);
        let mut position: Option<Position> = None;
        while !self.is_closing() {
            let mut here = match position.take() {
                Some(here) if !self.rng.chance(1, 60) => here,
                _ => match self.begin() {
                    Some(here) => here,
                    None => {
                        self.sleep(200).await;
                        continue;
                    }
                },
            };
            if by_epochs && here.leader_epoch.is_none() {
                self.look_up(&mut here).await;
            }
            if self.fetch(&mut here).await {
                position = Some(here);
            }
        }
    }

    /// A partition, and an offset in what is known of it.
    fn begin(&self) -> Option<Position> {
        self.mark(|marks| marks.reads_again += 1);
        let state = self.shared.state.lock();
        let parts = state.truth.living();
        let (name, at) = self.rng.pick(&parts)?.clone();
        let end = state.truth.end(at);
        let next = if self.rng.chance(1, 2) { 0 } else { self.rng.below(end + 1) };
        drop(state);
        Some(Position { name, at, next, last_epoch: None, node: self.anybody(), leader_epoch: None })
    }

    /// Asks somebody who leads.
    async fn look_up(&self, here: &mut Position) {
        let topic = TopicRef::Id(here.at.topic);
        let describe = move |broker: Arc<Broker>| -> BoxFuture<_> {
            let topic = topic.clone();
            Box::pin(async move { broker.describe_topic(&ctx(), topic).await })
        };
        if let Ok(topic) = self.ask(self.anybody(), describe).await
            && let Some(part) = topic.partitions.iter().find(|part| part.partition == here.at.partition)
            && let Some(leader) = part.leader
        {
            here.node = leader;
            here.leader_epoch = Some(part.leader_epoch);
        }
    }

    /// Reads once; `false` if there is nothing to be read there any more.
    async fn fetch(&self, here: &mut Position) -> bool {
        let fetch = PartitionFetch {
            topic: TopicRef::Both(here.name.clone(), here.at.topic),
            partition: here.at.partition,
            offset: Offset::from_count(here.next),
            end_offset: None,
            bytes_max: None,
            last_read_epoch: here.last_epoch.filter(|_| here.leader_epoch.is_some()),
            leader_epoch: here.leader_epoch,
        };
        let bytes_max = if self.rng.chance(1, 4) { 300 } else { 1 << 16 };
        let request = FetchRequest {
            partitions: vec![fetch],
            bytes_max,
            bytes_min: 1,
            wait: WAIT,
            isolation: Isolation::Committed,
        };
        let read = move |broker: Arc<Broker>| -> BoxFuture<Result<Fetched, ApiError>> {
            let request = request.clone();
            Box::pin(async move {
                let mut answer = broker.fetch(&ctx(), request).await?;
                let none = || Err(ApiError::new(ErrorCode::Internal, "an answer without partitions"));
                answer.partitions.pop().unwrap_or_else(none)
            })
        };
        match self.ask(here.node, read).await {
            Ok(fetched) => {
                self.take(here, fetched);
                self.sleep(60).await;
                true
            }
            Err(no) => {
                self.tell(|| format!("{} from {} at {}: {no:?}", here.at, here.next, here.node));
                self.note(&no);
                if self.shared.state.lock().truth.is_doomed(here.at.topic) {
                    return false;
                }
                if let No::Error(error) = &no
                    && !error.code.is_retriable()
                {
                    let said = format!(
                        "{} from {} (read in {:?}, leader in {:?}) at {}: {error:?}",
                        here.at, here.next, here.last_epoch, here.leader_epoch, here.node
                    );
                    self.breaks(&said);
                    return false;
                }
                here.node = self.follow(&no);
                here.leader_epoch = None;
                self.sleep(100).await;
                true
            }
        }
    }

    fn take(&self, here: &mut Position, fetched: Fetched) {
        let next_offset = fetched.next_offset;
        let found = match records_of(fetched.extents) {
            Ok(found) => found,
            Err(broken) => return self.breaks(&format!("{}: {broken}", here.at)),
        };
        let new: Vec<Found> = found.into_iter().filter(|found| found.offset >= here.next).collect();
        let Some(last) = new.last() else { return };
        self.mark(|marks| marks.reads += 1);
        self.tell(|| format!("{} {} to {} by {}", here.at, here.next, last.offset, here.node));
        for found in &new {
            if found.offset != here.next {
                let (due, offset) = (here.next, found.offset);
                return self.breaks(&format!("{}: {offset} was read where {due} is due", here.at));
            }
            self.shared.state.lock().truth.lies(here.at, found.offset, found.value, "read");
            here.next += 1;
            here.last_epoch = Some(found.epoch);
        }
        if next_offset != Offset::from_count(here.next) {
            self.breaks(&format!("{}: {next_offset} is said to be next, {} is", here.at, here.next));
        }
    }
}
