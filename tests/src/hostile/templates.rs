//! Valid requests of every operation and version.

use millrace_kafka_wire::{
    ApiRequest, ApiVersionsRequest, CreateTopicsRequest, FetchRequest, InitProducerIdRequest,
    ListOffsetsRequest, MetadataRequest, ProduceRequest, Uuid, create_topics_request, fetch_request,
    list_offsets_request, metadata_request,
};
use millrace_record::Compression;

use crate::kafka_door::{self, batch_of, frame, produce_request};

/// The topic that the requests are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Victim {
    /// Its name.
    pub topic: String,
    /// Its id.
    pub id: Uuid,
}

/// A valid request of each operation and version.
#[must_use]
pub fn templates(victim: &Victim) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    every::<ApiVersionsRequest>(&mut frames, |version| {
        let text = |text: &str| if version >= 3 { text.to_owned() } else { String::new() };
        ApiVersionsRequest {
            client_software_name: text("tests"),
            client_software_version: text("1.0"),
            ..ApiVersionsRequest::default()
        }
    });
    for compression in [Compression::None, Compression::Zstd] {
        let batch = batch_of(&b"a value that goes on for a while ".repeat(8), compression);
        every::<ProduceRequest>(&mut frames, |version| {
            produce_request(version, &victim.topic, victim.id, &batch)
        });
    }
    every::<FetchRequest>(&mut frames, |version| {
        kafka_door::fetch_request(version, &victim.topic, victim.id, 0)
    });
    every::<FetchRequest>(&mut frames, |version| with_sessions(version, victim));
    every::<ListOffsetsRequest>(&mut frames, |_| list_offsets(victim));
    every::<MetadataRequest>(&mut frames, |version| metadata(version, victim));
    every::<CreateTopicsRequest>(&mut frames, |_| create_topics());
    every::<InitProducerIdRequest>(&mut frames, |_| InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 60_000,
        ..InitProducerIdRequest::default()
    });
    frames
}

fn every<R: ApiRequest>(frames: &mut Vec<Vec<u8>>, request: impl Fn(i16) -> R) {
    frames.extend(R::VERSIONS.map(|version| frame(version, 7, &request(version))));
}

/// A fetch with what only later versions say.
fn with_sessions(version: i16, victim: &Victim) -> FetchRequest {
    let mut request = kafka_door::fetch_request(version, &victim.topic, victim.id, 1 << 40);
    if version >= 7 {
        (request.session_id, request.session_epoch) = (17, 3);
        let by_name = version < 13;
        request.forgotten_topics_data = vec![fetch_request::ForgottenTopic {
            topic: if by_name { victim.topic.clone() } else { String::new() },
            topic_id: if by_name { [0; 16] } else { victim.id },
            partitions: vec![0, 1, 2],
            ..fetch_request::ForgottenTopic::default()
        }];
    }
    if version >= 12 {
        request.cluster_id = Some("a cluster".to_owned());
    }
    request
}

fn list_offsets(victim: &Victim) -> ListOffsetsRequest {
    let partition = |timestamp| list_offsets_request::ListOffsetsPartition {
        partition_index: 0,
        timestamp,
        ..list_offsets_request::ListOffsetsPartition::default()
    };
    let topic = list_offsets_request::ListOffsetsTopic {
        name: victim.topic.clone(),
        partitions: [-1, -2, 1_700_000_000_000].map(partition).to_vec(),
        ..list_offsets_request::ListOffsetsTopic::default()
    };
    ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() }
}

fn metadata(version: i16, victim: &Victim) -> MetadataRequest {
    let topic = metadata_request::MetadataRequestTopic {
        name: Some(victim.topic.clone()),
        ..metadata_request::MetadataRequestTopic::default()
    };
    MetadataRequest {
        topics: Some(vec![topic]),
        // Before version 4 it cannot be said.
        allow_auto_topic_creation: version < 4,
        ..MetadataRequest::default()
    }
}

/// Asks only whether it could be done: a hostile frame is not to leave thousands of topics behind.
fn create_topics() -> CreateTopicsRequest {
    let config = create_topics_request::CreatableTopicConfig {
        name: "segment.bytes".to_owned(),
        value: Some("1048576".to_owned()),
        ..create_topics_request::CreatableTopicConfig::default()
    };
    let assignment = create_topics_request::CreatableReplicaAssignment {
        partition_index: 0,
        broker_ids: vec![1],
        ..create_topics_request::CreatableReplicaAssignment::default()
    };
    let topic = |name: &str, num_partitions, assignments| create_topics_request::CreatableTopic {
        name: name.to_owned(),
        num_partitions,
        replication_factor: -1,
        assignments,
        configs: vec![config.clone()],
        ..create_topics_request::CreatableTopic::default()
    };
    CreateTopicsRequest {
        topics: vec![topic("never-made", 3, Vec::new()), topic("neither", -1, vec![assignment])],
        timeout_ms: 30_000,
        validate_only: true,
        ..CreateTopicsRequest::default()
    }
}
