//! What a leader says for certain: while a majority can be asked, and while it cannot.

use super::*;
use crate::{Begin, PartitionSubscribe, SubscribeRequest, TopicRef};

/// A batch of a producer, and why it was refused.
async fn send(broker: &Broker, sequence: SequenceStart) -> Option<ErrorCode> {
    let request = produce_request(vec![plain("a", 0, &["1"], Some(sequence))]);
    let answer = broker.produce(&ctx(), request).await.unwrap().acknowledged().await;
    answer.partitions.into_iter().next().unwrap().err().map(|error| error.code)
}

async fn fetch_beyond(broker: &Broker) -> Option<ErrorCode> {
    let answer = broker.fetch(&ctx(), fetch_request(vec![from("a", 0, 500)], Duration::ZERO)).await;
    answer.unwrap().partitions.remove(0).err().map(|error| error.code)
}

async fn subscribe_beyond(broker: &Broker) -> Option<ErrorCode> {
    let part = PartitionSubscribe {
        topic: TopicRef::Name(TopicName::new("a").unwrap()),
        partition: PartitionIndex(0),
        begin: Begin::Offset(Offset::from_count(500)),
        end: None,
        last_read_epoch: None,
    };
    let request =
        SubscribeRequest { partitions: vec![part], bytes_max: 1_000, isolation: Isolation::Committed };
    let message = broker.subscribe(&ctx(), request).await.unwrap().next().await.unwrap().unwrap();
    message.parts.into_iter().next().unwrap().result.err().map(|error| error.code)
}

/// What it says of a gap in what a producer has sent, and of a place behind the end, to a fetch and to a subscription.
async fn said(broker: &Broker, gap: SequenceStart) -> [Option<ErrorCode>; 3] {
    let (sent, fetched, subscribed) =
        tokio::join!(send(broker, gap), fetch_beyond(broker), subscribe_beyond(broker));
    [sent, fetched, subscribed]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_cannot_ask_whether_it_was_replaced_says_nothing_for_certain() {
    let cluster = Cluster::new();
    let brokers = cluster.three().await;
    within("the topic", brokers[0].create_topic(&ctx(), new_topic("a", 1))).await.unwrap();
    within("a produce", produced(&brokers, "a", "x")).await;
    let producer = brokers[0].init_producer(&ctx()).await.unwrap();
    let at = |base_sequence| SequenceStart { id: producer.id, epoch: producer.epoch, base_sequence };
    let leader = &brokers[usize::try_from(leader_of(&brokers[0], "a")).unwrap() - 1];
    assert_eq!(within("a batch", send(leader, at(0))).await, None);
    let certain = [Some(ErrorCode::OutOfOrderSequence), Some(ErrorCode::OffsetOutOfRange)];
    assert_eq!(within("its word", said(leader, at(7))).await, [certain[0], certain[1], certain[1]]);
    // Nobody reaches anybody any more.
    let wires = std::mem::take(&mut *cluster.wires.brokers.lock());
    let doubtful = [Some(ErrorCode::NotLeader), Some(ErrorCode::OffsetNotAvailable)];
    let answers = within("its word, cut off", said(leader, at(7))).await;
    assert_eq!(answers, [doubtful[0], doubtful[1], doubtful[1]]);
    *cluster.wires.brokers.lock() = wires;
    cluster.stop_all(&brokers).await;
}
