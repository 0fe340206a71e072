//! Every method, as a client uses it.

use millrace_proto::v1::offset_query::{At, Earliest, LargestTimestamp, Latest};
use millrace_proto::{CheckedCodec, v1};
use millrace_record::split_batches;
use millrace_types::ErrorCode;
use tonic::{Code, Request};

use crate::world::{World, code, code_of, fetch, produce, topic};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_produced_is_fetched_as_batches_and_as_records() {
    let world = World::new().await;
    let mut client = world.client_with_topic("orders").await;
    for value in ["a", "b", "c"] {
        let produced = client.produce(produce("orders", value.as_bytes())).await.unwrap().into_inner();
        assert_eq!(code(produced.partitions[0].error.as_ref()), None);
    }
    let batches = client.fetch(fetch("orders", 0, v1::FetchFormat::Batches)).await.unwrap().into_inner();
    let fetched = &batches.partitions[0];
    assert_eq!((fetched.next_offset, fetched.high_watermark, fetched.log_start_offset), (3, 3, 0));
    assert_eq!(
        split_batches(fetched.batches.clone()).map(|batch| batch.unwrap().record_count()).sum::<u32>(),
        3
    );

    let mut request = fetch("orders", 1, v1::FetchFormat::Records);
    request.partitions[0].end_offset = Some(2);
    let records = client.fetch(request).await.unwrap().into_inner();
    let fetched = &records.partitions[0];
    assert_eq!((fetched.records.len(), fetched.next_offset), (1, 2));
    assert_eq!((fetched.records[0].offset, fetched.records[0].value.as_deref()), (1, Some(&b"b"[..])));
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_records_come_back_and_the_byte_budget_ends_the_answer() {
    let world = World::new().await;
    let mut client = world.client_with_topic("orders").await;
    for compression in
        [v1::Compression::Gzip, v1::Compression::Snappy, v1::Compression::Lz4, v1::Compression::Zstd]
    {
        let mut request = produce("orders", &[7; 1000]);
        request.partitions[0].compression = compression.into();
        if let Some(v1::partition_produce::Data::Records(list)) = &mut request.partitions[0].data {
            list.records = vec![list.records[0].clone(); 50];
        }
        let produced = client.produce(request).await.unwrap().into_inner();
        assert_eq!(code(produced.partitions[0].error.as_ref()), None, "{compression:?}");
    }
    let mut offset = 0;
    while offset < 200 {
        let mut request = fetch("orders", offset, v1::FetchFormat::Records);
        request.max_bytes = 10_000;
        let answer = client.fetch(request).await.unwrap().into_inner();
        let records = &answer.partitions[0].records;
        assert!((1..=10).contains(&records.len()), "{} at {offset}", records.len());
        for record in records {
            assert_eq!((record.offset, record.value.as_deref()), (offset, Some(&[7; 1000][..])));
            offset += 1;
        }
        assert_eq!(answer.partitions[0].next_offset, offset);
    }
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_listed_committed_and_fetched() {
    let world = World::new().await;
    let mut client = world.client_with_topic("orders").await;
    client.produce(produce("orders", b"a")).await.unwrap();
    let points = [
        At::Earliest(Earliest {}),
        At::Latest(Latest {}),
        At::TimestampMs(0),
        At::LargestTimestamp(LargestTimestamp {}),
    ];
    let query = |at| v1::OffsetQuery { topic: topic("orders"), partition: 0, at };
    let mut queries: Vec<_> = points.into_iter().map(|at| query(Some(at))).collect();
    queries.push(query(None));
    let listed = client.list_offsets(v1::ListOffsetsRequest { queries }).await.unwrap().into_inner().answers;
    assert_eq!(
        listed.iter().map(|answer| answer.offset).collect::<Vec<_>>(),
        [Some(0), Some(1), Some(0), Some(0), None]
    );
    assert_eq!(code(listed[4].error.as_ref()), Some(ErrorCode::InvalidRequest));

    let commit = |partition, offset| v1::OffsetCommit {
        topic: topic("orders"),
        partition,
        offset,
        ..Default::default()
    };
    let offsets = vec![commit(0, 1), commit(-1, 1), commit(9, 1)];
    let request = v1::CommitOffsetsRequest { group: "g".to_owned(), offsets, member: None };
    let committed = client.commit_offsets(request).await.unwrap().into_inner().offsets;
    let codes: Vec<_> = committed.iter().map(|part| code(part.error.as_ref())).collect();
    assert_eq!(codes, [None, Some(ErrorCode::InvalidRequest), Some(ErrorCode::UnknownTopicOrPartition)]);
    let request = v1::FetchOffsetsRequest { group: "g".to_owned(), ..Default::default() };
    let fetched = client.fetch_offsets(request).await.unwrap().into_inner().offsets;
    assert_eq!((fetched.len(), fetched[0].offset), (1, Some(1)));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_created_described_listed_and_deleted() {
    let world = World::new().await;
    let mut client = world.client().await;
    let request = v1::CreateTopicRequest { name: "a.b".to_owned(), partitions: 3, ..Default::default() };
    let created = client.create_topic(request.clone()).await.unwrap().into_inner().topic.unwrap();
    assert_eq!((created.partitions.len(), created.id.len(), created.replication_factor), (3, 16, 1));
    assert_eq!(code_of(&client.create_topic(request).await.unwrap_err()), ErrorCode::TopicAlreadyExists);
    let described = client.describe_topic(v1::DescribeTopicRequest { topic: topic("a.b") }).await.unwrap();
    assert_eq!(described.into_inner().topic.unwrap().id, created.id);
    let listed = client.list_topics(v1::ListTopicsRequest::default()).await.unwrap().into_inner().topics;
    assert_eq!(listed.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["a.b"]);
    client.delete_topic(v1::DeleteTopicRequest { topic: topic("a.b") }).await.unwrap();
    let gone = client.describe_topic(v1::DescribeTopicRequest { topic: topic("a.b") }).await.unwrap_err();
    assert_eq!((gone.code(), code_of(&gone)), (Code::NotFound, ErrorCode::UnknownTopicOrPartition));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_names_this_broker() {
    let world = World::new().await;
    let cluster =
        world.client().await.describe_cluster(v1::DescribeClusterRequest {}).await.unwrap().into_inner();
    assert_eq!((cluster.cluster_id.len(), cluster.controller), (32, 1));
    assert_eq!(
        cluster.brokers,
        [v1::Broker { node: 1, grpc: world.addr.to_string(), active: true, ..Default::default() }]
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_are_refused() {
    let world = World::new().await;
    let mut client = world.client().await;
    for name in ["", "..", "../../etc/passwd", "a/b", "a\0b", "ü", &"x".repeat(250), &"x".repeat(1 << 20)] {
        let request = v1::CreateTopicRequest { name: name.to_owned(), ..Default::default() };
        let refused = client.create_topic(request).await.unwrap_err();
        assert_eq!(code_of(&refused), ErrorCode::InvalidTopicName, "{:.20}", name);
        let request = v1::CommitOffsetsRequest { group: "a\nb".to_owned(), ..Default::default() };
        assert_eq!(code_of(&client.commit_offsets(request).await.unwrap_err()), ErrorCode::GroupIdInvalid);
    }
    let mut request = produce("ok", b"");
    request.partitions[0].topic.as_mut().unwrap().id = vec![1; 15].into();
    let refused = client.produce(request).await.unwrap().into_inner();
    assert_eq!(code(refused.partitions[0].error.as_ref()), Some(ErrorCode::InvalidRequest));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_method_says_so_with_details() {
    let world = World::new().await;
    let mut grpc = tonic::client::Grpc::new(world.channel().await);
    for path in ["/millrace.v1.Millrace/Nothing", "/other.Service/Method"] {
        grpc.ready().await.unwrap();
        let codec = CheckedCodec::<v1::DescribeClusterRequest, v1::DescribeClusterResponse>::default();
        let request = Request::new(v1::DescribeClusterRequest {});
        let path = http::uri::PathAndQuery::from_static(path);
        let refused = grpc.unary(request, path, codec).await.unwrap_err();
        assert_eq!((refused.code(), code_of(&refused)), (Code::Unimplemented, ErrorCode::Unsupported));
    }
    world.stop().await;
}
