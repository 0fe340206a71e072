//! Connections to the binary that break at any byte, under the load of the crash suites: retries store nothing twice and
//! lose nothing, and what the clients believe of topics and committed offsets is so.

use millrace_tests::broker::BrokerSetup;
use millrace_tests::cutting_proxy::{Cut, Direction, Proxy};
use millrace_tests::load::Load;
use millrace_tests::read::Wire;
use millrace_tests::{Seed, say};
use tempfile::TempDir;

const CUTS: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_cut_connections_lose_no_record_no_commit_and_no_topic() {
    let mut seed = Seed::announced("crash_connections");
    let home = TempDir::new().expect("a folder");
    let mut broker = BrokerSetup::new(&home.path().join("data"), &home.path().join("log")).start();
    let proxy = Proxy::start(broker.grpc().parse().expect("an address")).await;
    let cuts = (0..CUTS).map(|number| {
        let direction = if number % 2 == 0 { Direction::ToBroker } else { Direction::ToClient };
        // Answers are a tenth of what is asked.
        let most = if number % 2 == 0 { 800_000 } else { 30_000 };
        Cut { direction, after: seed.between(0, most) }
    });
    proxy.cut_next(cuts.collect::<Vec<_>>());
    let load = Load::start_behind(broker.grpc(), &proxy.addr().to_string(), &mut seed).await;
    let mut target = 0;
    while proxy.cuts_left() > 0 {
        target += 1_000;
        load.book().wait_for_acked(target).await;
    }
    let pause = load.pause().await;
    let mut wire = Wire::connect(broker.grpc()).await;
    load.check_records(&mut wire, &pause).await;
    load.check_topics(&pause).await;
    load.check_commits().await;
    let (failed, failures) = load.book().failed();
    assert_eq!((failed, failures, load.book().violations()), (0, Vec::new(), Vec::new()));
    say(&format!("crash_connections: {CUTS} cuts, {} records: 0 lost, 0 twice", load.book().acked()));
    drop(load);
    assert_eq!(broker.stop().code(), Some(0));
}
