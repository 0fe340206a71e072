//! The small files of a data directory, each in an envelope whose checksum is right: what decodes is encoded again and
//! decodes to the same.
//!
//! The first byte says which file; 0 hands the bytes over as they are, so that the envelope itself is met.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_log::format::envelope::{FileKind, open, seal};
use millrace_log::format::run_mark::{CleanMark, RunningMark};
use millrace_log::format::seal::Seal;
use millrace_log::format::{epoch_file, node_meta, partition_meta, producer_snapshot, synced_marks};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, body)) = data.split_first() else { return };
    match choice % 9 {
        0 => {
            let _opened = open(FileKind::Seal, 1, body);
            let _marks = synced_marks::decode_file(body);
        }
        1 => {
            if let Ok(epochs) = epoch_file::decode(&seal(FileKind::Epochs, 1, body)) {
                let again = epoch_file::decode(&epoch_file::encode(&epochs)).expect("what was encoded");
                assert_eq!(again.entries(), epochs.entries());
            }
        }
        2 => {
            if let Ok((offset, state)) = producer_snapshot::decode(&seal(FileKind::Producers, 1, body)) {
                let again = producer_snapshot::decode(&producer_snapshot::encode(&state, offset));
                assert_eq!(again.expect("what was encoded").0, offset);
            }
        }
        3 => {
            let file = seal(FileKind::NodeMeta, 1, body);
            if let Ok(meta) = node_meta::decode(&file) {
                assert_eq!(node_meta::encode(&meta), file);
            }
        }
        4 => {
            let file = seal(FileKind::PartitionMeta, 1, body);
            if let Ok(meta) = partition_meta::decode(&file) {
                assert_eq!(partition_meta::encode(&meta), file);
            }
        }
        5 => {
            if let Ok(found) = Seal::decode(&seal(FileKind::Seal, 1, body)) {
                // Files may stand in any order; they are written in one.
                let again = Seal::decode(&found.encode()).expect("what was encoded");
                assert_eq!(again.encode(), found.encode());
                assert!(found.block_count() <= body.len());
                let _mismatch = found.check_block(0, body);
            }
        }
        6 => {
            let slot = seal(FileKind::SyncedMarksSlot, 1, body);
            if let Ok(read) = synced_marks::decode_slot(&slot) {
                assert_eq!(synced_marks::encode_slot(read.generation, &read.marks), slot);
            }
        }
        7 => {
            let _mark = RunningMark::decode(&seal(FileKind::RunningMark, 1, body));
        }
        _ => {
            let _mark = CleanMark::decode(&seal(FileKind::CleanMark, 1, body));
        }
    }
});
