//! The broker on the real machine: files, threads and clocks of the operating system.

use millrace_env::real;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_and_offsets_outlive_brokers_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let config = || BrokerConfig { data_dir: dir.path().join("data"), ..config() };
    let mut expected = Vec::new();
    for round in 0..4 {
        let broker = Broker::start(real::env(), config()).await.unwrap();
        if round == 0 {
            broker.create_topic(&ctx(), new_topic("a", 4)).await.unwrap();
        }
        let tasks = (0..8).map(|producer| {
            let broker = Arc::clone(&broker);
            tokio::spawn(async move {
                let parts =
                    (0..4).map(|partition| plain("a", partition, &[&format!("{round}.{producer}")], None));
                let request = produce_request(parts.collect());
                let answer = broker.produce(&ctx(), request).await.unwrap().acknowledged().await;
                assert!(answer.partitions.iter().all(Result::is_ok), "{answer:?}");
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        expected.extend((0..8).map(|producer| format!("{round}.{producer}")));
        for partition in 0..4 {
            let request = fetch_request(vec![from("a", partition, 0)], Duration::ZERO);
            let fetched = broker.fetch(&ctx(), request).await.unwrap().partitions.remove(0).unwrap();
            let mut values = decoded(fetched.extents);
            values.sort();
            assert_eq!(values, expected);
        }
        broker.shut_down(Duration::from_secs(30)).await.unwrap();
    }
}
