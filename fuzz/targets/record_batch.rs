//! Bytes of a client taken for one batch, and bytes of a segment taken for a run of batches.
//!
//! What `check` accepts can be placed and read back; a run never reports more bytes than there are.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_record::{Batch, Checks, Origin, split_batches};
use millrace_types::{LeaderEpoch, Offset};

fuzz_target!(|data: &[u8]| {
    // Without its checksum hardly anything would come past the first look: the first byte says whether to mend it.
    let Some((&mend, rest)) = data.split_first() else { return };
    let bytes = Bytes::from(if mend & 1 == 1 { millrace_fuzz::mend_batch(rest) } else { rest.to_vec() });
    let origin = if mend & 2 == 2 { Origin::Internal } else { Origin::Client };

    if let Ok(batch) = Batch::check(bytes.clone(), &Checks { bytes_max: 1 << 16, origin }) {
        let placed = batch.placed_at(Offset::from_count(7), LeaderEpoch(3));
        let stored = Batch::parse_stored(placed.bytes()).expect("a checked batch can be read back");
        assert_eq!(stored.base_offset(), Offset::from_count(7));
        assert_eq!(stored.record_count(), batch.record_count());
    }
    let mut bytes_read = 0;
    for batch in split_batches(bytes.clone()).map_while(Result::ok) {
        bytes_read += batch.size();
    }
    assert!(bytes_read <= bytes.len());
});
