//! The files beside a segment: indexes, leader epochs, producer state, and the envelope they travel in.
//!
//! The first byte says which; for those with an envelope the fuzzer supplies the body and the checksum is right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_log::format::{
    envelope, epoch_file, node_meta, offset_index, partition_meta, producer_snapshot, run_mark, seal,
    synced_marks, time_index,
};
use millrace_types::{Offset, TimestampMs};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else { return };
    match choice % 12 {
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
        5 => {
            if let Ok(read) = seal::Seal::decode(&envelope::seal(envelope::FileKind::Seal, 1, rest)) {
                let again = seal::Seal::decode(&read.encode()).expect("what was encoded");
                assert_eq!((again.records, again.log_bytes()), (read.records, read.log_bytes()));
                let _mismatch = read.check_block(0, rest);
            }
        }
        6 => {
            let file = envelope::seal(envelope::FileKind::PartitionMeta, 1, rest);
            if let Ok(meta) = partition_meta::decode(&file) {
                assert_eq!(partition_meta::encode(&meta), file);
            }
        }
        7 => {
            let file = envelope::seal(envelope::FileKind::NodeMeta, 1, rest);
            if let Ok(meta) = node_meta::decode(&file) {
                assert_eq!(node_meta::encode(&meta), file);
            }
        }
        8 => {
            let _running =
                run_mark::RunningMark::decode(&envelope::seal(envelope::FileKind::RunningMark, 1, rest));
            let _clean = run_mark::CleanMark::decode(&envelope::seal(envelope::FileKind::CleanMark, 1, rest));
        }
        9 => {
            let slot = envelope::seal(envelope::FileKind::SyncedMarksSlot, 1, rest);
            if let Ok(read) = synced_marks::decode_slot(&slot) {
                assert_eq!(synced_marks::encode_slot(read.generation, &read.marks), slot);
            }
        }
        10 => {
            let _marks = synced_marks::decode_file(rest);
        }
        _ => {
            let name = String::from_utf8_lossy(rest);
            if let Some((base, file)) = millrace_log::names::parse_segment_file(&name) {
                assert_eq!(millrace_log::names::segment_file(base, file), name);
            }
        }
    }
});
