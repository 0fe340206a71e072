//! `millrace serve` as it is shipped: what it says, what it refuses, how it ends.
#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use std::path::Path;

use millrace_tests::broker::BrokerSetup;
use millrace_tests::tool::{self, Said};
use tempfile::TempDir;

fn home() -> (TempDir, BrokerSetup) {
    let home = TempDir::new().expect("a folder");
    let setup = BrokerSetup::new(&home.path().join("data"), &home.path().join("log"));
    (home, setup)
}

/// A `serve` that must not come up.
fn refused(data_dir: &Path, more: &[&str]) -> Said {
    let mut command = tool::bare();
    command.arg("serve").arg("--data-dir").arg(data_dir);
    let said = tool::run(command.args(["--http", "127.0.0.1:0"]).args(more), "");
    assert_ne!(said.code, 0, "{said:?}");
    assert_eq!(said.out, "", "nothing is announced");
    said
}

#[test]
fn the_line_names_the_process_and_where_it_listens_and_the_pages_answer() {
    let (_home, setup) = home();
    let broker = setup.start();
    assert_eq!(broker.ready["pid"], broker.pid());
    assert_eq!(broker.ready["node"], 1);
    let kafka = broker.ready["kafka"].as_str().expect("the Kafka door's address");
    assert!(kafka.starts_with("127.0.0.1:") && !kafka.ends_with(":0"), "{kafka}");
    assert_eq!(broker.get("/healthz").0, 200);
    assert_eq!(broker.get("/readyz").0, 200);
    assert_eq!(broker.metric("millrace_ready"), Some(1.0));
    assert_eq!(broker.get("/nothing").0, 404);
}

#[test]
fn a_door_that_is_not_built_is_unsupported() {
    let (home, _) = home();
    let said = refused(&home.path().join("data"), &["--grpc", "127.0.0.1:0", "--amqp", "127.0.0.1:0"]);
    assert!(said.err.contains("UNSUPPORTED"), "{}", said.err);
    assert!(!home.path().join("data").exists(), "a refused start leaves nothing behind");
}

#[test]
fn an_address_beyond_loopback_takes_a_word() {
    let (home, _) = home();
    let said = refused(&home.path().join("data"), &["--grpc", "0.0.0.0:0"]);
    assert!(said.err.contains("--insecure-listen"), "{}", said.err);
    let (_other, mut setup) = self::home();
    setup.grpc = "0.0.0.0:0".to_owned();
    setup.args = vec!["--insecure-listen".to_owned()];
    let mut broker = setup.start();
    assert_eq!(broker.stop().code(), Some(0));
}

#[test]
fn unknown_keys_and_bad_values_are_refused() {
    let (home, _) = home();
    let file = home.path().join("millrace.toml");
    std::fs::write(&file, "no_such_key = 1\n").expect("a file");
    let path = file.display().to_string();
    let said = refused(&home.path().join("data"), &["--config", &path]);
    assert!(said.err.contains("no_such_key"), "{}", said.err);
    let said = refused(&home.path().join("data"), &["--grpc", "nonsense"]);
    assert!(said.err.contains("nonsense"), "{}", said.err);
}

#[test]
fn a_directory_is_served_once() {
    let (_home, setup) = home();
    let mut broker = setup.start();
    let said = refused(&setup.data_dir, &["--grpc", "127.0.0.1:0"]);
    assert!(said.err.contains("another process serves"), "{}", said.err);
    assert!(broker.is_running(), "the first one is left in peace");
    assert_eq!(broker.stop().code(), Some(0));
}

#[test]
fn a_taken_port_is_named() {
    let (home, setup) = home();
    let broker = setup.start();
    let said = refused(&home.path().join("other"), &["--grpc", broker.grpc()]);
    let port = broker.grpc().rsplit(':').next().expect("a port");
    assert!(said.err.contains(port), "{}", said.err);
}

#[test]
fn a_stop_is_clean_and_a_kill_is_not_and_both_keep_the_records() {
    let (_home, setup) = home();
    let mut broker = setup.start();
    let server = broker.grpc().to_owned();
    assert_eq!(tool::ask(&server, &["topic", "create", "t"], "").code, 0);
    assert_eq!(tool::ask(&server, &["produce", "t"], "a\nb\n").code, 0);
    assert_eq!(broker.stop().code(), Some(0));
    assert!(has_clean_mark(&setup.data_dir), "the clean mark is left");

    let mut broker = setup.start();
    assert!(!has_clean_mark(&setup.data_dir), "the mark goes before the first write");
    let server = broker.grpc().to_owned();
    assert_eq!(tool::ask(&server, &["produce", "t"], "c\n").code, 0);
    broker.kill_hard();
    assert!(!has_clean_mark(&setup.data_dir));
    let broker = setup.start();
    let said = tool::ask(broker.grpc(), &["consume", "t"], "");
    assert_eq!((said.code, said.out.as_str()), (0, "a\nb\nc\n"), "{}", said.err);
}

fn has_clean_mark(data_dir: &Path) -> bool {
    data_dir.join(millrace_log::names::CLEAN_MARK).exists()
}
