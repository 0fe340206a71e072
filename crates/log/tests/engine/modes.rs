//! The sync modes: what each acknowledges before a sync, and what a kill and a power cut leave of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use millrace_env::counting::CallKind;
use millrace_env::sim::{Fault, Sim, Survival};
use millrace_env::{BoxFuture, Clock, Env, FsExt, Monotonic, OpenMode, TaskHandle, Tasks, ThreadHandle};
use millrace_log::names::{SYNC_OS, SegmentFile, partition_dir, segment_file};
use millrace_log::{AppendError, Appended, Log, LogConfig, LogDir, ReadAnswer, ReadRequest, Ticket};
use millrace_types::{Offset, SyncMode};

use crate::world::{
    append, batch, batch_at, meta, offset, open_dir, options, partition, small, split, stamp, values,
};

const MS: Duration = Duration::from_millis(1);
const HOUR: &str = "interval=3600000,16777216";

fn in_mode(mode: &str) -> LogConfig {
    LogConfig { sync_mode: mode.parse().unwrap(), ..small() }
}

/// A machine with an empty log in this mode.
fn fresh(seed: u64, mode: &str) -> (Sim, Arc<LogDir>, Arc<Log>) {
    let sim = Sim::new(seed);
    let dir = open_dir(&sim.env());
    let log = dir.create(meta(0), in_mode(mode)).unwrap();
    (sim, dir, log)
}

fn reopen(env: &Env, mode: &str) -> (Arc<LogDir>, Arc<Log>) {
    let dir = open_dir(env);
    let log = dir.open_log(partition(0), in_mode(mode)).unwrap();
    (dir, log)
}

/// The answer of a ticket, if it has one. Never blocks while somebody else syncs.
fn poll(ticket: &mut Ticket) -> Option<Result<Appended, AppendError>> {
    match Pin::new(ticket).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn marks(log: &Log) -> (i64, i64, i64) {
    let offsets = log.offsets();
    (offsets.synced_end.get(), offsets.high_watermark.get(), offsets.end.get())
}

/// What the flusher's threads do comes at some time.
fn until_synced(log: &Log, end: u64) {
    while log.offsets().synced_end < offset(end) {
        std::thread::yield_now();
    }
}

fn marked_os(env: &Env) -> bool {
    env.fs.exists(&options(0).path.join(partition_dir(partition(0))).join(SYNC_OS)).unwrap()
}

#[test]
fn a_kill_loses_nothing_that_was_acknowledged_in_any_mode() {
    for mode in ["always", "interval=1,4096", "interval=100,65536", HOUR, "os"] {
        let (sim, dir, log) = fresh(1, mode);
        for number in 0..100_u8 {
            append(&log, &[number; 3000]).unwrap();
        }
        let expected = values(&log);
        assert_eq!(expected.len(), 100, "{mode}");
        drop((dir, log));
        let (dir, log) = reopen(&sim.kill(), mode);
        assert_eq!(values(&log), expected, "{mode}");
        assert_eq!(dir.start_report().cut, Vec::<String>::new());
    }
}

#[test]
fn the_weaker_modes_acknowledge_and_show_what_is_written_and_make_no_sync_for_it() {
    for mode in [HOUR, "os"] {
        let (sim, dir, log) = fresh(2, mode);
        let before = sim.calls().count(CallKind::SyncData);
        for _ in 0..5 {
            append(&log, &[1; 500]).unwrap();
        }
        assert_eq!(marks(&log), (0, 5, 5), "{mode}");
        assert_eq!(values(&log).len(), 5);
        assert_eq!(sim.calls().count(CallKind::SyncData), before, "{mode}");
        dir.janitor_step();
        assert_eq!(log.offsets().synced_end, offset(0), "{mode}: the janitor has no business with it");
        assert_eq!(dir.sync_due_at().is_some(), mode == HOUR);
    }
}

#[test]
fn what_is_rolled_is_synced_and_sealed_in_every_mode() {
    for mode in ["always", HOUR, "os"] {
        let (sim, dir, log) = fresh(3, mode);
        for _ in 0..30 {
            append(&log, &[1; 3000]).unwrap();
        }
        dir.janitor_step();
        assert_eq!(log.offsets().synced_end, offset(30), "{mode}");
        let seal = options(0).path.join(partition_dir(partition(0)));
        let seal = seal.join(segment_file(offset(0), SegmentFile::Seal));
        assert!(sim.env().fs.exists(&seal).unwrap(), "{mode}");
        dir.close().unwrap();
        drop((dir, log));
        let (dir, log) = reopen(&sim.power_cut(Survival::Nothing), mode);
        assert!(dir.start_report().clean);
        assert_eq!(values(&log).len(), 30, "{mode}: a stop syncs everything");
    }
}

#[test]
fn an_append_over_the_bound_of_bytes_waits_for_the_sync() {
    let (sim, _dir, log) = fresh(4, "interval=3600000,8192");
    let hold = sim.calls().hold(CallKind::SyncData);
    let bytes = batch(&[&[7; 1000]]).size();
    let in_bounds = 8192 / bytes;
    for number in 0..in_bounds {
        let mut ticket = log.append(batch(&[&[7; 1000]])).unwrap();
        assert!(poll(&mut ticket).unwrap().is_ok(), "number {number} is within the bound");
        if (number + 1) * bytes >= 4096 {
            // From half the bound on a sync is under way. Nobody has to wait for it yet.
            hold.wait_for(1);
        }
    }
    let mut over = log.append(batch_at(1, &[&[7; 1000]], stamp(5, 0))).unwrap();
    let mut retry = log.append(batch_at(1, &[&[7; 1000]], stamp(5, 0))).unwrap();
    let mut later = log.append(batch(&[b"a small one does not pass"])).unwrap();
    assert!(poll(&mut over).is_none() && poll(&mut retry).is_none() && poll(&mut later).is_none());
    let held = i64::try_from(in_bounds).unwrap();
    assert_eq!(marks(&log), (0, held, held + 2));
    assert_eq!(values(&log).len(), in_bounds, "what waits is not shown");
    hold.release();
    assert_eq!(over.wait().unwrap().base_offset.get(), held);
    let retry = retry.wait().unwrap();
    assert_eq!((retry.base_offset.get(), retry.duplicate), (held, true));
    later.wait().unwrap();
    // A batch that is larger than the bound is synced before it is acknowledged.
    append(&log, &[8; 20_000]).unwrap();
    assert_eq!(log.offsets().synced_end, log.offsets().end);
}

#[test]
fn an_append_waits_when_the_oldest_unsynced_byte_is_over_age_because_the_disk_is_slow() {
    let (sim, dir, log) = fresh(5, "interval=100,1048576");
    let hold = sim.calls().hold(CallKind::SyncData);
    append(&log, b"first").unwrap();
    sim.clock().advance(50 * MS);
    dir.sync_due();
    hold.wait_for(1);
    append(&log, b"while the sync is under way").unwrap();
    sim.clock().advance(49 * MS);
    append(&log, b"just in time").unwrap();
    sim.clock().advance(MS);
    let mut late = log.append(batch(&[b"late"])).unwrap();
    assert!(poll(&mut late).is_none());
    assert_eq!(marks(&log), (0, 3, 4));
    hold.release();
    assert_eq!(late.wait().unwrap().base_offset, offset(3));
}

#[test]
fn a_sync_is_due_at_half_of_the_time_and_an_idle_log_has_none() {
    let (sim, dir, log) = fresh(6, "interval=100,1048576");
    let soon = dir.create(meta(1), in_mode("interval=10,1048576")).unwrap();
    assert_eq!(dir.sync_due_at(), None);
    let mut sooner = Box::pin(dir.sync_due_sooner(None));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(sooner.as_mut().poll(&mut cx).is_pending());
    append(&log, b"x").unwrap();
    assert_eq!(dir.sync_due_at(), Some(Monotonic(50 * MS)));
    assert!(sooner.as_mut().poll(&mut cx).is_ready());
    let mut sooner = Box::pin(dir.sync_due_sooner(dir.sync_due_at()));
    assert!(sooner.as_mut().poll(&mut cx).is_pending());
    append(&soon, b"y").unwrap();
    assert_eq!(dir.sync_due_at(), Some(Monotonic(5 * MS)));
    assert!(sooner.as_mut().poll(&mut cx).is_ready());
    sim.clock().advance(5 * MS);
    dir.sync_due();
    until_synced(&soon, 1);
    assert_eq!(log.offsets().synced_end, offset(0), "its time has not come");
    assert_eq!(dir.sync_due_at(), Some(Monotonic(50 * MS)));
    sim.clock().advance(45 * MS);
    dir.sync_due();
    until_synced(&log, 1);
    assert_eq!(dir.sync_due_at(), None);
}

#[test]
fn an_interval_that_comes_back_is_timed_again() {
    let (sim, dir, log) = fresh(15, "interval=100,1048576");
    append(&log, b"x").unwrap();
    log.configure(in_mode("os")).unwrap();
    sim.clock().advance(60 * MS);
    dir.sync_due();
    assert_eq!((dir.sync_due_at(), log.offsets().synced_end), (None, offset(0)));
    log.configure(in_mode("interval=100,1048576")).unwrap();
    append(&log, b"y").unwrap();
    assert_eq!(dir.sync_due_at(), Some(Monotonic(110 * MS)));
    log.configure(in_mode("interval=20,1048576")).unwrap();
    assert_eq!(dir.sync_due_at(), Some(Monotonic(70 * MS)), "a shorter one counts at once");
    sim.clock().advance(10 * MS);
    dir.sync_due();
    until_synced(&log, 2);
}

#[test]
fn after_a_failed_sync_of_an_interval_nothing_is_acknowledged() {
    let (sim, dir, log) = fresh(7, "interval=3600000,8192");
    let hold = sim.calls().hold(CallKind::SyncData);
    sim.disk().inject(Fault::io(CallKind::SyncData).on(".log"));
    let mut acked = 0;
    let mut waiting = loop {
        let mut ticket = log.append(batch(&[&[7; 5000]])).unwrap();
        match poll(&mut ticket) {
            Some(answer) => acked = answer.unwrap().base_offset.get() + 1,
            None => break ticket,
        }
        hold.wait_for(1);
    };
    assert_eq!((acked, poll(&mut waiting)), (1, None));
    hold.release();
    assert!(matches!(waiting.wait(), Err(AppendError::StorageFailed(_))));
    assert!(matches!(append(&log, b"more"), Err(AppendError::StorageFailed(_))));
    assert!(dir.close().is_err());
    drop((dir, log));
    let (_dir, log) = reopen(&sim.kill(), "always");
    assert_eq!(values(&log).len(), 0, "the one within the bound is lost, as the mode allows");
}

#[test]
fn a_mode_changes_for_later_appends_and_always_syncs_what_is_not() {
    let (sim, _dir, log) = fresh(8, "os");
    assert!(marked_os(&sim.env()));
    append(&log, b"kernel's").unwrap();
    assert_eq!(marks(&log), (0, 1, 1));
    log.configure(in_mode("always")).unwrap();
    assert_eq!(marks(&log), (1, 1, 1));
    assert!(!marked_os(&sim.env()));
    let hold = sim.calls().hold(CallKind::SyncData);
    let waiting = log.append(batch(&[b"waits"])).unwrap();
    assert_eq!(marks(&log), (1, 1, 2));
    drop(hold);
    log.configure(in_mode(HOUR)).unwrap();
    waiting.wait().unwrap();
    append(&log, b"does not wait").unwrap();
    assert_eq!(marks(&log).1, 3);
    log.configure(in_mode("os")).unwrap();
    assert!(marked_os(&sim.env()));
    append(&log, b"neither").unwrap();
    log.configure(in_mode(HOUR)).unwrap();
    assert_eq!((marks(&log), marked_os(&sim.env())), ((4, 4, 4), false), "the mark goes after a sync only");
}

#[test]
fn without_room_for_its_mark_a_log_keeps_to_always_instead_of_os() {
    let (sim, dir, log) = fresh(9, "always");
    dir.close().unwrap();
    drop((dir, log));
    sim.disk().inject(Fault::no_space(CallKind::Create).on(SYNC_OS));
    let (_dir, log) = reopen(&sim.env(), "os");
    assert!(!marked_os(&sim.env()));
    append(&log, b"synced").unwrap();
    assert_eq!(marks(&log), (1, 1, 1));
}

#[test]
fn a_reader_that_was_ahead_of_a_power_cut_is_told() {
    for mode in [HOUR, "os"] {
        let (sim, dir, log) = fresh(10, mode);
        let epoch = log.leader_epoch();
        for _ in 0..5 {
            append(&log, b"before").unwrap();
        }
        assert_eq!(values(&log).len(), 5, "somebody has read them");
        drop((dir, log));
        let (_dir, log) = reopen(&sim.power_cut(Survival::Nothing), mode);
        assert!(log.leader_epoch() > epoch);
        for _ in 0..7 {
            append(&log, b"after").unwrap();
        }
        // What a fetch at offset 5 with the epoch of what it has read before is checked against (KIP-320).
        assert_eq!(log.end_of_epoch(epoch).map(|(_, end)| end), Some(offset(0)), "{mode}");
    }
}

#[test]
fn a_truncation_leaves_readers_what_they_were_shown() {
    let (_sim, _dir, log) = fresh(11, "os");
    for value in [b"one", b"two", b"six"] {
        append(&log, value).unwrap();
    }
    let plan = || log.read(&ReadRequest { from: offset(0), until: None, bytes_max: 1000 }).unwrap();
    let (loaded, planned) = (plan().load().unwrap(), plan());
    log.truncate_to(offset(1)).unwrap();
    append(&log, b"new").unwrap();
    let last_of = |answer: &ReadAnswer| {
        let batches: Vec<_> = answer.extents.iter().flat_map(split).collect();
        let records = batches.last().unwrap().records().unwrap();
        (batches.len(), records.views().next().unwrap().unwrap().value.unwrap().to_vec())
    };
    assert_eq!(last_of(&loaded), (3, b"six".to_vec()));
    // Whoever has only planned is shown the log as it is now, and no mixture of both.
    assert_eq!(last_of(&planned.load().unwrap()), (2, b"new".to_vec()));
    assert_eq!(values(&log), [(0, b"one".to_vec()), (1, b"new".to_vec())]);
}

#[test]
fn a_trim_to_what_is_not_synced_survives_a_power_cut() {
    let (sim, dir, log) = fresh(12, "os");
    for _ in 0..10 {
        append(&log, b"x").unwrap();
    }
    log.trim_to(offset(7)).unwrap();
    drop((dir, log));
    let (dir, log) = reopen(&sim.power_cut(Survival::Nothing), "os");
    assert_eq!((log.offsets().log_start, log.offsets().end), (offset(7), offset(10)));
    assert_eq!(dir.start_report().damaged, Vec::<String>::new());
}

/// Twenty megabytes in one segment, the first bytes of which did not reach the medium.
fn torn_far_before_its_end(mode: &str) -> (Sim, Env) {
    let sim = Sim::new(13);
    let dir = open_dir(&sim.env());
    let config = LogConfig { segment_bytes: 1 << 30, batch_bytes_max: 4 << 20, ..in_mode(mode) };
    let log = dir.create(meta(0), config).unwrap();
    for _ in 0..10 {
        append(&log, &vec![3; 2 << 20]).unwrap();
    }
    drop((dir, log));
    let env = sim.kill();
    let path = options(0).path.join(partition_dir(partition(0)));
    let file =
        env.fs.open(&path.join(segment_file(offset(0), SegmentFile::Log)), OpenMode::ReadWrite).unwrap();
    file.write_all_at(&[0; 4096], 0).unwrap();
    file.sync_data().unwrap();
    (sim, env)
}

#[test]
fn any_number_of_bytes_may_be_torn_where_os_may_have_written_and_a_bounded_number_elsewhere() {
    for (then, now, damaged, end) in
        [("os", "os", 0, 0), ("os", "always", 0, 0), ("os", HOUR, 0, 0), ("always", "always", 1, 10)]
    {
        let (_sim, env) = torn_far_before_its_end(then);
        let (dir, log) = reopen(&env, now);
        let report = dir.start_report();
        assert_eq!(
            (report.damaged.len(), log.offsets().end),
            (damaged, offset(end)),
            "{then}, {now}: {report:?}"
        );
        assert_eq!(marked_os(&env), now == "os", "synced by recovery, the log forgets the mode it had");
    }
}

/// An operating system that gives the process no more threads: the flusher works on the threads of its callers, and one
/// seed is one history.
#[derive(Debug)]
struct NoThreads;

impl Tasks for NoThreads {
    fn spawn(&self, _name: &'static str, _future: BoxFuture<()>) -> Box<dyn TaskHandle> {
        unreachable!("the engine has no tasks")
    }

    fn blocking_section(&self, work: &mut dyn FnMut()) {
        work();
    }

    fn on_io_pool(&self, _work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        unreachable!("the engine has no tasks")
    }

    fn thread(&self, _: &str, _: Box<dyn FnOnce() + Send>) -> std::io::Result<Box<dyn ThreadHandle>> {
        Err(std::io::ErrorKind::WouldBlock.into())
    }
}

/// An acknowledged record.
#[derive(Debug)]
struct Acked {
    at: Monotonic,
    bytes: u64,
}

/// One history with a power cut. Answers the acknowledged records that it took, in order, and when it came.
fn cut(seed: u64, mode: &str, timer: bool) -> (Vec<Acked>, Monotonic) {
    let sim = Sim::new(seed);
    let env = Env { tasks: Arc::new(NoThreads), ..sim.env() };
    let dir = open_dir(&env);
    let log = dir.create(meta(0), in_mode(mode)).unwrap();
    let (mut written, mut acked) = (Vec::new(), Vec::new());
    for _ in 0..20 + sim.rng().below(100) {
        let size = if sim.rng().below(8) == 0 { 12_000 } else { 1 + sim.rng().below(2000) };
        let mut value = vec![0; usize::try_from(size).unwrap()];
        millrace_env::Rng::fill(&**sim.rng(), &mut value);
        let batch = batch(&[&value]);
        let bytes = batch.size() as u64;
        log.append(batch).unwrap().wait().unwrap();
        written.push(value);
        acked.push(Acked { at: sim.clock().monotonic(), bytes });
        for _ in 0..sim.rng().below(12) {
            sim.clock().advance(5 * MS);
            if timer {
                dir.sync_due();
            }
        }
        if sim.rng().below(30) == 0 {
            dir.janitor_step();
        }
    }
    // The last one: nobody was told of it.
    let unanswered = log.append(batch(&[b"unanswered"])).unwrap();
    written.push(b"unanswered".to_vec());
    drop((unanswered, dir, log));
    let survival = if seed.is_multiple_of(5) { Survival::Nothing } else { Survival::Random };
    let (dir, log) = reopen(&sim.power_cut(survival), mode);
    assert_eq!(dir.start_report().damaged, Vec::<String>::new());
    let found = values(&log);
    for (number, ((at, value), expected)) in found.iter().zip(&written).enumerate() {
        assert!(
            *at == i64::try_from(number).unwrap() && value == expected,
            "a hole or another record at {at}"
        );
    }
    assert!(found.len() <= written.len());
    let lost = acked.into_iter().skip(found.len()).collect();
    (lost, sim.clock().monotonic())
}

#[test]
fn a_power_cut_takes_no_more_than_the_bounds_of_an_interval_and_takes_a_suffix() {
    let (age, bytes) = (100 * MS, 16_384);
    let (mut most, mut longest) = (0, Duration::ZERO);
    for seed in 0..200 {
        let timer = seed % 2 == 0;
        let (lost, now) = cut(seed, "interval=100,16384", timer);
        let lost_bytes: u64 = lost.iter().map(|lost| lost.bytes).sum();
        assert!(lost_bytes <= bytes, "seed {seed}: {lost_bytes} bytes lost");
        if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
            assert!(last.at.since(first.at) < age, "seed {seed}: {lost:?}");
            assert!(!timer || now.since(first.at) <= age, "seed {seed}: lost {first:?} at {now:?}");
            (most, longest) = (most.max(lost_bytes), longest.max(last.at.since(first.at)));
        }
    }
    assert!(most > bytes / 3 && longest > age / 3, "the bounds are used: {most} bytes, {longest:?}");
}

#[test]
fn a_power_cut_takes_a_suffix_from_os_and_nothing_from_always() {
    let mut lost_by_os = 0;
    for seed in 0..100 {
        assert_eq!(cut(seed, "always", false).0.len(), 0, "seed {seed}");
        lost_by_os += cut(seed, "os", false).0.len();
    }
    assert!(lost_by_os > 100, "{lost_by_os}");
}

#[test]
fn bytes_over_the_bound_on_what_is_unsynced_do_not_stop_os() {
    let (_sim, _dir, log) = fresh(14, "os");
    log.configure(LogConfig { segment_bytes: 1 << 30, batch_bytes_max: 8 << 20, ..in_mode("os") }).unwrap();
    let large = vec![1; 7 << 20];
    for number in 0..4 {
        assert_eq!(append(&log, &large).unwrap().base_offset, offset(number));
    }
    assert_eq!(marks(&log), (0, 4, 4));
    assert_eq!(log.offsets().end, Offset::from_count(4));
    assert_eq!(in_mode("os").sync_mode, SyncMode::Os);
}
