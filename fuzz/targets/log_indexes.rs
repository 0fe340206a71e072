//! Kafka's index files, as a damaged disk may hand them over, and the names of segment files.
//!
//! A look-up answers an entry at or before what was asked for, if the index passed its check.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_log::format::{offset_index, time_index};
use millrace_log::names;
use millrace_types::{Offset, TimestampMs};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else { return };
    let base = Offset::from_count(100);
    match choice % 3 {
        0 => {
            let index = offset_index::OffsetIndex::whole_entries(rest);
            let sound = index.check(1 << 31).is_ok();
            let target = Offset::from_count(100 + u64::from(choice) * 1_000);
            let found = index.lookup(base, target);
            assert!(!sound || found.is_none_or(|entry| entry.last_offset(base) <= target));
            assert!(index.entries_below(1 << 20) <= index.len());
        }
        1 => {
            let index = time_index::TimeIndex::whole_entries(rest);
            let _sound = index.check(base, Offset::from_count(1 << 30));
            let _found = index.lookup(TimestampMs(i64::from(choice) << 32));
            assert!(index.entries_below(base, Offset::from_count(1 << 20)) <= index.len());
        }
        _ => {
            let name = String::from_utf8_lossy(rest);
            if let Some((offset, file)) = names::parse_segment_file(&name) {
                assert_eq!(names::segment_file(offset, file), name);
            }
            if let Some(partition) = names::parse_partition_dir(&name) {
                assert_eq!(names::partition_dir(partition), name);
            }
        }
    }
});
