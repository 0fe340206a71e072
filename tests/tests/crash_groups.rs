//! SIGKILL under three live groups: no committed offset goes back, the members go on by themselves, every record is handed out.
//! And a member that is killed: what it had moves to the others.
#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use std::process::Stdio;
use std::time::{Duration, Instant};

use millrace_client::NewTopic;
use millrace_tests::broker::BrokerSetup;
use millrace_tests::group_load::GroupLoad;
use millrace_tests::group_log::{Worker, poll_until};
use millrace_tests::{Seed, on_two_workers, say, tool};
use tempfile::TempDir;

/// Records that are sent in a cycle; the blow falls while they are.
const RECORDS: u64 = 3_000;

async fn kill_and_go_on(suite: &str, cycles: u32) {
    let began = Instant::now();
    let mut seed = Seed::announced(suite);
    let home = TempDir::new().expect("a folder");
    let mut setup = BrokerSetup::new(&home.path().join("data"), &home.path().join("broker.log"));
    let mut broker = setup.start();
    // Clients know one address: every broker of this run listens there.
    broker.grpc().clone_into(&mut setup.grpc);
    let mut load = GroupLoad::start(broker.grpc()).await;
    let mut slowest = Duration::ZERO;
    for cycle in 1..=cycles {
        load.allow(usize::try_from(RECORDS).expect("a few"));
        load.wait_for_acked(load.acked() + seed.between(1, RECORDS / 2)).await;
        tokio::time::sleep(Duration::from_micros(seed.between(0, 30_000))).await;
        broker.kill_hard();
        let killed = Instant::now();
        broker = setup.start();
        load.check_commits().await;
        load.wait_for_progress().await;
        slowest = slowest.max(killed.elapsed());
        load.check_commits().await;
        let violations = load.violations();
        assert!(violations.is_empty(), "{suite}, cycle {cycle}:\n{}", violations.join("\n"));
    }
    load.finish().await;
    let violations = load.violations();
    assert!(violations.is_empty(), "{suite}, the end:\n{}", violations.join("\n"));
    assert_eq!(broker.stop().code(), Some(0), "a stop on demand is a success");
    say(&format!(
        "{suite}: {cycles} kills in {:.1} s under three groups, {} records; from a kill until every group reads and commits \
         again at most {} ms",
        began.elapsed().as_secs_f64(),
        load.acked(),
        slowest.as_millis()
    ));
    load.report().iter().for_each(|line| say(&format!("{suite}: {line}")));
}

#[test]
fn five_kills_under_three_groups_take_no_commit_back_and_lose_no_record() {
    on_two_workers(kill_and_go_on("crash_groups", 5));
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn a_hundred_kills_under_three_groups_take_no_commit_back_and_lose_no_record() {
    on_two_workers(kill_and_go_on("crash_groups_soak", 100));
}

/// Kills a member that is a process of its own, and answers how long its partitions took to move.
async fn kill_a_member() -> Duration {
    let home = TempDir::new().expect("a folder");
    let setup = BrokerSetup::new(&home.path().join("data"), &home.path().join("broker.log"));
    let broker = setup.start();
    let client = broker.client().await;
    client.admin().create_topic(NewTopic::new("work").partitions(4)).await.expect("a topic");
    let mut process = tool::bare();
    process.args(["--server", broker.grpc(), "consume", "work", "--group", "workers", "--follow"]);
    process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = process.spawn().expect("it starts");
    let consumer = client.consumer("workers").topic("work").start().await.expect("a member");
    let mut workers = vec![Worker::new(consumer)];
    poll_until(&mut workers, "half of the partitions", |workers| workers[0].partitions().len() == 2).await;
    process.kill().expect("it runs");
    let killed = Instant::now();
    process.wait().expect("it ends");
    poll_until(&mut workers, "all partitions", |workers| workers[0].partitions().len() == 4).await;
    killed.elapsed()
}

#[test]
fn the_partitions_of_a_killed_member_move_to_the_others() {
    let took = on_two_workers(kill_a_member());
    say(&format!("crash_groups: the partitions of a killed member have moved after {} ms", took.as_millis()));
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn the_partitions_of_ten_killed_members_move_within_ten_seconds_each() {
    let took: Vec<Duration> = (0..10).map(|_| on_two_workers(kill_a_member())).collect();
    say(&format!("crash_groups: the partitions of ten killed members have moved after {took:?}"));
    assert!(took.iter().all(|took| *took < Duration::from_secs(10)), "{took:?}");
}
