//! A whole server: starts, answers over HTTP and gRPC, drains, starts again.
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use futures::channel::mpsc;
use millrace_broker::{ConnectionId, Context, CreateTopicRequest, ListenerName, Principal};
use millrace_env::{Env, real};
use millrace_server::config::{Key, Layers};
use millrace_server::{Exit, RunningServer, ServerConfig, StartError, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn config(data_dir: &Path) -> ServerConfig {
    config_with(data_dir, &[])
}

fn config_with(data_dir: &Path, flags: &[(Key, &str)]) -> ServerConfig {
    let layers = Layers::default()
        .flag(Key::DataDir, data_dir.to_str().unwrap())
        .and_then(|layers| layers.flag(Key::Grpc, "localhost:0"))
        .and_then(|layers| layers.flag(Key::Http, "localhost:0"))
        .and_then(|layers| layers.flag(Key::Kafka, "localhost:0"));
    let layers =
        flags.iter().fold(layers.unwrap(), |layers, (key, value)| layers.flag(*key, *value).unwrap());
    ServerConfig::read(&layers).unwrap()
}

async fn started(env: &Env, data_dir: &Path) -> RunningServer {
    start(env.clone(), config(data_dir)).await.unwrap()
}

fn context() -> Context {
    Context {
        principal: Principal::Anonymous,
        client_id: "test".into(),
        listener: ListenerName::Grpc,
        connection: ConnectionId(0),
        deadline: None,
    }
}

/// The whole answer to one request.
async fn get(env: &Env, addr: SocketAddr, head: &str) -> String {
    let mut stream = env.net.dial(addr).await.unwrap();
    stream.write_all(format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_answers_over_http_in_both_families() {
    let (env, scratch) = (real::env(), tempfile::tempdir().unwrap());
    let server = started(&env, &scratch.path().join("data")).await;
    assert_eq!(server.info().pid, std::process::id());
    for addr in server.info().http.clone() {
        assert!(get(&env, addr, "GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200"));
        assert!(get(&env, addr, "GET /readyz HTTP/1.1").await.ends_with("ready\n"));
        assert!(get(&env, addr, "POST /healthz HTTP/1.1").await.starts_with("HTTP/1.1 405"));
        assert!(get(&env, addr, "GET /../etc/passwd HTTP/1.1").await.starts_with("HTTP/1.1 404"));
        let metrics = get(&env, addr, "GET /metrics HTTP/1.1").await;
        assert!(metrics.contains("application/openmetrics-text"), "{metrics}");
        for line in
            ["millrace_build_info{version=", "millrace_ready 1", "millrace_memory_in_use_bytes 0", "# EOF"]
        {
            assert!(metrics.contains(line), "{line:?} is not in {metrics}");
        }
        let long = format!("GET /{} HTTP/1.1", "x".repeat(100_000));
        assert!(!get(&env, addr, &long).await.contains(" 200 "));
    }
    assert_eq!(server.drain().await, Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_drains_and_the_next_start_finds_everything() {
    let (env, scratch) = (real::env(), tempfile::tempdir().unwrap());
    let data_dir = scratch.path().join("data");
    let server = started(&env, &data_dir).await;
    assert!(server.broker().start_report().clean, "a new directory is clean");
    let request = CreateTopicRequest {
        name: "t".to_owned(),
        partitions: None,
        replication_factor: None,
        configs: BTreeMap::new(),
        validate_only: false,
    };
    server.broker().create_topic(&context(), request).await.unwrap();
    let (grpc, http) = (server.info().grpc[0], server.info().http[0]);
    let (stop, stops) = mpsc::unbounded();
    stop.unbounded_send(()).unwrap();
    assert_eq!(server.run(stops).await, Exit::Clean);
    for closed in [grpc, http] {
        assert!(env.net.dial(closed).await.is_err(), "{closed} is still open");
    }

    let server = started(&env, &data_dir).await;
    assert!(server.broker().start_report().clean);
    let listed = server.broker().list_topics(&context()).await.unwrap();
    assert!(listed.iter().any(|topic| topic.name.as_str() == "t"));
    assert_eq!(server.drain().await, Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_directory_is_served_once_and_a_taken_port_is_named() {
    let (env, scratch) = (real::env(), tempfile::tempdir().unwrap());
    let data_dir = scratch.path().join("data");
    let server = started(&env, &data_dir).await;
    let second = start(env.clone(), config(&data_dir)).await.unwrap_err();
    assert!(matches!(second, StartError::Broker(_)), "{second}");
    let layers = Layers::default()
        .flag(Key::Grpc, server.info().grpc[0].to_string())
        .and_then(|layers| layers.flag(Key::Kafka, "localhost:0"));
    let taken = start(env.clone(), ServerConfig::read(&layers.unwrap()).unwrap()).await.unwrap_err();
    assert!(matches!(taken, StartError::Listen { key: Key::Grpc, .. }), "{taken}");
    assert!(taken.to_string().starts_with("grpc = 127.0.0.1:"), "{taken}");
    assert_eq!(server.drain().await, Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_stop_does_not_wait() {
    let (env, scratch) = (real::env(), tempfile::tempdir().unwrap());
    let server = started(&env, &scratch.path().join("data")).await;
    let (stop, stops) = mpsc::unbounded();
    stop.unbounded_send(()).unwrap();
    stop.unbounded_send(()).unwrap();
    // Closing the logs leaves this thread, so the second stop is seen before the drain can be done.
    assert_eq!(server.run(stops).await, Exit::Interrupted);
}

/// The parts of a cluster in one process: what they say to each other goes by sockets all the same.
async fn member(env: &Env, home: &Path, node: i32, join: &str) -> RunningServer {
    let number = node.to_string();
    let flags = [(Key::NodeId, number.as_str()), (Key::Internal, "127.0.0.1:0"), (Key::Join, join)];
    start(env.clone(), config_with(&home.join(&number), &flags)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_alone_has_no_internal_door() {
    let (env, scratch) = (real::env(), tempfile::tempdir().unwrap());
    let server = started(&env, &scratch.path().join("data")).await;
    assert_eq!(server.info().internal, []);
    assert_eq!(server.drain().await, Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_brokers_become_one_cluster_and_take_their_leave_one_by_one() {
    let (env, scratch) = (real::env(), tempfile::tempdir().unwrap());
    let first = member(&env, scratch.path(), 1, "").await;
    let join = first.info().internal[0].to_string();
    let second = member(&env, scratch.path(), 2, &join).await;
    // Any of them may be asked.
    let third = member(&env, scratch.path(), 3, &second.info().internal[0].to_string()).await;
    let mut ids = Vec::new();
    for server in [&first, &second, &third] {
        ids.push(server.broker().describe_cluster(&context()).await.unwrap().cluster_id);
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    for server in [third, second, first] {
        assert_eq!(server.drain().await, Exit::Clean);
    }
}
