//! Truncate, trim, reset.

use millrace_env::counting::CallKind;
use millrace_env::sim::{Fault, Survival};
use millrace_log::{AppendError, DirError, ReadAnswer, ReadError, ReadRequest};

use crate::world::{append, batch, batch_at, fresh, offset, reopen, stamp, values};

fn fill(log: &millrace_log::Log, count: u64) {
    for _ in 0..count {
        append(log, &[1; 2000]).unwrap();
    }
}

#[test]
fn truncation_above_the_high_watermark_tells_those_who_wait() {
    let (_sim, _dir, log) = fresh(1);
    fill(&log, 3);
    let kept = log.append(batch(&[b"kept"])).unwrap();
    let gone = log.append(batch(&[b"gone"])).unwrap();
    log.truncate_to(offset(4)).unwrap();
    assert_eq!(kept.wait().unwrap().base_offset, offset(3));
    assert!(matches!(gone.wait(), Err(AppendError::Truncated)));
    assert_eq!(log.offsets().high_watermark, offset(4));
    assert_eq!(append(&log, b"other").unwrap().base_offset, offset(4));
}

#[test]
fn a_deep_truncation_survives_a_power_cut_and_spares_open_readers() {
    for keep in [0_u64, 7, 31, 32, 33, 99] {
        let (sim, dir, log) = fresh(2);
        fill(&log, 100);
        dir.janitor_step();
        let plan = || log.read(&ReadRequest { from: offset(40), until: None, bytes_max: 5000 }).unwrap();
        let (plan, loaded) = (plan(), plan().load().unwrap());
        log.truncate_to(offset(keep)).unwrap();
        // A reader that has its bytes keeps them; one that has but a plan hears what is there now.
        let shares = |answer: &ReadAnswer| answer.range.start == offset(40) && answer.extents[0].len() > 300;
        assert!(shares(&loaded));
        match plan.load() {
            Ok(answer) => assert!(keep > 40 && shares(&answer), "{:?}", answer.range),
            Err(e) => assert!(keep < 40 && matches!(e, ReadError::OutOfRange { .. }), "{e:?}"),
        }
        assert_eq!(log.offsets().end, offset(keep));
        assert_eq!(append(&log, b"next").unwrap().base_offset, offset(keep));
        drop((dir, log));
        let (dir, log) = reopen(&sim.power_cut(Survival::Nothing));
        assert_eq!(dir.start_report().damaged, Vec::<String>::new());
        let found = values(&log);
        assert_eq!((found.len() as u64, found.last().unwrap().1.as_slice()), (keep + 1, &b"next"[..]));
    }
}

#[test]
fn truncation_takes_back_what_it_knows_of_producers() {
    let (_sim, _dir, log) = fresh(3);
    let send = |sequence| log.append(batch_at(1, &[&[1; 30_000]], stamp(4, sequence))).unwrap().wait();
    for sequence in 0..6 {
        send(sequence).unwrap();
    }
    log.truncate_to(offset(3)).unwrap();
    assert!(send(2).unwrap().duplicate);
    assert_eq!(send(4), Err(AppendError::OutOfOrderSequence { expected: 3, found: 4 }));
    let again = send(3).unwrap();
    assert_eq!((again.base_offset, again.duplicate), (offset(3), false));
}

#[test]
fn a_trim_drops_segments_and_survives_a_restart() {
    let (sim, dir, log) = fresh(4);
    fill(&log, 100);
    dir.janitor_step();
    let before = log.size_bytes();
    log.trim_to(offset(70)).unwrap();
    assert!(log.size_bytes() < before / 2);
    assert_eq!(log.offsets().log_start, offset(70));
    let below = log.read(&ReadRequest { from: offset(69), until: None, bytes_max: 1 });
    assert!(matches!(below, Err(ReadError::OutOfRange { .. })));
    assert!(matches!(log.trim_to(offset(101)), Err(DirError::Conflict(_))));
    drop((dir, log));
    let (dir, log) = reopen(&sim.power_cut(Survival::Random));
    assert_eq!((log.offsets().log_start, log.offsets().end), (offset(70), offset(100)));
    assert_eq!(values(&log)[0].0, 70);
    assert_eq!(dir.start_report().damaged, Vec::<String>::new());
}

#[test]
fn a_trim_on_a_full_disk_harms_nothing() {
    let (sim, dir, log) = fresh(5);
    fill(&log, 100);
    dir.janitor_step();
    sim.disk().inject(Fault::no_space(CallKind::Write).on("log.start"));
    assert!(matches!(log.trim_to(offset(70)), Err(DirError::Io { .. })));
    assert_eq!(log.offsets().log_start, offset(0));
    assert_eq!(append(&log, b"goes on").unwrap().base_offset, offset(100));
    log.trim_to(offset(70)).unwrap();
    assert_eq!(log.offsets().log_start, offset(70));
}

#[test]
fn a_reset_empties_the_log_and_begins_where_it_is_told() {
    for start in [0_u64, 5, 1000] {
        let (sim, dir, log) = fresh(6);
        fill(&log, 60);
        log.append(batch_at(1, &[b"x"], stamp(4, 0))).unwrap().wait().unwrap();
        log.reset_to(offset(start)).unwrap();
        let offsets = log.offsets();
        assert_eq!(
            (offsets.log_start, offsets.high_watermark, offsets.end),
            (offset(start), offset(start), offset(start))
        );
        let fresh_start = log.append(batch_at(1, &[b"x"], stamp(4, 0))).unwrap().wait().unwrap();
        assert_eq!((fresh_start.base_offset, fresh_start.duplicate), (offset(start), false));
        drop((dir, log));
        let (dir, log) = reopen(&sim.power_cut(Survival::Nothing));
        assert_eq!(dir.start_report().damaged, Vec::<String>::new());
        assert_eq!(values(&log), [(i64::try_from(start).unwrap(), b"x".to_vec())]);
        assert_eq!(log.offsets().log_start, offset(start));
    }
}
