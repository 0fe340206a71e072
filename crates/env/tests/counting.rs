//! Counting, holding and failing calls.

use std::io::{ErrorKind, IoSlice};
use std::path::Path;
use std::sync::Arc;

use millrace_env::counting::{CallKind, Calls, Counting};
use millrace_env::sim::{Fault, Sim, SimDisk};
use millrace_env::{Fs, FsExt, OpenMode, real};

const LOG: &str = "/log";

#[test]
fn sixty_four_buffers_are_one_write_call() {
    let sim = Sim::new(1);
    let file = sim.env().fs.open(Path::new(LOG), OpenMode::CreateNew).unwrap();
    let batch = [7; 100];
    file.write_all_vectored_at(&[IoSlice::new(&batch); 64], 0).unwrap();
    assert_eq!((sim.calls().count(CallKind::Write), sim.calls().bytes(CallKind::Write)), (1, 6400));
}

#[test]
fn the_real_file_system_is_counted_the_same_way() {
    let directory = tempfile::tempdir().unwrap();
    let fs = Counting::new(real::env().fs, Calls::new());
    let path = directory.path().join("f");
    fs.replace(&path, b"content").unwrap();
    fs.read_small(&path, 100).unwrap();
    fs.open(&directory.path().join("none"), OpenMode::Read).unwrap_err();
    let calls = fs.calls();
    let count = |kind| calls.count(kind);
    assert_eq!([CallKind::Create, CallKind::Write, CallKind::SyncData].map(count), [1, 1, 1]);
    assert_eq!([CallKind::Rename, CallKind::SyncDir, CallKind::Read].map(count), [1, 1, 1]);
    assert_eq!((calls.count(CallKind::Open), calls.tally(CallKind::Open).failed), (2, 1));
    assert_eq!((calls.bytes(CallKind::Write), calls.bytes(CallKind::Read)), (7, 7));
    let order: Vec<CallKind> = calls.log().into_iter().map(|logged| logged.call.kind).take(5).collect();
    let expected =
        [CallKind::Create, CallKind::Write, CallKind::SyncData, CallKind::Rename, CallKind::SyncDir];
    assert_eq!(order, expected);
    calls.reset();
    assert_eq!((calls.total(), calls.log().len()), (0, 0));
}

#[test]
fn populating_a_map_is_counted_by_its_range() {
    let sim = Sim::new(1);
    let file = sim.env().fs.open(Path::new(LOG), OpenMode::CreateNew).unwrap();
    file.write_all_at(&[1; 10_000], 0).unwrap();
    let map = file.map(10_000).unwrap();
    map.populate(4096..8192).unwrap();
    assert_eq!(sim.calls().bytes(CallKind::Populate), 4096);
    assert_eq!(map.bytes(), [1; 10_000]);
}

#[test]
fn held_syncs_are_seen_to_overlap() {
    let sim = Sim::new(1);
    let fs = sim.env().fs;
    let hold = sim.calls().hold(CallKind::SyncData);
    let threads: Vec<_> = (0..16)
        .map(|index| {
            let file = fs.open(Path::new(&format!("/{index}")), OpenMode::CreateNew).unwrap();
            sim.env().tasks.thread("sync", Box::new(move || file.sync_data().unwrap())).unwrap()
        })
        .collect();
    hold.wait_for(16);
    assert_eq!((hold.held(), sim.calls().tally(CallKind::SyncData).in_flight), (16, 16));
    hold.release();
    for thread in threads {
        thread.join();
    }
    let tally = sim.calls().tally(CallKind::SyncData);
    assert_eq!((tally.calls, tally.in_flight, tally.in_flight_max), (16, 0, 16));
}

#[test]
fn a_call_that_is_held_over_a_power_cut_fails() {
    let sim = Sim::new(1);
    let fs = sim.env().fs;
    let file = fs.open(Path::new(LOG), OpenMode::CreateNew).unwrap();
    let hold = sim.calls().hold(CallKind::SyncData);
    let (sender, receiver) = std::sync::mpsc::channel();
    let work = Box::new(move || sender.send(file.sync_data()).unwrap());
    let thread = sim.env().tasks.thread("sync", work).unwrap();
    hold.wait_for(1);
    sim.power_cut(millrace_env::sim::Survival::Nothing);
    hold.release();
    receiver.recv().unwrap().unwrap_err();
    thread.join();
}

#[test]
fn a_hook_sees_what_is_asked_for() {
    let sim = Sim::new(1);
    let file = sim.env().fs.open(Path::new(LOG), OpenMode::CreateNew).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    sim.calls().on_call(CallKind::Write, Box::new(move |call| sender.send(call.clone()).unwrap()));
    file.write_all_at(b"abc", 5).unwrap();
    sim.calls().remove_hook(CallKind::Write);
    file.write_all_at(b"abc", 8).unwrap();
    let seen: Vec<_> = receiver.iter().map(|call| (call.path, call.position, call.bytes)).collect();
    assert_eq!(seen, [(Path::new(LOG).to_owned(), 5, 3)]);
}

#[test]
fn the_nth_call_on_a_path_fails_and_no_other() {
    let disk = SimDisk::new(1);
    let fs = disk.fs();
    disk.inject(Fault::io(CallKind::Write).on("log").after(2).times(2));
    let log = fs.open(Path::new(LOG), OpenMode::CreateNew).unwrap();
    let other = fs.open(Path::new("/other"), OpenMode::CreateNew).unwrap();
    let answers = [(); 6].map(|()| {
        other.write_all_at(b"x", 0).unwrap();
        log.write_all_at(b"x", 0).is_ok()
    });
    assert_eq!(answers, [true, true, false, false, true, true]);
}

#[test]
fn faults_for_ever_end_when_the_disk_is_healed() {
    let disk = SimDisk::new(1);
    let fs = disk.fs();
    for kind in [CallKind::Create, CallKind::Rename, CallKind::CreateDir] {
        disk.inject(Fault::no_space(kind).for_ever());
    }
    let path = Path::new("/f");
    for _ in 0..3 {
        assert_eq!(fs.open(path, OpenMode::CreateNew).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(fs.rename(path, path).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(fs.create_dir_all(path).unwrap_err().kind(), ErrorKind::StorageFull);
    }
    disk.heal();
    fs.open(path, OpenMode::CreateNew).unwrap();
}

#[test]
fn a_full_disk_writes_short_and_then_not_at_all_until_something_is_unlinked() {
    let disk = SimDisk::new(1);
    let fs = disk.fs();
    let balloon = fs.open(Path::new("/balloon"), OpenMode::CreateNew).unwrap();
    balloon.allocate_keep_size(0..1 << 20).unwrap();
    disk.set_space_left(8192);
    let file = fs.open(Path::new(LOG), OpenMode::CreateNew).unwrap();
    let bytes = [1; 10_000];
    assert_eq!(file.write_vectored_at(&[IoSlice::new(&bytes)], 0).unwrap(), 8192);
    assert_eq!(file.write_all_at(&bytes, 8192).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.allocate_keep_size(0..8193).unwrap_err().kind(), ErrorKind::StorageFull);
    // What is paid for can be written again.
    file.write_all_at(&[2; 8192], 0).unwrap();
    fs.unlink(Path::new("/balloon")).unwrap();
    drop(balloon);
    // ext4 too gives blocks back when the unlinking is on the medium.
    fs.sync_dir(Path::new("/")).unwrap();
    file.write_all_at(&bytes, 8192).unwrap();
    file.set_len(0).unwrap();
    assert_eq!(fs.space_left(Path::new("/")).unwrap().available, (1 << 20) + 8192);
}

#[test]
fn a_flipped_bit_shows_when_the_medium_is_asked() {
    let disk = SimDisk::new(1);
    let fs = disk.fs();
    fs.replace(Path::new(LOG), b"content").unwrap();
    disk.flip_bit(Path::new(LOG), 3, 0).unwrap();
    assert!(disk.flip_bit(Path::new(LOG), 7, 0).is_err());
    assert_eq!(&*disk.medium(Path::new(LOG)).unwrap(), b"conuent");
    assert_eq!(&*fs.read_small(Path::new(LOG), 100).unwrap(), b"content");
    let file = fs.open(Path::new(LOG), OpenMode::Read).unwrap();
    file.drop_cache().unwrap();
    assert_eq!(&*fs.read_small(Path::new(LOG), 100).unwrap(), b"conuent");
}

#[test]
fn faults_reach_files_that_are_counted() {
    let sim = Sim::new(1);
    sim.disk().inject(Fault::too_many_files(CallKind::Open));
    let fs: Arc<dyn Fs> = sim.env().fs;
    fs.replace(Path::new(LOG), b"x").unwrap();
    fs.open(Path::new(LOG), OpenMode::Read).unwrap_err();
    assert_eq!(sim.calls().tally(CallKind::Open).failed, 1);
}
