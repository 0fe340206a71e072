//! Keys and values of `__consumer_offsets`, in every version that Kafka has written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_schema::{OffsetCommitValue, OffsetsKey, decode_offsets_key};

fuzz_target!(|data: &[u8]| {
    if let Ok(OffsetsKey::Commit(key)) = decode_offsets_key(data) {
        let again = decode_offsets_key(&key.encode()).expect("what was encoded");
        assert_eq!(again, OffsetsKey::Commit(key));
    }
    if let Ok(mut value) = OffsetCommitValue::decode(data) {
        // The newest version, which is what is written, has no place for it.
        value.expires_at = None;
        assert_eq!(OffsetCommitValue::decode(&value.encode()).expect("what was encoded"), value);
    }
});
