//! Closing a directory while not everything in it is in order.

use millrace_env::counting::CallKind;
use millrace_env::sim::{Sim, Survival};

use super::*;
use crate::fixture::{batch, fresh, meta, open_dir, partition, small};

fn is_clean(env: &Env) -> bool {
    let dir = open_dir(env);
    dir.start_report().clean
}

#[test]
fn a_log_that_was_not_recovered_keeps_the_next_start_unclean() {
    let (sim, dir, log) = fresh(1);
    dir.create(meta(1), small()).unwrap();
    log.append(batch(&[b"a"], None)).unwrap().wait().unwrap();
    drop((log, dir));
    let env = sim.power_cut(Survival::Nothing);

    let dir = open_dir(&env);
    dir.open_log(partition(0), small()).unwrap();
    dir.close().unwrap();
    drop(dir);
    let dir = open_dir(&env);
    assert!(!dir.start_report().clean, "partition 1 was never recovered");
    dir.open_log(partition(0), small()).unwrap();
    dir.delete(partition(1)).unwrap();
    dir.close().unwrap();
    drop(dir);
    assert!(is_clean(&env), "what is left was recovered");
}

#[test]
fn logs_that_nobody_opened_after_a_clean_start_are_still_clean() {
    let (sim, dir, _log) = fresh(2);
    dir.close().unwrap();
    drop(dir);
    let dir = open_dir(&sim.env());
    dir.close().unwrap();
    drop(dir);
    assert!(is_clean(&sim.env()));
}

#[test]
fn closing_waits_for_a_write_under_way_and_syncs_it() {
    let sim = Sim::new(3);
    let dir = open_dir(&sim.env());
    let log = dir.create(meta(0), small()).unwrap();
    let hold = sim.calls().hold(CallKind::Write);
    std::thread::scope(|scope| {
        let appended = scope.spawn(|| log.append(batch(&[b"a"], None)).map(drop));
        hold.wait_for(1);
        let closed = scope.spawn(|| dir.close());
        // The batch is out of the queue and in no file. Closing cannot be done before it is.
        assert!(!closed.is_finished());
        hold.release();
        appended.join().unwrap().unwrap();
        closed.join().unwrap().unwrap();
    });
    drop((log, dir));
    let env = sim.power_cut(Survival::Nothing);
    let dir = open_dir(&env);
    assert!(dir.start_report().clean);
    assert_eq!(dir.open_log(partition(0), small()).unwrap().offsets().end.get(), 1);
}
