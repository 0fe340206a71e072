//! A sync fails on a real ext4: nothing is acknowledged from then on, the process ends with a code of its own, and the
//! next one believes the medium alone.

use millrace_tests::broker::BrokerSetup;
use millrace_tests::disk::{Disk, MemoryDisk};
use millrace_tests::load::Load;
use millrace_tests::read::Wire;
use millrace_tests::{Need, Seed, require, say};
use tempfile::TempDir;

const NEEDS: [Need; 5] = [
    Need::Root,
    Need::LoopDevice,
    Need::Program("mkfs.ext4"),
    Need::Program("mount"),
    Need::Program("umount"),
];
const MIB: u64 = 1024 * 1024;
/// The exit code of a broker whose data directory failed.
const STORAGE_FAILED: i32 = 74;

/// The image promises 256 MiB and the memory behind it holds 24: ext4 takes the writes, and the sync finds out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_sync_nothing_is_acknowledged_and_the_next_process_believes_the_medium() {
    if !require("crash_failed_sync", &NEEDS) {
        return;
    }
    let mut seed = Seed::announced("crash_failed_sync");
    let memory = MemoryDisk::new(24 * MIB);
    let mut disk = Disk::new(memory.path(), 256 * MIB, &["-J", "size=4"]);
    let logs = TempDir::new().expect("a folder");
    let mut setup = BrokerSetup::new(&disk.path().join("data"), &logs.path().join("log"));
    let mut broker = setup.start();
    broker.grpc().clone_into(&mut setup.grpc);
    let load = Load::start(broker.grpc(), &mut seed).await;

    let mut broker = tokio::task::spawn_blocking(move || (broker.wait(), broker)).await.expect("it ends");
    assert_eq!(broker.0.code(), Some(STORAGE_FAILED), "it says why it stopped");
    let (acked, unanswered) = (load.book().acked(), load.underway().records);
    assert!(acked > 0, "the disk failed before anything was acknowledged");

    // As a person would: room is made, the file system is mounted anew, the broker is started again.
    memory.resize(512 * MIB);
    disk.unmount();
    disk.mount();
    broker.1 = setup.start();
    load.check_commits().await;
    let pause = load.pause().await;
    let mut wire = Wire::connect(broker.1.grpc()).await;
    load.check_records(&mut wire, &pause).await;
    load.check_topics(&pause).await;
    assert_eq!(load.book().violations(), [""; 0]);
    say(&format!(
        "crash_failed_sync: {acked} records were acknowledged before the sync failed, all are there; the {unanswered} \
         without an answer were sent again and are there once"
    ));
}
