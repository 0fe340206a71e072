//! Requests that are small on the wire and large in memory.

use bytes::Bytes;
use millrace_kafka_wire::create_topics_request::CreatableTopic;
use millrace_kafka_wire::fetch_request::FetchPartition;
use millrace_kafka_wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use millrace_kafka_wire::metadata_request::MetadataRequestTopic;
use millrace_kafka_wire::produce_request::PartitionProduceData;
use millrace_kafka_wire::{
    CreateTopicsRequest, ListOffsetsRequest, Message as _, MetadataRequest, ProduceRequest,
};
use millrace_record::{CRC_START, Compression, crc32c};
use millrace_types::limits::{KAFKA_REQUEST_ELEMENTS_MAX, PARTITIONS_PER_REQUEST_MAX};

use crate::hostile::Victim;
use crate::kafka_door::{self, batch_of, frame, framed, produce_request};

/// Topics of a request that asks whether they could be made.
const CREATED_AT_ONCE: usize = 4_000;

/// Arrays of empty elements, deep tags, batches that decompress to more than anybody has.
#[must_use]
pub(super) fn bombs(victim: &Victim) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    // A compressed batch that says the number of its records is the largest there is, and one that is nothing but zeros.
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        for count in [1, i32::MAX] {
            let batch = bomb(compression, count);
            for version in [3, 9, *ProduceRequest::VERSIONS.end()] {
                frames.push(frame(version, 7, &produce_request(version, &victim.topic, victim.id, &batch)));
            }
        }
    }
    // As many empty elements as fit, where elements are large in memory.
    for (key, version, prefix) in [(3_i16, 1_i16, 0_usize), (0, 3, 8), (1, 4, 17), (2, 1, 4), (19, 2, 0)] {
        let mut body = [key.to_be_bytes(), version.to_be_bytes()].concat();
        body.extend([0, 0, 0, 7, 0xff, 0xff]);
        body.extend(vec![0xff; prefix]);
        let elements: u32 = 250_000;
        body.extend(elements.to_be_bytes());
        body.extend(vec![0; 1_000_000]);
        frames.push(framed(&body));
    }
    // A header with as many tags as fit.
    let mut body = vec![0, 3, 0, 12, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff, 0x3f];
    body.extend(vec![0; 900_000]);
    frames.push(framed(&body));
    frames.extend(answered(victim));
    frames
}

/// Requests with nothing wrong but their size: each is decoded whole, and answered for each of its elements.
#[must_use]
pub fn answered(victim: &Victim) -> Vec<Vec<u8>> {
    let numbers = || 0..i32::try_from(PARTITIONS_PER_REQUEST_MAX).expect("a number");
    let long = "a name that nobody could have \u{7} ".repeat(800);
    let mut frames = Vec::new();
    for name in [&victim.topic, "nobody-has-this-one", &long] {
        let mut produce = produce_request(9, name, victim.id, &Bytes::new());
        let empty = produce.topic_data[0].partition_data[0].clone();
        produce.topic_data[0].partition_data =
            numbers().map(|index| PartitionProduceData { index, ..empty.clone() }).collect();
        frames.push(frame(9, 7, &produce));
        let mut fetch = kafka_door::fetch_request(12, name, victim.id, 0);
        let one = fetch.topics[0].partitions[0].clone();
        fetch.topics[0].partitions =
            numbers().map(|partition| FetchPartition { partition, ..one.clone() }).collect();
        frames.push(frame(12, 7, &fetch));
        let partition = |partition_index| ListOffsetsPartition {
            partition_index,
            timestamp: 1_700_000_000_000,
            ..ListOffsetsPartition::default()
        };
        let topic = ListOffsetsTopic {
            name: name.to_owned(),
            partitions: numbers().map(partition).collect(),
            ..ListOffsetsTopic::default()
        };
        let ask = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        frames.push(frame(7, 7, &ask));
    }
    // The same topic over and over, and as many as can be named.
    for name in [|_| "victim".to_owned(), |number| format!("topic-{number}")] {
        let topic = |number| MetadataRequestTopic { name: Some(name(number)), ..Default::default() };
        let topics = Some((0..KAFKA_REQUEST_ELEMENTS_MAX).map(topic).collect());
        let ask = MetadataRequest { topics, allow_auto_topic_creation: false, ..Default::default() };
        frames.push(frame(9, 7, &ask));
    }
    let topic = |number| CreatableTopic {
        name: format!("never-made-{number}"),
        num_partitions: 10,
        replication_factor: -1,
        ..CreatableTopic::default()
    };
    let topics = (0..CREATED_AT_ONCE).map(topic).collect();
    let ask = CreateTopicsRequest { topics, validate_only: true, ..Default::default() };
    frames.push(frame(7, 7, &ask));
    frames
}

/// A batch of eight megabytes of zeros, compressed, that claims `count` records. Its checksum is right.
#[must_use]
pub fn bomb(compression: Compression, count: i32) -> Bytes {
    let mut batch = batch_of(&vec![0; 8 * 1024 * 1024], compression).to_vec();
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    let crc = crc32c(&batch[CRC_START..]);
    batch[CRC_START - 4..CRC_START].copy_from_slice(&crc.to_be_bytes());
    batch.into()
}
