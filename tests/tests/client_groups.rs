//! Consumers that share a topic: who joins, leaves or dies moves what must move, and every record is handed out.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::BoxFuture;
use millrace_client::{
    AssignedPartition, Client, CommitError, CommitFailure, ConsumeError, ConsumerBuilder, ConsumerHandle,
    ErrorCode, NewTopic, Offset, PartitionIndex, Position, ProducerRecord, RebalanceCallbacks,
};
use millrace_tests::embedded::Embedded;
use millrace_tests::group_log::{Told, What, Worker, poll_until, share, times_handed};

const TOPIC: &str = "work";
const GROUP: &str = "workers";

/// Appends `count` records to each of so many partitions.
async fn fill(client: &Client, topic: &str, partitions: u32, count: u32) {
    let producer = client.producer().build().unwrap();
    for n in 0..count * partitions {
        let record = ProducerRecord::new(topic, n.to_string()).partition(PartitionIndex(n % partitions));
        drop(producer.send(record).await.unwrap());
    }
    producer.close().await.unwrap();
}

/// A consumer of the group that commits often.
fn consumer(client: &Client) -> ConsumerBuilder {
    client.consumer(GROUP).topic(TOPIC).auto_commit(Duration::from_millis(50))
}

async fn worker(client: &Client) -> Worker {
    Worker::new(consumer(client).start().await.unwrap())
}

/// What the group has committed, by partition.
async fn committed(client: &Client) -> Vec<i64> {
    let mut found = client.admin().fetch_offsets(GROUP, &[]).await.unwrap();
    found.sort_by_key(|committed| committed.partition);
    found.iter().map(|committed| committed.offset.map_or(-1, Offset::get)).collect()
}

/// Every record of the partitions, once.
fn each_once(workers: &[Worker], partitions: u32, count: u32) {
    let times = times_handed(workers);
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "handed out twice though nobody died: {twice:?}");
    assert_eq!(times.len(), (partitions * count) as usize);
}

#[tokio::test]
async fn three_consumers_share_a_topic_and_hand_out_each_record_once() {
    let broker = Embedded::start().await;
    broker.topic(TOPIC, 6).await;
    let client = broker.client(&[]).await;
    let mut workers = vec![worker(&client).await, worker(&client).await, worker(&client).await];
    poll_until(&mut workers, "two each", |workers| share(workers, &[2, 2, 2])).await;
    fill(&client, TOPIC, 6, 200).await;
    poll_until(&mut workers, "all records", |workers| times_handed(workers).len() == 1200).await;
    each_once(&workers, 6, 200);
    for worker in workers {
        worker.consumer.close().await;
    }
    assert_eq!(committed(&client).await, [200; 6], "what was handed out is committed at the end");
}

#[tokio::test]
async fn who_joins_takes_over_where_the_others_let_go_and_nothing_is_read_twice() {
    let broker = Embedded::start().await;
    broker.topic(TOPIC, 4).await;
    let client = broker.client(&[]).await;
    fill(&client, TOPIC, 4, 2_000).await;
    let first = consumer(&client).poll_records_max(10).start().await.unwrap();
    let mut workers = vec![Worker::new(first)];
    poll_until(&mut workers, "a beginning", |workers| workers[0].handed.len() > 100).await;
    workers.push(Worker::new(consumer(&client).poll_records_max(10).start().await.unwrap()));
    poll_until(&mut workers, "two each", |workers| share(workers, &[2, 2])).await;
    assert!(workers[0].handed.len() < 8_000, "the move happens in the middle of the topic");
    poll_until(&mut workers, "all records", |workers| times_handed(workers).len() == 8_000).await;
    each_once(&workers, 4, 2_000);
}

#[tokio::test]
async fn who_leaves_hands_over_at_once_and_the_others_keep_theirs() {
    let broker = Embedded::start().await;
    broker.topic(TOPIC, 6).await;
    let client = broker.client(&[]).await;
    let told = Told::default();
    let stays = consumer(&client).callbacks(told.clone()).start().await.unwrap();
    let mut workers = vec![Worker::new(stays), worker(&client).await, worker(&client).await];
    poll_until(&mut workers, "two each", |workers| share(workers, &[2, 2, 2])).await;
    let kept = workers[0].partitions();
    let revoked = told.count(What::Revoked);
    fill(&client, TOPIC, 6, 100).await;
    poll_until(&mut workers, "all records", |workers| times_handed(workers).len() == 600).await;
    workers.pop().unwrap().consumer.close().await;
    poll_until(&mut workers, "three each", |workers| share(workers, &[3, 3])).await;
    assert!(workers[0].partitions().is_superset(&kept));
    assert_eq!((told.count(What::Revoked), told.count(What::Lost)), (revoked, 0), "{:?}", told.calls());
    let handed = |workers: &[Worker]| workers.iter().map(|worker| worker.handed.len()).sum::<usize>();
    let before = handed(&workers);
    fill(&client, TOPIC, 6, 100).await;
    poll_until(&mut workers, "the rest", |workers| handed(workers) == before + 600).await;
    assert!(times_handed(&workers).values().all(|times| *times == 1));
}

#[tokio::test]
async fn who_is_dropped_without_leaving_is_replaced_and_its_records_are_read_again_from_the_commit() {
    let broker = Embedded::start().await;
    broker.topic(TOPIC, 2).await;
    let client = broker.client(&[]).await;
    fill(&client, TOPIC, 2, 100).await;
    // On a connection of its own, as another process has one.
    let other = broker.client(&[]).await;
    let dies = other.consumer(GROUP).topic(TOPIC).manual_commit().start().await.unwrap();
    let mut dead = vec![Worker::new(dies)];
    poll_until(&mut dead, "all records", |workers| workers[0].handed.len() == 200).await;
    drop(dead);
    let mut workers = vec![worker(&client).await];
    poll_until(&mut workers, "all of them again", |workers| times_handed(workers).len() == 200).await;
    each_once(&workers, 2, 100);
}

#[tokio::test]
async fn a_topic_that_grows_is_read_whole() {
    let broker = Embedded::start().await;
    broker.topic(TOPIC, 2).await;
    let client = broker.client(&[]).await;
    let mut workers = vec![worker(&client).await, worker(&client).await];
    poll_until(&mut workers, "one each", |workers| share(workers, &[1, 1])).await;
    client.admin().create_partitions(TOPIC, 6).await.unwrap();
    poll_until(&mut workers, "three each", |workers| share(workers, &[3, 3])).await;
    fill(&broker.client(&[]).await, TOPIC, 6, 20).await;
    poll_until(&mut workers, "all records", |workers| times_handed(workers).len() == 120).await;
    each_once(&workers, 6, 20);
}

#[tokio::test]
async fn a_pattern_takes_up_topics_that_come_later_and_no_others() {
    let broker = Embedded::start().await;
    let client = broker.client(&[]).await;
    let mut consumer = client.consumer(GROUP).pattern("orders-[a-z]+").start().await.unwrap();
    assert!(consumer.assignment().is_empty());
    for topic in ["orders-eu", "orders-7", "old-orders-eu"] {
        client.admin().create_topic(NewTopic::new(topic).partitions(1)).await.unwrap();
        fill(&client, topic, 1, 5).await;
    }
    let mut topics = BTreeSet::new();
    for _ in 0..5 {
        topics.insert(consumer.next().await.unwrap().unwrap().topic.to_string());
    }
    assert_eq!(topics.into_iter().collect::<Vec<_>>(), ["orders-eu"]);
    assert_eq!(consumer.assignment().len(), 1);
}

#[tokio::test]
async fn a_static_member_comes_back_to_its_partitions_and_nobody_else_hears_of_it() {
    let broker = Embedded::start().await;
    broker.topic(TOPIC, 4).await;
    let client = broker.client(&[]).await;
    let told = Told::default();
    let other = consumer(&client).callbacks(told.clone()).start().await.unwrap();
    let named = || consumer(&client).instance_id("blue");
    let mut workers = vec![Worker::new(other), Worker::new(named().start().await.unwrap())];
    poll_until(&mut workers, "two each", |workers| share(workers, &[2, 2])).await;
    let (before, calls) = (workers[1].partitions(), told.calls());
    workers.pop().unwrap().consumer.close().await;
    workers.push(Worker::new(named().start().await.unwrap()));
    poll_until(&mut workers, "two each again", |workers| share(workers, &[2, 2])).await;
    assert_eq!(workers[1].partitions(), before);
    assert_eq!(told.calls(), calls, "the other one keeps what it has");
}

#[tokio::test]
async fn a_newer_life_of_a_static_member_fences_the_older_one() {
    let broker = Embedded::start().await;
    broker.topic(TOPIC, 1).await;
    let client = broker.client(&[]).await;
    fill(&client, TOPIC, 1, 10).await;
    let named = || client.consumer(GROUP).topic(TOPIC).instance_id("blue").manual_commit();
    let mut older = named().start().await.unwrap();
    let record = older.next().await.unwrap().unwrap();
    let mut newer = named().start().await.unwrap();
    assert_eq!(newer.next().await.unwrap().unwrap().offset, record.offset, "nothing was committed");
    newer.commit_sync().await.unwrap();
    let refused = older.commit_record(&record).await;
    assert!(refused.is_err(), "a commit of a life that is over");
    let told = loop {
        match older.poll(Duration::from_secs(1)).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(told, ConsumeError::Membership { .. }), "{told}");
    assert_eq!(told.code(), Some(ErrorCode::FencedInstance));
    assert_eq!(committed(&client).await, [1]);
}

#[tokio::test]
async fn whoever_is_long_over_a_record_stays_a_member() {
    let broker = Embedded::start().await;
    broker.topic(TOPIC, 1).await;
    let client = broker.client(&[]).await;
    fill(&client, TOPIC, 1, 2).await;
    let told = Told::default();
    let mut consumer = consumer(&client).callbacks(told.clone()).poll_records_max(1).start().await.unwrap();
    let member = consumer.member_id();
    assert_eq!(consumer.next().await.unwrap().unwrap().offset, Offset::ZERO);
    // Longer than a member may be silent.
    tokio::time::sleep(Duration::from_millis(millrace_types::limits::SESSION_TIMEOUT_MS_DEFAULT + 2_000))
        .await;
    assert_eq!(consumer.next().await.unwrap().unwrap().offset, Offset::from_count(1));
    assert_eq!(told.count(What::Lost), 0);
    assert_eq!(consumer.member_id(), member);
}

#[tokio::test]
async fn what_goes_is_committed_in_the_callback_before_another_has_it() {
    let broker = Embedded::start().await;
    broker.topic(TOPIC, 2).await;
    let client = broker.client(&[]).await;
    fill(&client, TOPIC, 2, 50).await;
    let told = Told::committing();
    let first = client.consumer(GROUP).topic(TOPIC).manual_commit().callbacks(told.clone());
    let mut workers = vec![Worker::new(first.start().await.unwrap())];
    poll_until(&mut workers, "all records", |workers| workers[0].handed.len() == 100).await;
    assert!(committed(&client).await.is_empty());
    workers.push(Worker::new(client.consumer(GROUP).topic(TOPIC).manual_commit().start().await.unwrap()));
    poll_until(&mut workers, "one each", |workers| share(workers, &[1, 1])).await;
    assert_eq!(told.count(What::Revoked), 1);
    fill(&client, TOPIC, 2, 1).await;
    poll_until(&mut workers, "the new records", |workers| times_handed(workers).len() == 102).await;
    each_once(&workers, 2, 51);
}

#[tokio::test]
async fn an_application_that_never_comes_back_keeps_its_partitions_no_longer_than_it_may() {
    let broker = Embedded::start().await;
    broker.topic(TOPIC, 2).await;
    let client = broker.client(&[]).await;
    fill(&client, TOPIC, 2, 1).await;
    let told = Told::default();
    let busy = consumer(&client).rebalance_timeout(Duration::from_secs(2)).callbacks(told.clone());
    let mut busy = Worker::new(busy.start().await.unwrap());
    let mut records = Vec::new();
    while busy.handed.len() < 2 {
        records.extend(busy.poll().await);
    }
    // From here on it works on these two.
    let mut others = vec![worker(&client).await];
    poll_until(&mut others, "a partition of the busy one", |others| others[0].partitions().len() == 1).await;
    let gone = records.iter().find(|record| others[0].partitions().contains(&record.partition.0)).unwrap();
    let refused = busy.consumer.commit_record(gone).await.unwrap_err();
    let CommitError::Failed { failed } = refused else { panic!("{refused}") };
    assert_eq!(failed[0].1, CommitFailure::NotAssigned, "a late commit does not count");
    let kept = records.iter().find(|record| record.partition != gone.partition).unwrap();
    busy.consumer.commit_record(kept).await.unwrap();
    poll_until(&mut others, "its record again", |others| others[0].handed.len() == 1).await;
    assert_eq!((told.count(What::Revoked), told.count(What::Lost)), (0, 1), "{:?}", told.calls());
}

#[tokio::test]
async fn partitions_are_paused_resumed_and_sought() {
    let broker = Embedded::start().await;
    broker.topic(TOPIC, 2).await;
    let client = broker.client(&[]).await;
    let (zero, one) = (PartitionIndex(0), PartitionIndex(1));
    let mut workers = vec![worker(&client).await];
    poll_until(&mut workers, "both", |workers| workers[0].partitions().len() == 2).await;
    assert!(workers[0].consumer.pause(TOPIC, one));
    assert!(!workers[0].consumer.pause(TOPIC, PartitionIndex(2)), "there is none");
    fill(&client, TOPIC, 2, 100).await;
    poll_until(&mut workers, "one of them", |workers| workers[0].handed.len() >= 100).await;
    assert!(workers[0].handed.iter().all(|(partition, _)| *partition == 0));
    assert!(workers[0].consumer.resume(TOPIC, one));
    poll_until(&mut workers, "the other", |workers| times_handed(workers).len() == 200).await;
    each_once(&workers, 2, 100);
    workers[0].handed.clear();
    assert!(workers[0].consumer.seek(TOPIC, zero, Offset::from_count(90)));
    assert_eq!(workers[0].consumer.position(TOPIC, zero), Some(Offset::from_count(90)));
    poll_until(&mut workers, "ten again", |workers| workers[0].handed.len() == 10).await;
    assert_eq!(workers[0].handed, (90..100).map(|offset| (0, offset)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_clean_stop_in_the_middle_commits_what_was_handed_out_and_nothing_else() {
    let broker = Embedded::start().await;
    broker.topic(TOPIC, 1).await;
    let client = broker.client(&[]).await;
    fill(&client, TOPIC, 1, 100).await;
    let never = Duration::from_secs(3_600);
    let builder = || client.consumer(GROUP).topic(TOPIC).auto_commit(never).poll_records_max(7);
    let mut consumer = builder().start().await.unwrap();
    while consumer.poll(Duration::from_secs(60)).await.unwrap().is_empty() {}
    consumer.close().await;
    assert_eq!(committed(&client).await, [7]);
    let mut consumer = builder().start().await.unwrap();
    let record = consumer.next().await.unwrap().unwrap();
    assert_eq!(record.offset, Offset::from_count(7));
    drop(consumer);
    assert_eq!(committed(&client).await, [7], "who is dropped commits nothing");
}

#[tokio::test]
async fn where_nothing_is_committed_it_begins_where_it_was_told_to() {
    let broker = Embedded::start().await;
    broker.topic(TOPIC, 1).await;
    let client = broker.client(&[]).await;
    fill(&client, TOPIC, 1, 10).await;
    let from = |position| client.consumer(GROUP).topic(TOPIC).from(position).manual_commit();
    let mut consumer = from(Position::Offset(Offset::from_count(4))).start().await.unwrap();
    assert_eq!(consumer.next().await.unwrap().unwrap().offset, Offset::from_count(4));
    consumer.commit_sync().await.unwrap();
    consumer.close().await;
    let mut consumer = from(Position::End).start().await.unwrap();
    assert_eq!(consumer.next().await.unwrap().unwrap().offset, Offset::from_count(5), "the commit counts");
    consumer.close().await;
}

#[tokio::test]
async fn a_broker_that_restarts_finds_its_members_again_and_loses_none() {
    let mut broker = Embedded::start().await;
    broker.topic(TOPIC, 4).await;
    let client = broker.client(&[]).await;
    let (told, other) = (Told::default(), Told::default());
    let mut workers = vec![
        Worker::new(consumer(&client).callbacks(told.clone()).start().await.unwrap()),
        Worker::new(consumer(&client).callbacks(other.clone()).start().await.unwrap()),
    ];
    poll_until(&mut workers, "two each", |workers| share(workers, &[2, 2])).await;
    let members: Vec<_> = workers.iter().map(|worker| worker.consumer.member_id()).collect();
    fill(&client, TOPIC, 4, 50).await;
    poll_until(&mut workers, "all records", |workers| times_handed(workers).len() == 200).await;
    broker.stop().await;
    broker.resume().await;
    fill(&client, TOPIC, 4, 50).await;
    poll_until(&mut workers, "the new records", |workers| times_handed(workers).len() == 400).await;
    each_once(&workers, 4, 100);
    assert_eq!((told.count(What::Lost), other.count(What::Lost)), (0, 0));
    let after: Vec<_> = workers.iter().map(|worker| worker.consumer.member_id()).collect();
    assert_eq!(members, after);
}

#[tokio::test]
async fn what_cannot_be_is_refused_at_the_start() {
    let broker = Embedded::start().await;
    let client = broker.client(&[]).await;
    let refused = client.consumer(GROUP).start().await.unwrap_err();
    assert!(matches!(refused, ConsumeError::Config { option: "topic", .. }), "{refused}");
    let refused = client.consumer("").topic(TOPIC).start().await.unwrap_err();
    assert!(matches!(refused, ConsumeError::Config { option: "group", .. }), "{refused}");
    let refused = client.consumer(GROUP).pattern("(").start().await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::InvalidPattern), "{refused}");
}

/// Panics whenever it is told something.
struct Panics;

impl RebalanceCallbacks for Panics {
    fn assigned<'a>(&'a mut self, _: &'a ConsumerHandle, _: &'a [AssignedPartition]) -> BoxFuture<'a, ()> {
        panic!("the application's own business")
    }

    fn revoked<'a>(&'a mut self, _: &'a ConsumerHandle, _: &'a [AssignedPartition]) -> BoxFuture<'a, ()> {
        panic!("the application's own business")
    }
}

#[tokio::test]
async fn a_callback_that_panics_stops_neither_the_reading_nor_the_move() {
    let broker = Embedded::start().await;
    broker.topic(TOPIC, 2).await;
    let client = broker.client(&[]).await;
    fill(&client, TOPIC, 2, 10).await;
    let panics = Worker::new(consumer(&client).callbacks(Panics).start().await.unwrap());
    let mut workers = vec![panics];
    poll_until(&mut workers, "all records", |workers| times_handed(workers).len() == 20).await;
    workers.push(worker(&client).await);
    poll_until(&mut workers, "one each", |workers| share(workers, &[1, 1])).await;
    fill(&client, TOPIC, 2, 10).await;
    poll_until(&mut workers, "the new records", |workers| times_handed(workers).len() == 40).await;
}

#[tokio::test]
async fn a_topic_that_is_deleted_goes_and_the_others_are_read_on() {
    let broker = Embedded::start().await;
    let client = broker.client(&[]).await;
    broker.topic("stays", 1).await;
    broker.topic("goes", 1).await;
    let builder = client.consumer(GROUP).topic("stays").topic("goes");
    let mut workers =
        vec![Worker::new(builder.auto_commit(Duration::from_millis(20)).start().await.unwrap())];
    fill(&client, "goes", 1, 10).await;
    poll_until(&mut workers, "its records", |workers| workers[0].handed.len() == 10).await;
    client.admin().delete_topic("goes").await.unwrap();
    poll_until(&mut workers, "its end", |workers| workers[0].consumer.assignment().len() == 1).await;
    fill(&client, "stays", 1, 10).await;
    poll_until(&mut workers, "the other's records", |workers| workers[0].handed.len() == 20).await;
    broker.topic("goes", 1).await;
    fill(&client, "goes", 1, 10).await;
    poll_until(&mut workers, "the new topic of that name, from its beginning", |workers| {
        workers[0].handed.len() == 30
    })
    .await;
}
