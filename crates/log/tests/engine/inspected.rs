//! What the engine leaves behind, looked at by the reader that does not share its code: `inspect`.

use std::path::Path;

use millrace_log::inspect::{Depth, Inspection};

use crate::world::{append, batch_at, fresh, offset, reopen, stamp};

#[test]
fn after_a_clean_stop_every_file_verifies() {
    let (sim, dir, log) = fresh(1);
    for number in 0..400 {
        let value = vec![1; 200 + 37 * (usize::try_from(number).unwrap() % 90)];
        // Times that go back and forth, and a producer.
        let time = 1_000_000 + 10 * i64::from(number) - 400 * i64::from(number % 7);
        log.append(batch_at(time, &[&value, b"second"], stamp(3, 2 * number))).unwrap();
        if number % 100 == 50 {
            dir.janitor_step();
        }
    }
    dir.close().unwrap();
    drop((dir, log));
    verify(&sim, 800);
    // A second life: a trim, a truncation, and a stop in the middle of a segment.
    let (dir, log) = reopen(&sim.env());
    log.trim_to(offset(100)).unwrap();
    log.truncate_to(offset(700)).unwrap();
    for _ in 0..100 {
        append(&log, &[5; 900]).unwrap();
    }
    dir.janitor_step();
    dir.close().unwrap();
    drop((dir, log));
    verify(&sim, 0);
}

fn verify(sim: &millrace_env::sim::Sim, records: u64) {
    let inspection = Inspection::open(sim.env().fs, Path::new("/data")).unwrap();
    let report = inspection.verify(Depth::Records);
    let findings: Vec<_> = report.partitions.iter().flat_map(|p| p.all_findings()).collect();
    assert!(findings.is_empty(), "{findings:#?}");
    if records > 0 {
        assert_eq!(report.partitions.iter().map(|p| p.records()).sum::<u64>(), records);
    }
}
