//! A sync fails on a real ext4: nothing is acknowledged from then on, the process ends with a code of its own, and the
//! next one believes the medium alone.
//!
//! The image promises 256 MiB and the memory behind it holds a tenth of that: ext4 takes the writes, and a sync finds out.
//! How much it holds differs from episode to episode, so that now records, now indexes, now the journal meet its end.
#![expect(clippy::unwrap_used, reason = "a suite fails by panicking, in its own functions too")]

use std::ops::Range;
use std::time::Instant;

use millrace_tests::broker::BrokerSetup;
use millrace_tests::disk::{Disk, MemoryDisk, quick_folder};
use millrace_tests::load::Load;
use millrace_tests::read::Wire;
use millrace_tests::{Need, Seed, on_two_workers, require, say};
use tempfile::TempDir;

const MIB: u64 = 1024 * 1024;
/// What ext4 believes to have.
const IMAGE_BYTES: u64 = 256 * MIB;
/// What it has, in KiB.
const MEMORY_KIB: Range<u64> = 16 * 1024..28 * 1024;
/// The exit code of a broker whose data directory failed.
const STORAGE_FAILED: i32 = 74;

/// What happens to the file system.
#[derive(Clone, Copy, Debug)]
enum Failure {
    /// The memory behind the image ends.
    Sync,
    /// The journal is aborted: the file system is read-only from one moment to the next.
    ReadOnly,
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_the_next_process_believes_the_medium() {
    if require("crash_failed_sync", &Need::EXT4) {
        run("crash_failed_sync", 10, Failure::Sync);
    }
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn after_thirty_failed_syncs_nothing_is_acknowledged_and_the_next_process_believes_the_medium() {
    if require("crash_failed_sync_soak", &Need::EXT4) {
        run("crash_failed_sync_soak", 30, Failure::Sync);
    }
}

#[test]
fn a_file_system_that_becomes_read_only_ends_the_process_and_loses_nothing() {
    if require("crash_read_only", &Need::EXT4) {
        run("crash_read_only", 3, Failure::ReadOnly);
    }
}

fn run(suite: &str, episodes: u32, failure: Failure) {
    let began = Instant::now();
    let mut seed = Seed::announced(suite);
    let (mut records, mut repeated) = (Vec::new(), 0);
    for _ in 0..episodes {
        // A runtime for each: the clients of an episode end with it.
        let (acked, unanswered) = on_two_workers(episode(&mut seed, failure));
        records.push(acked);
        repeated += unanswered;
    }
    let (least, most) = (records.iter().min().unwrap_or(&0), records.iter().max().unwrap_or(&0));
    say(&format!(
        "{suite}: {episodes} failures ({failure:?}) in {:.1} s, each after {least} to {most} acknowledged records, all of \
         which are there; the {repeated} without an answer were sent again and are there once",
        began.elapsed().as_secs_f64()
    ));
}

/// One failure and what comes after it. Answers how many records were acknowledged and how many had no answer.
async fn episode(seed: &mut Seed, failure: Failure) -> (u64, u64) {
    let memory = match failure {
        Failure::Sync => Some(MemoryDisk::new(seed.between(MEMORY_KIB.start, MEMORY_KIB.end) * 1024)),
        Failure::ReadOnly => None,
    };
    let folder = memory.as_ref().map_or_else(quick_folder, |memory| memory.path().to_owned());
    let mut disk = Disk::new(&folder, IMAGE_BYTES, &["-J", "size=4"]);
    let logs = TempDir::new().unwrap();
    let mut setup = BrokerSetup::new(&disk.path().join("data"), &logs.path().join("log"));
    let mut broker = setup.start();
    broker.grpc().clone_into(&mut setup.grpc);
    let load = Load::start(broker.grpc(), seed).await;
    if matches!(failure, Failure::ReadOnly) {
        load.book().wait_for_acked(seed.between(200, 4_000)).await;
        disk.abort();
    }

    let (ended, _broker) = tokio::task::spawn_blocking(move || (broker.wait(), broker)).await.unwrap();
    assert_eq!(ended.code(), Some(STORAGE_FAILED), "it says why it stopped");
    let (acked, unanswered) = (load.book().acked(), load.underway().records);
    assert!(acked > 0, "the disk failed before anything was acknowledged");

    // As a person would: room is made, the file system is mounted anew, the broker is started again.
    if let Some(memory) = &memory {
        memory.resize(512 * MIB);
    }
    disk.unmount();
    disk.mount();
    let broker = setup.start();
    load.check_commits().await;
    let pause = load.pause().await;
    let mut wire = Wire::connect(broker.grpc()).await;
    load.check_records(&mut wire, &pause).await;
    load.check_topics(&pause).await;
    assert_eq!(load.book().violations(), [""; 0]);
    (acked, unanswered)
}
