//! The tasks of the load: each runs for ever, one step after the other, each step behind the gate.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use millrace_client::{
    Client, Compression, Delivery, NewTopic, Offset, OffsetCommit, Outcome, PartitionIndex, Producer,
    ProducerRecord,
};
use millrace_types::SyncMode;
use tokio::sync::{RwLock, mpsc};

use super::{Book, GROUP, PARTITIONS, RecordId, TOPIC};
use crate::Seed;

/// Topics that live beside the one of the producers.
const OTHER_TOPICS: usize = 3;

/// Each producer compresses differently; none where lost bytes are counted.
pub(super) fn compression_of(producer: u32, mode: SyncMode) -> Compression {
    if producer == 0 || mode != SyncMode::Always { Compression::None } else { Compression::Lz4 }
}

/// Sends records as fast as they are taken.
pub(super) struct Maker {
    pub(super) producer: Producer,
    pub(super) number: u32,
    pub(super) seed: Seed,
    pub(super) book: Arc<Book>,
}

type Outstanding = mpsc::UnboundedSender<(RecordId, Instant, Delivery)>;

impl Maker {
    pub(super) async fn run(mut self, gate: Arc<RwLock<()>>) {
        let collectors: Vec<Outstanding> = (0..PARTITIONS).map(|_| collector(&self.book)).collect();
        let mut sequences = vec![0_u64; PARTITIONS as usize];
        let topic: Arc<str> = TOPIC.into();
        loop {
            let _open = gate.read().await;
            // Uneven, so that the partitions do not all roll at the same moment.
            let drawn = self.seed.between(0, u64::from(PARTITIONS * PARTITIONS));
            let partition = u32::try_from(drawn.isqrt()).unwrap_or(0);
            let sequence = &mut sequences[partition as usize];
            let id = RecordId { producer: self.number, partition, sequence: *sequence };
            let record = ProducerRecord::new(Arc::clone(&topic), id.value());
            let record = record.partition(PartitionIndex::new(partition.cast_signed()).expect("a partition"));
            let sent = Instant::now();
            match self.producer.send(record).await {
                Ok(delivery) => {
                    *sequence += 1;
                    self.book.sent();
                    // The collector ends only with this task.
                    let _sent = collectors[partition as usize].send((id, sent, delivery));
                }
                Err(error) => {
                    self.book.blame(format!("{id:?} was not taken: {error}"));
                    return;
                }
            }
        }
    }
}

/// Waits for the outcomes of one producer in one partition, in their order.
fn collector(book: &Arc<Book>) -> Outstanding {
    let (send, mut receive) = mpsc::unbounded_channel::<(RecordId, Instant, Delivery)>();
    let book = Arc::clone(book);
    tokio::spawn(async move {
        while let Some((id, sent, delivery)) = receive.recv().await {
            book.answered(id, sent, delivery.await);
        }
    });
    send
}

/// Commits ever larger offsets for all partitions.
pub(super) async fn commit(client: Client, book: Arc<Book>, gate: Arc<RwLock<()>>) {
    let admin = client.admin();
    loop {
        let _open = gate.read().await;
        let number = book.commits.tried.fetch_add(1, Ordering::SeqCst) + 1;
        let commits: Vec<OffsetCommit> =
            (0..PARTITIONS.cast_signed()).map(|index| offset_commit(index, number)).collect();
        book.commits.calling.store(true, Ordering::SeqCst);
        let outcome = admin.commit_offsets(GROUP, &commits).await;
        book.commits.calling.store(false, Ordering::SeqCst);
        match outcome {
            Ok(parts) if parts.iter().all(Result::is_ok) => {
                book.commits.acked.store(number, Ordering::SeqCst)
            }
            Ok(parts) => {
                let refused = parts.iter().filter_map(|part| part.as_ref().err());
                for refusal in refused.filter(|refusal| refusal.outcome == Outcome::Definite) {
                    book.blame(format!("a commit was refused: {refusal}"));
                }
            }
            // Nobody knows whether it counts; the next one is larger.
            Err(error) if error.outcome() == Outcome::Indefinite => {}
            Err(error) => book.blame(format!("a commit failed: {error}")),
        }
    }
}

fn offset_commit(index: i32, number: i64) -> OffsetCommit {
    OffsetCommit {
        topic: TOPIC.to_owned(),
        partition: PartitionIndex::new(index).expect("a partition"),
        offset: Offset::new(number).expect("an offset"),
        leader_epoch: None,
        metadata: format!("commit {number}"),
    }
}

/// Makes topics and deletes the oldest.
pub(super) async fn change_topics(client: Client, book: Arc<Book>, gate: Arc<RwLock<()>>) {
    let admin = client.admin();
    let topics = &book.topics;
    for number in 0_u64.. {
        let _open = gate.read().await;
        let name = format!("passing-{number:09}");
        topics.begin(&name);
        topics.creating.store(true, Ordering::SeqCst);
        let created = admin.create_topic(NewTopic::new(&name).partitions(2)).await;
        topics.creating.store(false, Ordering::SeqCst);
        topics.created(&name, created.map(drop));
        if topics.count() <= OTHER_TOPICS {
            continue;
        }
        let Some(oldest) = topics.oldest() else { continue };
        topics.deleting.store(true, Ordering::SeqCst);
        let deleted = admin.delete_topic(&oldest).await;
        topics.deleting.store(false, Ordering::SeqCst);
        topics.deleted(&oldest, deleted);
    }
}
