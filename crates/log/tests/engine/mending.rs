//! Damaged records are put back from another replica: whatever was done to which file, at rest and in use, and a power cut before
//! every call that it takes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_env::OpenMode;
use millrace_env::counting::CallKind;
use millrace_env::sim::{Fault, Sim, Survival};
use millrace_log::inspect::{Depth, Inspection};
use millrace_log::names::{PartitionEntry, SegmentFile, partition_dir, partition_entry, segment_file};
use millrace_log::{
    CompactionConfig, Isolation, Log, LogConfig, LogDir, MendError, MendStep, ReadError, ReadRequest,
};
use millrace_types::{CleanupPolicy, LeaderEpoch, OffsetRange};

use crate::replicating::{all_bytes, catch_up, replica, replicated};
use crate::world::{batch_at, offset, open_dir, partition, stamp};

/// A replica on a machine of its own.
struct Machine {
    sim: Sim,
    dir: Arc<LogDir>,
    log: Arc<Log>,
}

impl Machine {
    fn new(seed: u64) -> Machine {
        let (sim, dir, log) = replica(seed);
        Machine { sim, dir, log }
    }

    /// The machine stops at once and starts again, and all that it holds is committed; `harm` is done to its files in between.
    fn restart(self, harm: impl FnOnce(&Sim)) -> Machine {
        let machine = self.reopen(harm);
        machine.log.raise_high_watermark(machine.log.offsets().held);
        machine
    }

    /// As [`Self::restart`]; of nothing that it holds is known that it is committed.
    fn reopen(self, harm: impl FnOnce(&Sim)) -> Machine {
        let Machine { sim, dir, log } = self;
        drop((dir, log));
        sim.power_cut(Survival::Everything);
        harm(&sim);
        // What rots on the medium is seen once the cache is empty.
        let dir = open_dir(&sim.power_cut(Survival::Everything));
        let log = dir.open_log(partition(0), replicated()).unwrap();
        Machine { sim, dir, log }
    }

    fn base_of_each_segment(&self) -> Vec<u64> {
        let dir = PathBuf::from("/data").join(partition_dir(partition(0)));
        let entries = self.sim.env().fs.read_dir(&dir).unwrap();
        let base = |name: &str| match partition_entry(name) {
            PartitionEntry::Segment { base, file: SegmentFile::Log } => u64::try_from(base.get()).ok(),
            _ => None,
        };
        entries.iter().filter_map(|entry| base(&entry.name)).collect()
    }
}

fn path(base: u64, file: SegmentFile) -> PathBuf {
    PathBuf::from("/data").join(partition_dir(partition(0))).join(segment_file(offset(base), file))
}

/// Two machines that hold the same: several sealed segments, of several leader epochs.
fn two(seed: u64) -> (Machine, Machine) {
    let (leader, follower) = (Machine::new(seed), Machine::new(seed + 1_000));
    leader.log.begin_epoch(LeaderEpoch(1)).unwrap();
    for number in 0..120_u8 {
        if number % 25 == 24 {
            leader.log.begin_epoch(LeaderEpoch(i32::from(number))).unwrap();
        }
        let values: [&[u8]; 2] = [&[number; 900], &[number; 900]];
        let sent = batch_at(i64::from(number), &values, stamp(4, 2 * i32::from(number)));
        leader.log.append(sent).unwrap().wait().unwrap();
    }
    catch_up(&leader.log, &follower.log, 30_000);
    for machine in [&leader, &follower] {
        machine.log.raise_high_watermark(machine.log.offsets().held);
        machine.dir.janitor_step();
    }
    (leader, follower)
}

/// Mends every wound of a machine's log as a broker does. Answers why not, for those that stay.
fn mend(machine: &Machine, others: &[&Log]) -> Vec<String> {
    let mut why_not = Vec::new();
    let mut tries = 0;
    while let Some(wound) = machine.log.wounds().first().copied() {
        tries += 1;
        assert!(tries < 20, "{wound:?} comes again and again");
        match mend_one(&machine.log, wound, others) {
            Ok(()) => {}
            Err(MendError::Later(_)) => machine.dir.janitor_step(),
            Err(error) => {
                why_not.push(error.to_string());
                return why_not;
            }
        }
    }
    why_not
}

fn mend_one(log: &Log, wound: OffsetRange, others: &[&Log]) -> Result<(), MendError> {
    let mut mending = log.mend(wound)?;
    loop {
        let outcome = match mending.go_on() {
            Ok(MendStep::Mended) => return Ok(()),
            Ok(MendStep::GoesOn) => continue,
            Ok(MendStep::Wants(wanted)) => {
                let mut outcome = Err(MendError::Unfit("nobody has it".to_owned()));
                for bytes in others.iter().filter_map(|other| stored(other, wanted)) {
                    outcome = mending.take(&bytes);
                    if outcome.is_ok() {
                        break;
                    }
                }
                outcome
            }
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            mending.abandon();
            return Err(error);
        }
    }
}

/// Some of what another replica has.
fn stored(log: &Log, wanted: OffsetRange) -> Option<Bytes> {
    let request = ReadRequest { from: wanted.start, until: Some(wanted.end), bytes_max: 5_000 };
    log.read(&request).ok()?.load().ok().map(|read| read.extents.concat().into())
}

/// Reads all of it, past what is damaged.
fn read_all(log: &Log) {
    let mut from = log.offsets().log_start;
    while from < log.offsets().high_watermark {
        match log.read(&ReadRequest { from, until: None, bytes_max: 50_000 }).unwrap().load() {
            Ok(read) => from = read.range.end,
            Err(ReadError::Corrupt(range)) => from = range.end,
            Err(ReadError::Io(_)) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// What was mended is what the other has, now and after a start, and all files say so.
fn is_whole(machine: Machine, other: &Log) {
    assert_eq!(machine.log.wounds(), vec![]);
    catch_up(other, &machine.log, 30_000);
    assert!(all_bytes(&machine.log) == all_bytes(other), "it is not what the other has");
    let machine = machine.restart(|_| {});
    assert_eq!(machine.log.damaged(), vec![]);
    assert!(all_bytes(&machine.log) == all_bytes(other), "a start has made something else of it");
    let Machine { sim, dir, log } = machine;
    drop((dir, log));
    let report = Inspection::open(sim.kill().fs, "/data".as_ref()).unwrap().verify(Depth::Records);
    assert_eq!(report.worst(), None, "{report:?}");
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    Flip,
    Zeros,
    Truncate,
    Delete,
}

impl Harm {
    const ALL: [Harm; 4] = [Harm::Flip, Harm::Zeros, Harm::Truncate, Harm::Delete];

    /// At so many thousandths of the file.
    fn apply(self, sim: &Sim, base: u64, at: u64) {
        let (fs, path) = (sim.env().fs, path(base, SegmentFile::Log));
        let size = fs.open(&path, OpenMode::Read).unwrap().size().unwrap();
        let position = size * at / 1_000;
        match self {
            Harm::Flip => sim.disk().flip_bit(&path, position, 3).unwrap(),
            Harm::Zeros => {
                let file = fs.open(&path, OpenMode::ReadWrite).unwrap();
                let count = (size - position).min(4_096);
                file.write_all_at(&vec![0; usize::try_from(count).unwrap()], position).unwrap();
                file.sync_data().unwrap();
            }
            Harm::Truncate => {
                let file = fs.open(&path, OpenMode::ReadWrite).unwrap();
                file.set_len(position).unwrap();
                file.sync_data().unwrap();
            }
            Harm::Delete => {
                fs.unlink(&path).unwrap();
                fs.sync_dir(path.parent().unwrap()).unwrap();
            }
        }
    }
}

#[test]
fn whatever_a_start_finds_damaged_is_mended_from_another_replica() {
    for harm in Harm::ALL {
        for at in [0, 17, 500, 999] {
            let (_, follower) = two(at);
            let segments = follower.base_of_each_segment();
            assert!(segments.len() >= 4, "{segments:?}");
            for base in segments {
                let (leader, follower) = two(at);
                let follower = follower.restart(|sim| harm.apply(sim, base, at));
                read_all(&follower.log);
                assert_eq!(mend(&follower, &[&leader.log]), Vec::<String>::new(), "{harm:?} {at} {base}");
                is_whole(follower, &leader.log);
            }
        }
    }
}

#[test]
fn what_rots_while_it_is_served_is_mended_and_served_again() {
    let (leader, follower) = two(1);
    let base = leader.base_of_each_segment()[1];
    leader.sim.disk().flip_bit(&path(base, SegmentFile::Log), 7_000, 0).unwrap();
    for _ in 0..24 {
        leader.sim.clock().advance(Duration::from_secs(600));
        leader.dir.janitor_step();
    }
    let known = leader.log.damaged();
    let lost = known.first().unwrap().offsets;
    let read = |from| {
        let request = ReadRequest { from, until: None, bytes_max: 1 };
        leader.log.read(&request).unwrap().load().map(|read| read.range)
    };
    assert_eq!(read(lost.start).unwrap_err(), ReadError::Corrupt(lost), "{known:?}");
    assert_eq!(mend(&leader, &[&follower.log]), Vec::<String>::new());
    assert_eq!(read(lost.start).unwrap().start, lost.start);
    is_whole(leader, &follower.log);
}

#[test]
fn what_the_medium_does_not_give_is_put_back_too() {
    let (leader, follower) = two(6);
    let base = leader.base_of_each_segment()[1];
    let leader = leader.restart(|_| {});
    let file = segment_file(offset(base), SegmentFile::Log);
    for kind in [CallKind::Read, CallKind::Populate] {
        leader.sim.disk().inject(Fault::io(kind).on(&file).for_ever());
    }
    read_all(&leader.log);
    assert_eq!(leader.log.wounds().len(), 1, "{:?}", leader.log.damaged());
    let seen = leader.log.damaged()[0].to_string();
    assert!(seen.contains("the medium does not give the bytes"), "{seen}");
    assert_eq!(mend(&leader, &[&follower.log]), Vec::<String>::new());
    // The new file lies elsewhere on the medium.
    leader.sim.disk().heal();
    is_whole(leader, &follower.log);
}

#[test]
fn two_replicas_with_different_damage_mend_each_other() {
    let (leader, follower) = two(2);
    let bases = leader.base_of_each_segment();
    let reference = all_bytes(&leader.log);
    let leader = leader.restart(|sim| {
        Harm::Flip.apply(sim, bases[1], 100);
        Harm::Zeros.apply(sim, bases[2], 900);
    });
    let follower = follower.restart(|sim| {
        Harm::Flip.apply(sim, bases[3], 10);
        Harm::Delete.apply(sim, bases[0], 0);
    });
    read_all(&leader.log);
    read_all(&follower.log);
    assert_eq!(mend(&leader, &[&follower.log]), Vec::<String>::new());
    assert_eq!(mend(&follower, &[&leader.log]), Vec::<String>::new());
    assert!(all_bytes(&leader.log) == reference);
    is_whole(follower, &leader.log);
}

#[test]
fn what_is_not_committed_is_not_mended() {
    let (leader, follower) = two(3);
    let base = leader.base_of_each_segment()[1];
    let follower = follower.reopen(|sim| Harm::Zeros.apply(sim, base, 500));
    let request = ReadRequest { from: offset(base), until: None, bytes_max: 1 };
    let read = follower.log.read_as(Isolation::Held, &request).unwrap().load();
    assert!(matches!(read, Err(ReadError::Corrupt(_))));
    assert_eq!(follower.log.wounds(), vec![]);
    follower.log.raise_high_watermark(follower.log.offsets().held);
    assert_eq!(follower.log.wounds().len(), 1);
    assert_eq!(mend(&follower, &[&leader.log]), Vec::<String>::new());
    is_whole(follower, &leader.log);
}

#[test]
fn what_is_not_what_was_there_is_refused_and_nothing_is_changed() {
    let (leader, follower) = two(4);
    let base = leader.base_of_each_segment()[1];
    let follower = follower.restart(|sim| Harm::Zeros.apply(sim, base, 0));
    read_all(&follower.log);
    let wound = follower.log.wounds()[0];
    let first = stored(&leader.log, wound).unwrap();
    let wanted = |mending: &mut millrace_log::Mending| match mending.go_on() {
        Ok(MendStep::Wants(wanted)) => wanted,
        other => panic!("{other:?}"),
    };
    let mut flipped = first.to_vec();
    flipped[100] ^= 1;
    let mut of_another_epoch = first.to_vec();
    // The leader epoch, which no checksum covers.
    of_another_epoch[15] ^= 1;
    let later = stored(&leader.log, OffsetRange { start: offset(base + 2), end: wound.end }).unwrap();
    let cases: [(Bytes, &str); 5] = [
        (Bytes::new(), "nothing came"),
        (first.slice(..first.len() - 1), "for offset"),
        (flipped.into(), "checksum"),
        (of_another_epoch.into(), "leader epoch"),
        (later, "it is of offsets"),
    ];
    for (bytes, why) in cases {
        let mut mending = follower.log.mend(wound).unwrap();
        let _range = wanted(&mut mending);
        let refused = mending.take(&bytes).unwrap_err();
        assert!(matches!(refused, MendError::Unfit(_)) && refused.to_string().contains(why), "{refused}");
        // Another one at the same time would have the same files.
        assert!(matches!(follower.log.mend(wound), Err(MendError::Later(_))));
        mending.abandon();
        assert_eq!(follower.log.wounds(), vec![wound]);
    }
    // Nobody else has it: it stays as it is, and is answered as such.
    assert_eq!(mend(&follower, &[]), vec!["nobody has it".to_owned()]);
    let request = ReadRequest { from: offset(base), until: None, bytes_max: 1 };
    assert!(matches!(follower.log.read(&request).unwrap().load(), Err(ReadError::Corrupt(_))));
    assert_eq!(mend(&follower, &[&leader.log]), Vec::<String>::new());
    is_whole(follower, &leader.log);
}

fn compacted() -> LogConfig {
    let compaction = CompactionConfig { dirty_parts_min: 0, ..CompactionConfig::default() };
    LogConfig { cleanup: CleanupPolicy::Compact, compaction, ..replicated() }
}

#[test]
fn a_compacted_segment_is_mended_only_from_the_very_bytes_that_were_sealed() {
    // Two logs whose segments were compacted at the same time, and one whose were not.
    let machines: Vec<Machine> = (0..3)
        .map(|number| {
            let machine = Machine::new(50 + number);
            machine.log.begin_epoch(LeaderEpoch(1)).unwrap();
            machine
        })
        .collect();
    for number in 0..70_u8 {
        let mut builder = millrace_record::BatchBuilder::new(millrace_record::BatchOptions::default());
        for key in [number % 7, number] {
            let at = millrace_types::TimestampMs(i64::from(number));
            builder.append(at, Some(&[key]), Some(&[number; 900]), millrace_record::NO_HEADERS).unwrap();
        }
        let bytes = builder.build().unwrap().into_bytes();
        for machine in &machines {
            let checks =
                millrace_record::Checks { bytes_max: 1 << 20, origin: millrace_record::Origin::Client };
            let sent = millrace_record::Batch::check(bytes.clone(), &checks).unwrap();
            machine.log.append(sent).unwrap().wait().unwrap();
        }
    }
    for machine in &machines[..2] {
        machine.log.configure(compacted()).unwrap();
    }
    for machine in &machines {
        machine.log.raise_high_watermark(machine.log.offsets().held);
        for _ in 0..3 {
            machine.dir.janitor_step();
        }
    }
    let [one, same, other] = <[Machine; 3]>::try_from(machines).ok().unwrap();
    let due = all_bytes(&same.log);
    assert!(due == all_bytes(&one.log) && due.len() < all_bytes(&other.log).len());
    one.sim.disk().flip_bit(&path(0, SegmentFile::Log), 2_000, 3).unwrap();
    for _ in 0..24 {
        one.sim.clock().advance(Duration::from_secs(600));
        one.dir.janitor_step();
    }
    assert_eq!(one.log.wounds().len(), 1, "{:?}", one.log.damaged());
    let refused = mend(&one, &[&other.log]);
    assert!(refused.len() == 1 && refused[0].contains("was compacted otherwise there"), "{refused:?}");
    assert_eq!(mend(&one, &[&same.log]), Vec::<String>::new());
    assert!(all_bytes(&one.log) == due);
}

/// Cuts the power before call number `at` of mending. Answers whether it makes so many.
fn cut_before(at: u64, harm: Harm, survival: Survival) -> bool {
    let (leader, follower) = two(at);
    let base = leader.base_of_each_segment()[1];
    let follower = follower.restart(|sim| harm.apply(sim, base, 300));
    read_all(&follower.log);
    let cut = follower.sim.plan_cut(at, survival);
    let _cut_or_mended = mend(&follower, &[&leader.log]);
    let happened = cut.happened();
    drop(cut);
    let follower = follower.restart(|_| {});
    read_all(&follower.log);
    assert_eq!(mend(&follower, &[&leader.log]), Vec::<String>::new(), "{harm:?} {survival:?} {at}");
    is_whole(follower, &leader.log);
    happened
}

#[test]
fn a_power_cut_before_any_call_of_a_mending_leaves_what_was_there_or_what_is_whole() {
    for harm in [Harm::Zeros, Harm::Delete] {
        for survival in [Survival::Nothing, Survival::Random, Survival::Everything] {
            let mut at = 0;
            while cut_before(at, harm, survival) {
                at += 1;
            }
            assert!(at > 15, "mending makes {at} calls only");
        }
    }
}
