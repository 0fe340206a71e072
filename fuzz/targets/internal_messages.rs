//! Messages between brokers: what one of them sends becomes the broker's words or an error, and what can be read says the same
//! once it is written again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_grpc::fuzzing;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, body)) = data.split_first() else { return };
    let _read = fuzzing::internal_message(kind, Bytes::copy_from_slice(body));
});
