//! Records of the metadata log: decoded, encoded again, and folded into an image one after the other.
//!
//! Records lie behind each other, each with its length in one byte in front.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_metadata::Image;
use millrace_schema::MetadataRecord;

fuzz_target!(|data: &[u8]| {
    let mut image = Image::default();
    let mut rest = data;
    while let Some((&length, behind)) = rest.split_first() {
        let (value, next) = behind.split_at(behind.len().min(usize::from(length)));
        rest = next;
        let Ok(record) = MetadataRecord::decode(value) else { continue };
        assert_eq!(MetadataRecord::decode(&record.encode()).expect("what was encoded"), record);
        // The image is dropped whole when a record contradicts it; here the next one meets the image before.
        if let Ok(folded) = image.clone().apply(&record) {
            // A snapshot's last record brings the version along.
            let expected = match &record {
                MetadataRecord::ImageResumed(counters) => counters.version,
                _ => image.version() + 1,
            };
            assert_eq!(folded.version(), expected);
            image = folded;
        }
    }
    assert!(image.topics().count() <= data.len());
});
