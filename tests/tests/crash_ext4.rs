//! What a real ext4 does when its power is cut and when a sync fails: the beliefs that recovery, the simulated disk and
//! the other suites build on.
#![expect(clippy::unwrap_used, reason = "a suite fails by panicking, in its own functions too")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use millrace_env::OpenMode;
use millrace_tests::disk::{Disk, MemoryDisk, quick_folder};
use millrace_tests::{Need, require};

const MIB: u64 = 1024 * 1024;

#[test]
fn a_power_cut_keeps_what_was_synced_and_takes_what_was_not() {
    if !require("crash_ext4", &Need::EXT4) {
        return;
    }
    let mut disk = Disk::new(&quick_folder(), 64 * MIB, &[]);
    let (synced, unsynced, unnamed) =
        (disk.path().join("synced"), disk.path().join("unsynced"), disk.path().join("unnamed"));
    let file = File::create(&synced).unwrap();
    file.write_all_at(&[7; 10_000], 0).unwrap();
    file.sync_all().unwrap();
    let other = File::create(&unsynced).unwrap();
    File::open(disk.path()).unwrap().sync_all().unwrap();
    // From here on nothing is synced: not the second half, not the other file's bytes, not the third file's name.
    file.write_all_at(&[8; 10_000], 10_000).unwrap();
    other.write_all_at(&[9; 10_000], 0).unwrap();
    File::create(&unnamed).unwrap().write_all_at(&[9; 10], 0).unwrap();

    disk.cut();
    assert!(file.sync_data().is_err(), "a disk without power syncs nothing");
    drop((file, other));
    disk.unmount();
    disk.mount();
    assert_eq!(fs::read(&synced).unwrap(), [7; 10_000]);
    assert_eq!(fs::read(&unsynced).unwrap(), [0; 0]);
    assert!(!unnamed.exists());
}

/// The page cache lies after a failed sync: a new process reads bytes that the medium has not got, and the next sync of
/// the old one says that all is well.
#[test]
fn after_a_failed_sync_the_page_cache_holds_what_the_medium_does_not() {
    if !require("crash_ext4_failed_sync", &Need::EXT4) {
        return;
    }
    const CHUNK: usize = 256 * 1024;
    let memory = MemoryDisk::new(24 * MIB);
    let disk = Disk::new(memory.path(), 256 * MIB, &["-J", "size=4"]);
    let path = disk.path().join("log");
    let file = File::create(&path).unwrap();
    let (at, error) = fill(&file, CHUNK);
    assert_eq!(error.raw_os_error(), Some(5), "EIO, said the disk: {error}");
    assert!(file.sync_data().is_ok(), "the next sync of the same process says that all is well");

    let mut chunk = vec![0; CHUNK];
    File::open(&path).unwrap().read_exact_at(&mut chunk, at).unwrap();
    assert!(chunk.iter().all(|byte| *byte == 1), "the page cache shows the chunk whole");
    let reader = File::open(&path).unwrap();
    rustix::fs::fadvise(&reader, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let from_medium = reader.read_exact_at(&mut chunk, at);
    let is_whole = from_medium.is_ok() && chunk.iter().all(|byte| *byte == 1);
    assert!(!is_whole, "the medium holds the chunk after all: nothing was shown");
}

/// A journal that ends takes changes with it, and a sync that asks a moment later succeeds: of those that ask the kernel alone, some lose
/// what was acknowledged in every second round. Ours asks the journal too.
#[test]
fn what_was_synced_when_the_journal_ended_is_there() {
    if !require("crash_ext4_journal", &Need::EXT4) {
        return;
    }
    for round in 0..10 {
        let mut disk = Disk::new(&quick_folder(), 64 * MIB, &["-J", "size=4"]);
        let name = |number: usize| disk.path().join(number.to_string());
        let synced: Vec<AtomicU64> = (0..16).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for (number, synced) in synced.iter().enumerate() {
                let path = name(number);
                scope.spawn(move || append_until_refused(&path, synced));
            }
            // Each has begun.
            while synced.iter().any(|synced| synced.load(Ordering::SeqCst) < 20_000) {
                std::thread::yield_now();
            }
            disk.abort();
        });
        disk.unmount();
        disk.mount();
        for (number, synced) in synced.iter().enumerate() {
            let there = fs::metadata(disk.path().join(number.to_string())).unwrap().len();
            let synced = synced.load(Ordering::SeqCst);
            assert!(there >= synced, "round {round}: {synced} bytes were synced, {there} are there");
        }
    }
}

/// As the broker writes and syncs.
fn append_until_refused(path: &Path, synced: &AtomicU64) {
    let env = millrace_env::real::env();
    let file = env.fs.open(path, OpenMode::CreateNew).unwrap();
    loop {
        let end = synced.load(Ordering::SeqCst);
        if file.write_all_at(&[1; 1000], end).and_then(|()| file.sync_data()).is_err() {
            return;
        }
        synced.store(end + 1000, Ordering::SeqCst);
    }
}

/// Appends chunks, each synced, until a sync fails: where, and with what.
fn fill(file: &File, chunk: usize) -> (u64, io::Error) {
    let bytes = vec![1; chunk];
    for number in 0..1024_u64 {
        let at = number * chunk as u64;
        if let Err(error) = file.write_all_at(&bytes, at).and_then(|()| file.sync_data()) {
            return (at, error);
        }
    }
    panic!("no sync fails on this disk")
}
