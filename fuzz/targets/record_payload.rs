//! The inside of a batch: hostile records, compressed by each codec or claimed to be.
//!
//! Decompression stays below its cap whatever the payload claims, and nobody panics over a record.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_record::Batch;

/// Enough for a bomb to show against the memory limit of the run.
const DECOMPRESSED_MAX: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, payload)) = data.split_first() else { return };
    let count = u32::from(choice >> 3) + 1;
    let bytes = Bytes::from(millrace_fuzz::batch_of(choice & 7, count, payload));
    let Ok(batch) = Batch::parse_stored(&bytes) else { return };
    let Ok(records) = batch.records_capped(DECOMPRESSED_MAX) else { return };
    assert!(records.payload().len() <= DECOMPRESSED_MAX);
    for view in records.views().map_while(Result::ok) {
        assert_eq!(view.headers().count(), view.headers().count());
        let (_offset, _time) = (records.offset_of(&view), records.timestamp_of(&view));
    }
});
