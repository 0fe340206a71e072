//! Subscriptions: what comes, in which turns, how they end, and what a slow client holds.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use millrace_grpc::Patience;
use millrace_proto::v1;
use millrace_proto::v1::millrace_client::MillraceClient;
use millrace_proto::v1::partition_subscribe::{Begin, End};
use millrace_record::split_batches;
use millrace_types::ErrorCode;
use millrace_types::limits::SUBSCRIBE_UNSENT_BYTES_MAX;
use prost::Message;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::raw::{End as Frame, body, call_with, prefix};
use crate::world::{World, code, code_of, produce, topic};

fn part(name: &str, partition: i32) -> v1::PartitionSubscribe {
    v1::PartitionSubscribe { topic: topic(name), partition, ..Default::default() }
}

fn to_latest(part: v1::PartitionSubscribe) -> v1::PartitionSubscribe {
    v1::PartitionSubscribe { end: Some(End::UntilLatest(v1::offset_query::Latest {})), ..part }
}

fn request(partitions: Vec<v1::PartitionSubscribe>, format: v1::FetchFormat) -> v1::SubscribeRequest {
    v1::SubscribeRequest { partitions, format: format.into(), ..Default::default() }
}

/// Values by index of the partition, and the errors; to the end of the stream.
async fn drain(
    mut messages: Streaming<v1::SubscribeResponse>,
) -> (BTreeMap<u32, Vec<(i64, Bytes)>>, Vec<(u32, ErrorCode)>, Vec<u32>) {
    let (mut values, mut errors, mut ended) = (BTreeMap::<_, Vec<_>>::new(), Vec::new(), Vec::new());
    while let Some(message) = messages.message().await.unwrap() {
        for part in message.partitions {
            let fetched = part.fetched.unwrap();
            if let Some(code) = code(fetched.error.as_ref()) {
                errors.push((part.index, code));
            }
            if part.ended {
                ended.push(part.index);
            }
            let of_batches =
                split_batches(fetched.batches).flat_map(|batch| batch.unwrap().records().unwrap());
            let of_batches = of_batches.map(|record| {
                let record = record.unwrap();
                (record.offset.get(), record.value.unwrap())
            });
            let plain = fetched.records.into_iter().map(|record| (record.offset, record.value.unwrap()));
            values.entry(part.index).or_default().extend(of_batches.chain(plain));
        }
    }
    (values, errors, ended)
}

async fn create(client: &mut MillraceClient<Channel>, name: &str, partitions: u32) {
    let request = v1::CreateTopicRequest { name: name.to_owned(), partitions, ..Default::default() };
    client.create_topic(request).await.unwrap();
}

async fn send(client: &mut MillraceClient<Channel>, name: &str, partition: i32, records: Vec<v1::Record>) {
    let mut request = produce(name, b"");
    request.partitions[0].partition = partition;
    let list = v1::RecordList { records };
    request.partitions[0].data = Some(v1::partition_produce::Data::Records(list));
    let answer = client.produce(request).await.unwrap().into_inner();
    assert_eq!(code(answer.partitions[0].error.as_ref()), None);
}

fn record(value: &str, timestamp_ms: Option<i64>) -> v1::Record {
    let value = Some(Bytes::copy_from_slice(value.as_bytes()));
    v1::Record { value, timestamp_ms, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_every_bounded_partition_comes_once_in_order_and_the_stream_ends() {
    let world = World::new().await;
    let mut client = world.client().await;
    create(&mut client, "orders", 3).await;
    for number in 0..50 {
        for partition in 0..3 {
            send(&mut client, "orders", partition, vec![record(&format!("{partition}-{number}"), None)])
                .await;
        }
    }
    for format in [v1::FetchFormat::Batches, v1::FetchFormat::Records] {
        for max_message_bytes in [1, 500, 0] {
            let partitions = (0..3).map(|partition| to_latest(part("orders", partition))).collect();
            let request = v1::SubscribeRequest { max_message_bytes, ..request(partitions, format) };
            let messages = client.subscribe(request).await.unwrap().into_inner();
            let (values, errors, mut ended) = drain(messages).await;
            ended.sort_unstable();
            assert_eq!((errors, ended), (vec![], vec![0, 1, 2]));
            for partition in 0..3_u32 {
                let expected = (0..50).map(|number| (number, Bytes::from(format!("{partition}-{number}"))));
                assert!(values[&partition].iter().cloned().eq(expected), "{format:?} {max_message_bytes}");
            }
        }
    }
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_resolved_once_by_the_order_of_offsets() {
    let world = World::new().await;
    let mut client = world.client().await;
    create(&mut client, "orders", 1).await;
    // Out of order in time: "from 30" begins at the first record, by offset, that is 30 or later.
    for (value, time) in [("a", 10), ("b", 40), ("c", 20), ("d", 30), ("e", 50), ("f", 45)] {
        send(&mut client, "orders", 0, vec![record(value, Some(time))]).await;
    }
    let range = async |begin: Option<i64>, end: Option<i64>| {
        let part = v1::PartitionSubscribe {
            begin: begin.map(Begin::FromMs),
            end: end
                .map_or(Some(End::UntilLatest(v1::offset_query::Latest {})), |end| Some(End::UntilMs(end))),
            ..part("orders", 0)
        };
        let request = request(vec![part], v1::FetchFormat::Records);
        let messages = client.clone().subscribe(request).await.unwrap().into_inner();
        let (values, errors, _) = drain(messages).await;
        assert_eq!(errors, []);
        let values = values[&0].iter().map(|(_, value)| String::from_utf8(value.to_vec()).unwrap());
        values.collect::<String>()
    };
    assert_eq!(range(Some(30), None).await, "bcdef");
    assert_eq!(range(Some(41), None).await, "ef");
    assert_eq!(range(None, Some(30)).await, "a");
    assert_eq!(range(Some(11), Some(45)).await, "bcd");
    assert_eq!(range(Some(51), None).await, "", "nothing is that late");
    assert_eq!(range(None, Some(51)).await, "abcdef");
    assert_eq!(range(Some(45), Some(45)).await, "");
    // The same of a fetch, whose answer tells what the end became.
    let fetch = v1::PartitionFetch {
        topic: topic("orders"),
        from_ms: Some(11),
        until_ms: Some(45),
        ..Default::default()
    };
    let request = v1::FetchRequest {
        partitions: vec![fetch],
        format: v1::FetchFormat::Records.into(),
        ..Default::default()
    };
    let answer = client.clone().fetch(request).await.unwrap().into_inner().partitions.remove(0);
    let values: Vec<_> = answer.records.iter().map(|record| record.value.clone().unwrap()).collect();
    assert_eq!(
        (values, answer.end_offset, answer.next_offset),
        (vec!["b".into(), "c".into(), "d".into()], Some(4), 4)
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_one_partition_is_told_and_the_others_go_on() {
    let world = World::new().await;
    let mut client = world.client_with_topic("orders").await;
    client.produce(produce("orders", b"x")).await.unwrap();
    let too_far = v1::PartitionSubscribe { begin: Some(Begin::Offset(7)), ..part("orders", 0) };
    let negative = v1::PartitionSubscribe { begin: Some(Begin::Offset(-1)), ..part("orders", 0) };
    let truncated = v1::PartitionSubscribe { last_read_epoch: Some(99), ..part("orders", 0) };
    let partitions = vec![part("nowhere", 0), too_far, negative, truncated, to_latest(part("orders", 0))];
    let request = request(partitions, v1::FetchFormat::Records);
    let messages = client.subscribe(request).await.unwrap().into_inner();
    let (values, mut errors, ended) = drain(messages).await;
    errors.sort_unstable();
    let expected = [
        (0, ErrorCode::UnknownTopicOrPartition),
        (1, ErrorCode::OffsetOutOfRange),
        (2, ErrorCode::InvalidRequest),
        (3, ErrorCode::LogTruncated),
    ];
    assert_eq!((errors.as_slice(), ended), (&expected[..], vec![4]));
    assert_eq!(values[&4], [(0, Bytes::from("x"))]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_hears_of_each_record_and_of_the_end_of_its_topic() {
    let world = World::new().await;
    let mut client = world.client_with_topic("orders").await;
    let request = request(vec![part("orders", 0)], v1::FetchFormat::Records);
    let mut messages = client.subscribe(request).await.unwrap().into_inner();
    let first = messages.message().await.unwrap().unwrap().partitions.remove(0);
    assert_eq!(first.range, Some(v1::SubscribedRange { begin_offset: 0, end_offset: None }));
    for number in 0..20_u8 {
        client.produce(produce("orders", &[number])).await.unwrap();
        let news = messages.message().await.unwrap().unwrap().partitions.remove(0).fetched.unwrap();
        assert_eq!(news.records[0].value, Some(Bytes::copy_from_slice(&[number])));
        assert_eq!((news.records.len(), news.next_offset), (1, i64::from(number) + 1));
    }
    client.delete_topic(v1::DeleteTopicRequest { topic: topic("orders") }).await.unwrap();
    let gone = messages.message().await.unwrap().unwrap().partitions.remove(0).fetched.unwrap();
    assert_eq!(code(gone.error.as_ref()), Some(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(messages.message().await.unwrap(), None, "nothing is left to read");
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_take_turns() {
    let world = World::new().await;
    let mut client = world.client().await;
    create(&mut client, "orders", 2).await;
    for partition in [0, 1] {
        for _ in 0..20 {
            send(&mut client, "orders", partition, vec![record(&"x".repeat(1000), None)]).await;
        }
    }
    let partitions = (0..2).map(|partition| to_latest(part("orders", partition))).collect();
    let request =
        v1::SubscribeRequest { max_message_bytes: 1, ..request(partitions, v1::FetchFormat::Batches) };
    let mut messages = client.subscribe(request).await.unwrap().into_inner();
    messages.message().await.unwrap().unwrap();
    let mut turns = Vec::new();
    while let Some(message) = messages.message().await.unwrap() {
        turns.extend(message.partitions.iter().filter(|part| !part.ended).map(|part| part.index));
    }
    let expected: Vec<u32> = std::iter::repeat_n([0, 1], 20).flatten().collect();
    assert_eq!(turns, expected);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_a_stream_with_its_reason() {
    let world = World::new().await;
    let mut client = world.client_with_topic("orders").await;
    let request = request(vec![part("orders", 0)], v1::FetchFormat::Batches);
    let mut messages = client.subscribe(request).await.unwrap().into_inner();
    messages.message().await.unwrap().unwrap();
    let drained = world.door.drain(Duration::from_secs(60));
    let (answered, status) = tokio::join!(drained, messages.message());
    assert!(answered);
    assert_eq!(code_of(&status.unwrap_err()), ErrorCode::ShuttingDown);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_a_bounded_part_of_a_long_log() {
    let world = World::new().await;
    let mut client = world.client_with_topic("orders").await;
    let value = "x".repeat(500_000);
    for _ in 0..40 {
        send(&mut client, "orders", 0, vec![record(&value, None)]).await;
    }
    world.until_nothing_is_held().await;
    // The client's window is wide open; it is the stream that is not read.
    let endpoint = Endpoint::from_shared(format!("http://{}", world.addr)).unwrap();
    let channel = endpoint.initial_stream_window_size(1 << 16).connect().await.unwrap();
    let mut slow = MillraceClient::new(channel).max_decoding_message_size(1 << 26);
    let whole = request(vec![to_latest(part("orders", 0))], v1::FetchFormat::Records);
    let messages = slow.subscribe(whole.clone()).await.unwrap().into_inner();
    // Another one, which reads all of it, is not kept waiting; meanwhile the slow one gets as far as it may.
    for _ in 0..3 {
        let all = client.subscribe(whole.clone()).await.unwrap().into_inner();
        assert_eq!(drain(all).await.0[&0].len(), 40);
        let held = world.broker.memory().in_use();
        // One message more than the bound, and one that is being read.
        let bound = (SUBSCRIBE_UNSENT_BYTES_MAX + 2 * (2 << 20)) as u64;
        assert!(held <= bound, "{held} bytes are held for a client that reads nothing");
    }
    // It loses nothing by having been slow.
    assert_eq!(drain(messages).await.0[&0].len(), 40);
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_its_stream_loses_its_connection() {
    let answer = Duration::from_millis(1);
    let world = World::with(Patience { answer, ..Patience::default() }).await;
    let mut client = world.client_with_topic("orders").await;
    client.produce(produce("orders", &[1; 20_000])).await.unwrap();
    let message = request(vec![part("orders", 0)], v1::FetchFormat::Batches).encode_to_vec();
    let length = prefix(u32::try_from(message.len()).unwrap());
    // SETTINGS_INITIAL_WINDOW_SIZE = 10.
    let call = call_with("Subscribe", Some((4, 10)), None);
    let bytes = [call, body(&[length, message].concat(), Frame::Here)].concat();
    world.send_until_closed(&bytes).await;
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_everything_with_it() {
    let world = World::new().await;
    let mut client = world.client_with_topic("orders").await;
    for taken in 0..8 {
        client.produce(produce("orders", &[1; 100_000])).await.unwrap();
        let request = request(vec![part("orders", 0)], v1::FetchFormat::Batches);
        let mut messages = client.subscribe(request).await.unwrap().into_inner();
        for _ in 0..taken.min(2) {
            messages.message().await.unwrap().unwrap();
        }
        drop(messages);
    }
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_keep_their_order_their_doubles_and_their_nulls() {
    let world = World::new().await;
    let mut client = world.client_with_topic("orders").await;
    let header = |key: &str, value: Option<&'static str>| v1::Header {
        key: key.to_owned(),
        value: value.map(Bytes::from),
    };
    let headers = vec![
        header("b", Some("1")),
        header("a", None),
        header("b", None),
        header("b", Some("")),
        header("", Some("nameless")),
    ];
    let sent = v1::Record { headers: headers.clone(), ..record("x", Some(5)) };
    send(&mut client, "orders", 0, vec![sent.clone(), record("y", None)]).await;
    let whole = request(vec![to_latest(part("orders", 0))], v1::FetchFormat::Records);
    let mut messages = client.subscribe(whole).await.unwrap().into_inner();
    messages.message().await.unwrap().unwrap();
    let subscribed = messages.message().await.unwrap().unwrap().partitions.remove(0).fetched.unwrap();
    let fetch = crate::world::fetch("orders", 0, v1::FetchFormat::Records);
    let fetched = client.fetch(fetch).await.unwrap().into_inner().partitions.remove(0);
    for records in [subscribed.records, fetched.records] {
        assert_eq!(records[0], sent);
        assert_eq!((records.len(), records[1].headers.len()), (2, 0));
    }
    world.stop().await;
}
