//! An internal record's frame: kind, version, message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_schema::decode_frame;

fuzz_target!(|data: &[u8]| {
    if let Ok(frame) = decode_frame(data) {
        assert_eq!(frame.body.len() + millrace_schema::FRAME_HEADER_BYTES, data.len());
    }
});
