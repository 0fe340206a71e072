//! The pipelined produce stream.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use millrace_proto::v1;
use millrace_types::ErrorCode;
use millrace_types::limits::PRODUCE_STREAM_IN_FLIGHT_MAX;
use tokio::sync::oneshot;

use crate::world::{World, code, fetch, produce};

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_appended_and_answered_in_order() {
    let world = World::new().await;
    let mut client = world.client_with_topic("orders").await;
    let count = 3 * PRODUCE_STREAM_IN_FLIGHT_MAX as u64;
    let requests = stream::iter(
        (0..count)
            .map(|id| v1::ProduceRequest { correlation_id: id, ..produce("orders", &id.to_be_bytes()) }),
    );
    let mut answers = client.produce_stream(requests).await.unwrap().into_inner();
    for id in 0..count {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(answer.correlation_id, id);
        let part = &answer.partitions[0];
        assert_eq!((code(part.error.as_ref()), part.base_offset), (None, id.cast_signed()));
    }
    assert_eq!(answers.message().await.unwrap(), None);
    let mut request = fetch("orders", 0, v1::FetchFormat::Records);
    request.max_bytes = 1 << 24;
    let fetched = client.fetch(request).await.unwrap().into_inner();
    let values = fetched.partitions[0].records.iter().map(|record| record.value.clone().unwrap());
    let sent = (0..count).map(|id| Bytes::copy_from_slice(&id.to_be_bytes()));
    assert!(values.eq(sent));
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_does_not_end_the_stream() {
    let world = World::new().await;
    let mut client = world.client_with_topic("orders").await;
    let unknown = produce("nowhere", b"x");
    let nonsense = v1::ProduceRequest { durability: 99, ..produce("orders", b"x") };
    let mut half = produce("orders", b"x");
    half.partitions.push(v1::PartitionProduce { data: None, ..half.partitions[0].clone() });
    let requests = stream::iter([unknown, nonsense, half, produce("orders", b"y")]);
    let answers = client.produce_stream(requests).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
    let codes = |index: usize| -> Vec<_> {
        answers[index].partitions.iter().map(|part| code(part.error.as_ref())).collect()
    };
    assert_eq!(codes(0), [Some(ErrorCode::UnknownTopicOrPartition)]);
    assert_eq!(codes(1), [Some(ErrorCode::InvalidRequest)]);
    assert_eq!(codes(2), [None, Some(ErrorCode::InvalidRequest)]);
    assert_eq!((codes(3), answers[3].partitions[0].base_offset), (vec![None], 1));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_drops_its_stream_leaves_nothing_behind() {
    let world = World::new().await;
    let mut client = world.client_with_topic("orders").await;
    for taken in 0..8 {
        let (gone, until_gone) = oneshot::channel::<()>();
        let endless = stream::repeat_with(|| produce("orders", &[1; 10_000])).take_until(until_gone);
        let mut answers = client.produce_stream(endless).await.unwrap().into_inner();
        for _ in 0..taken {
            answers.message().await.unwrap().unwrap();
        }
        // hyper resets a call only when both of its halves are dropped: with the answers alone dropped it would send on, for
        // ever, and the door would close the connection of a client that reads nothing.
        drop((answers, gone));
    }
    world.until_nothing_is_held().await;
    client.produce(produce("orders", b"still there")).await.unwrap();
    world.stop().await;
}
