//! The native door's conversions: what a client sends becomes the broker's words or an error, and stored batches become
//! records within the range and the budget asked for.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_grpc::fuzzing;
use millrace_types::Offset;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, body)) = data.split_first() else { return };
    let message = Bytes::copy_from_slice(body);
    match choice % 5 {
        0 => drop(fuzzing::produce(message)),
        1 => drop((fuzzing::fetch(message.clone()), fuzzing::subscribe(message))),
        2 => drop(fuzzing::offsets(message)),
        4 => drop(fuzzing::groups(message)),
        _ => {
            let from = Offset::from_count(u64::from(choice >> 2));
            let end = from.saturating_add(3);
            let batches = Bytes::from(millrace_fuzz::mend_batch(body));
            if let Some(next) = fuzzing::stored_batches(batches, from, Some(end), 1 << 16) {
                assert!(
                    from <= next && next <= end,
                    "asked for {from:?} to {end:?}, told to go on at {next:?}"
                );
            }
        }
    }
});
