//! Keys and values of the records of groups in `__consumer_offsets`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_group::{GroupState, Stored, decode_record};
use millrace_schema::{GroupsValue, decode_groups_key};

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(key)) = decode_groups_key(data) {
        assert_eq!(decode_groups_key(&key.encode()).expect("what was encoded"), Some(key));
    }
    if let Ok(value) = GroupsValue::decode(data) {
        assert_eq!(GroupsValue::decode(&value.encode()).expect("what was encoded"), value);
    }
    // A length in front of the key, then the value.
    let Some((length, rest)) = data.split_first() else { return };
    let (key, value) = rest.split_at((*length as usize).min(rest.len()));
    for value in [Some(value), None] {
        if let Ok(Stored::Of(group, record)) = decode_record(key, value) {
            let (key, value) = record.encode(&group);
            let again = decode_record(&key, value.as_deref()).expect("what was encoded");
            assert_eq!(again, Stored::Of(group, record.clone()));
            let mut state = GroupState::default();
            state.apply(record);
            let _kind = state.front();
        }
    }
});
