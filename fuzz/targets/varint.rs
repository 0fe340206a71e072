//! Zigzag integers: what is read is what would be written, for every canonical form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_record::varint::{read_varint, read_varlong, write_varint, write_varlong};

fuzz_target!(|data: &[u8]| {
    if let Ok((value, taken)) = read_varint(data) {
        assert!((1..=5).contains(&taken));
        let mut written = Vec::new();
        write_varint(&mut written, value);
        assert_eq!(read_varint(&written).expect("what was written"), (value, written.len()));
    }
    if let Ok((value, taken)) = read_varlong(data) {
        assert!((1..=10).contains(&taken));
        let mut written = Vec::new();
        write_varlong(&mut written, value);
        assert_eq!(read_varlong(&written).expect("what was written"), (value, written.len()));
    }
});
