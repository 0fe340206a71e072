//! Connections that break at any byte: retries store nothing twice and lose nothing, readers miss nothing.
#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use millrace_client::{Client, ClientOptions, PartitionIndex, Position, Until};
use millrace_tests::broker::BrokerSetup;
use millrace_tests::load::{Load, RecordId, TOPIC};
use millrace_tests::proxy::{Fate, Proxy};
use millrace_tests::read::Wire;
use millrace_tests::{Seed, say};
use tempfile::TempDir;

const RECORDS: u64 = 20_000;
const CUTS_OF_PRODUCERS: Fate = Fate::Cut { low: 500, high: 600_000 };
const CUTS_OF_READERS: Fate = Fate::Cut { low: 5_000, high: 2_000_000 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_and_readers_behind_a_cutting_proxy_lose_nothing_and_see_nothing_twice() {
    let mut seed = Seed::announced("cut_connections");
    let home = TempDir::new().expect("a folder");
    let mut broker = BrokerSetup::new(&home.path().join("data"), &home.path().join("log")).start();
    let proxy = Proxy::start(broker.grpc(), CUTS_OF_PRODUCERS, seed.fork());
    let load = Load::start_behind(broker.grpc(), &proxy.address(), &mut seed).await;
    load.book().wait_for_acked(RECORDS).await;
    let cut = proxy.connections();
    proxy.calm();
    let pause = load.pause().await;
    let mut wire = Wire::connect(broker.grpc()).await;
    load.check_records(&mut wire, &pause).await;
    load.check_topics(&pause).await;
    load.check_commits().await;
    assert_eq!(load.book().violations(), [""; 0]);
    assert!(cut > 10, "{cut} connections: hardly anything was cut");

    let proxy = Proxy::start(broker.grpc(), CUTS_OF_READERS, seed.fork());
    let read = read_all(&proxy.address()).await;
    assert_eq!(read, load.book().acked());
    say(&format!(
        "cut_connections: {read} records through {cut} cut connections of producers and {} of a reader: 0 lost, 0 twice",
        proxy.connections()
    ));
    drop(load);
    assert_eq!(broker.stop().code(), Some(0));
}

/// Reads the whole topic, and answers how many records there were; each must follow the one before.
async fn read_all(address: &str) -> u64 {
    let client = Client::connect([address.to_owned()], ClientOptions::default()).await.expect("it accepts");
    let builder = client.reader().topic(TOPIC).from(Position::Beginning).until(Until::EndAtStart);
    let mut reader = builder.start().await.expect("a reader");
    let mut next = std::collections::BTreeMap::<PartitionIndex, i64>::new();
    let mut count = 0;
    while let Some(record) = reader.next().await {
        let record = record.expect("a cut is not the reader's end");
        let expected = next.entry(record.partition).or_insert(0);
        assert_eq!(record.offset.get(), *expected, "{}", record.partition);
        *expected += 1;
        assert!(record.value.as_deref().and_then(RecordId::of_value).is_some(), "somebody else's bytes");
        count += 1;
    }
    count
}
