//! Messages of the Kafka protocol: what is read is written again and reads as the same.
//!
//! The first byte says which message, the second which version.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_kafka_wire::{
    ApiVersionsRequest, ApiVersionsResponse, CreateTopicsRequest, CreateTopicsResponse, FetchRequest,
    FetchResponse, InitProducerIdRequest, InitProducerIdResponse, ListOffsetsRequest, ListOffsetsResponse,
    Message, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse, RequestHeader,
    ResponseHeader,
};

const CODECS: [fn(Bytes, i16); 16] = [
    again::<ApiVersionsRequest>,
    again::<ApiVersionsResponse>,
    again::<CreateTopicsRequest>,
    again::<CreateTopicsResponse>,
    again::<FetchRequest>,
    again::<FetchResponse>,
    again::<InitProducerIdRequest>,
    again::<InitProducerIdResponse>,
    again::<ListOffsetsRequest>,
    again::<ListOffsetsResponse>,
    again::<MetadataRequest>,
    again::<MetadataResponse>,
    again::<ProduceRequest>,
    again::<ProduceResponse>,
    again::<RequestHeader>,
    again::<ResponseHeader>,
];

fn again<M: Message + PartialEq + std::fmt::Debug>(bytes: Bytes, version: i16) {
    let versions = M::VERSIONS;
    let count = versions.end() - versions.start() + 1;
    let version = versions.start() + version % count;
    if let Ok(message) = M::decode(bytes, version) {
        let written = message.encode(version).expect("what was read").concat();
        assert_eq!(M::decode(written.into(), version).expect("what was written"), message);
    }
}

fuzz_target!(|data: &[u8]| {
    let [message, version, body @ ..] = data else { return };
    let codec = CODECS[usize::from(*message) % CODECS.len()];
    codec(Bytes::copy_from_slice(body), i16::from(*version));
});
