//! The Kafka door on one frame: what a client sends becomes the broker's words, an error, or the end of the connection.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| drop(millrace_kafka::fuzzing::frame(Bytes::copy_from_slice(data))));
