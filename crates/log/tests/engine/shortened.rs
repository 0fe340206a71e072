//! The file of a sealed segment becomes shorter under the log that has it mapped: somebody's hand, or a medium that fails.

use std::path::Path;

use millrace_env::OpenMode;
use millrace_log::{Log, ReadError, ReadRequest};
use millrace_types::TimestampMs;

use crate::world::{append, batch_at, fresh, offset, partition, values};

fn read(log: &Log, from: u64) -> Result<u64, ReadError> {
    let request = ReadRequest { from: offset(from), until: None, bytes_max: 1 };
    log.read(&request).unwrap().load().map(|answer| answer.range.start.get().cast_unsigned())
}

#[test]
fn what_is_left_of_a_shortened_file_is_answered_and_the_rest_is_corrupt() {
    for file in ["log", "index", "timeindex"] {
        let (sim, dir, log) = fresh(1);
        for number in 0..60 {
            log.append(batch_at(1000 + number, &[&[7; 3000]], None)).unwrap().wait().unwrap();
        }
        dir.janitor_step();
        assert_eq!(values(&log).len(), 60, "every block is checked, and mapped");
        log.offset_for_time(TimestampMs(1003)).unwrap().unwrap();
        let path = format!("/data/{}/00000000000000000000.{file}", partition(0));
        let opened = sim.env().fs.open(Path::new(&path), OpenMode::ReadWrite).unwrap();
        let size = opened.size().unwrap();
        opened.set_len(size / 3).unwrap();
        // An index whose map is not whole any more is not believed: it is mapped anew, found to be another, and rebuilt.
        let _first_answer_may_say_so = (read(&log, 15), log.offset_for_time(TimestampMs(1003)));
        assert_eq!(read(&log, 0), Ok(0));
        assert_eq!(log.offset_for_time(TimestampMs(1003)).unwrap().unwrap().offset, offset(3));
        match file {
            "log" => assert!(matches!(read(&log, 15), Err(ReadError::Corrupt(_)))),
            _ => assert_eq!(read(&log, 15), Ok(15)),
        }
        assert_eq!(read(&log, 59), Ok(59));
        assert_eq!(append(&log, b"on").unwrap().base_offset, offset(60));
    }
}
