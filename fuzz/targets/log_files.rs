//! The files beside a segment: indexes, leader epochs, producer state, and the envelope they travel in.
//!
//! The first byte says which; for those with an envelope the fuzzer supplies the body and the checksum is right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_log::format::{envelope, epoch_file, offset_index, producer_snapshot, time_index};
use millrace_types::{Offset, TimestampMs};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else { return };
    match choice % 6 {
        0 => {
            let index = offset_index::OffsetIndex::whole_entries(rest);
            let checked = index.check(1 << 31).is_ok();
            let found = index.lookup(Offset::from_count(0), Offset::from_count(1 << 20));
            assert!(
                !checked
                    || found.is_none_or(
                        |entry| entry.last_offset(Offset::from_count(0)) <= Offset::from_count(1 << 20)
                    )
            );
        }
        1 => {
            let index = time_index::TimeIndex::whole_entries(rest);
            let _checked = index.check(Offset::from_count(0), Offset::from_count(1 << 30));
            let _found = index.lookup(TimestampMs(1 << 40));
        }
        2 => {
            let _opened = envelope::open(envelope::FileKind::Seal, 1, rest);
        }
        3 => {
            if let Ok(epochs) = epoch_file::decode(&envelope::seal(envelope::FileKind::Epochs, 1, rest)) {
                let again = epoch_file::decode(&epoch_file::encode(&epochs)).expect("what was encoded");
                assert_eq!(again.entries(), epochs.entries());
            }
        }
        4 => {
            let file = envelope::seal(envelope::FileKind::Producers, 1, rest);
            if let Ok((offset, state)) = producer_snapshot::decode(&file) {
                let again = producer_snapshot::decode(&producer_snapshot::encode(&state, offset));
                assert_eq!(again.expect("what was encoded").0, offset);
            }
        }
        _ => {
            let name = String::from_utf8_lossy(rest);
            if let Some((base, file)) = millrace_log::names::parse_segment_file(&name) {
                assert_eq!(millrace_log::names::segment_file(base, file), name);
            }
        }
    }
});
