//! Messages of the native API as they come from the wire, and the error details that a client reads.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_proto::{error_of, v1};
use prost::Message;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, body)) = data.split_first() else { return };
    let body = Bytes::copy_from_slice(body);
    match choice % 8 {
        0 => produce(body),
        1 => decode::<v1::FetchRequest>(body),
        2 => decode::<v1::ListOffsetsRequest>(body),
        3 => decode::<v1::CommitOffsetsRequest>(body),
        4 => decode::<v1::FetchOffsetsRequest>(body),
        5 => decode::<v1::CreateTopicRequest>(body),
        6 => {
            if let Ok(reference) = v1::TopicRef::decode(body) {
                let _checked = reference.check();
            }
        }
        _ => {
            let status = tonic::Status::with_details(tonic::Code::Internal, "", body);
            if let Some(error) = error_of(&status) {
                let _read = (error.known_code(), error.known_outcome());
            }
        }
    }
});

/// What decodes is encoded and decodes to the same.
fn decode<M: Message + Default + PartialEq + std::fmt::Debug>(body: Bytes) {
    if let Ok(message) = M::decode(body) {
        let again = M::decode(Bytes::from(message.encode_to_vec())).expect("what was encoded");
        assert_eq!(again.encoded_len(), message.encoded_len());
    }
}

fn produce(body: Bytes) {
    let Ok(request) = v1::ProduceRequest::decode(body) else { return };
    for partition in &request.partitions {
        let _topic = partition.topic.as_ref().map(v1::TopicRef::check);
    }
}
