//! A broker whose metadata is lost refuses to start and names the tool that helps; the tool builds the metadata anew.
#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use std::path::{Path, PathBuf};

use millrace_tests::broker::{BrokerSetup, tail};
use millrace_tests::tool::{self, Said, bare};
use serde_json::Value;
use tempfile::TempDir;

struct World {
    _home: TempDir,
    data: PathBuf,
    log: PathBuf,
    setup: BrokerSetup,
}

impl World {
    fn new() -> World {
        let home = TempDir::new().expect("a folder");
        let (data, log) = (home.path().join("data"), home.path().join("log"));
        let setup = BrokerSetup::new(&data, &log);
        World { _home: home, data, log, setup }
    }

    fn repair(&self, flags: &[&str]) -> Said {
        tool::run(bare().args(["repair", "metadata", "--data-dir"]).arg(&self.data).args(flags), "")
    }

    fn metadata_dir(&self) -> PathBuf {
        self.data.join("00000000000000000000000000000001-0")
    }

    /// Starts a broker, lets it make two topics with records and stops it.
    fn fill(&self) -> Vec<i64> {
        let mut broker = self.setup.start();
        let done = |words: &[&str], input: &str| {
            let said = tool::ask(broker.grpc(), words, input);
            assert_eq!(said.code, 0, "{words:?}: {}", said.err);
            said.out
        };
        done(&["topic", "create", "flights", "--partitions", "3"], "");
        done(&["topic", "create", "weather", "--config", "segment.bytes=1048576"], "");
        let lines: String = (0..500).map(|number| format!("flight {number}\n")).collect();
        done(&["produce", "flights"], &lines);
        done(&["produce", "weather"], "rain\nsun\n");
        broker.stop();
        producers(&self.data)
    }
}

/// The producer ids in the batches of a data directory.
fn producers(data: &Path) -> Vec<i64> {
    let said = tool::run(bare().args(["log", "dump", "--format", "json"]).arg(data), "");
    assert_eq!(said.code, 0, "{}", said.err);
    let lines = said.out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| line["producer_id"].as_i64()).filter(|id| *id >= 0).collect()
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

fn damage(world: &World, kind: u8) {
    let dir = world.metadata_dir();
    let log = dir.join("00000000000000000000.log");
    match kind {
        0 => std::fs::remove_dir_all(&dir).expect("it can go"),
        1 => {
            let mut bytes = std::fs::read(&log).expect("a log");
            bytes[70] ^= 1;
            std::fs::write(&log, bytes).expect("it can be written");
        }
        _ => std::fs::write(&log, b"").expect("it can be cut"),
    }
}

#[test]
fn lost_metadata_is_built_anew_and_every_record_is_served() {
    for kind in 0..3 {
        let world = World::new();
        let before = world.fill();
        assert!(!before.is_empty());
        damage(&world, kind);
        assert!(world.setup.try_start().is_err(), "it serves without metadata");
        assert!(tail(&world.log).contains("millrace repair metadata --data-dir"), "{}", tail(&world.log));

        let told = world.repair(&["--format", "json"]);
        assert_eq!(told.code, 0, "{}", told.err);
        assert!(told.err.contains("nothing was changed"), "{}", told.err);
        let rows: Vec<Value> =
            told.out.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
        let names: Vec<&str> = rows.iter().filter_map(|row| row["topic"].as_str()).collect();
        for name in ["flights", "weather", "__consumer_offsets"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(world.setup.try_start().is_err(), "a dry run has changed something");

        let done = world.repair(&["--write"]);
        assert_eq!(done.code, 0, "{}", done.err);
        let mut broker = world.setup.start();
        let ask = |words: &[&str], input: &str| {
            let said = tool::ask(broker.grpc(), words, input);
            assert_eq!(said.code, 0, "{words:?}: {}", said.err);
            said.out
        };
        let lines: Vec<String> = (0..500).map(|number| format!("flight {number}")).collect();
        let mut expected: Vec<&str> = lines.iter().map(String::as_str).collect();
        expected.sort_unstable();
        assert_eq!(sorted(&ask(&["consume", "flights"], "")), expected);
        assert_eq!(sorted(&ask(&["consume", "weather"], "")), ["rain", "sun"]);
        ask(&["produce", "weather"], "snow\n");
        assert_eq!(sorted(&ask(&["consume", "weather"], "")), ["rain", "snow", "sun"]);
        let served = world.repair(&["--write", "--force"]);
        assert_ne!(served.code, 0);
        assert!(served.err.contains("is being served"), "{}", served.err);
        broker.stop();
        let after: Vec<i64> = producers(&world.data).into_iter().filter(|id| !before.contains(id)).collect();
        let largest = before.iter().max().copied().unwrap_or(0);
        assert!(!after.is_empty() && after.iter().all(|id| *id > largest + 1000), "{before:?} {after:?}");
        let again = world.repair(&["--write"]);
        assert_ne!(again.code, 0);
        assert!(again.err.contains("intact"), "{}", again.err);
    }
}

#[test]
fn logs_that_no_topic_owns_are_told_adopted_or_set_aside() {
    for choice in ["adopt", "set-aside"] {
        let world = World::new();
        world.fill();
        // The metadata of another time: it knows of no topic.
        let other = World::new();
        other.setup.start().stop();
        std::fs::remove_dir_all(world.metadata_dir()).expect("it can go");
        std::fs::create_dir(world.metadata_dir()).expect("a directory");
        for entry in std::fs::read_dir(other.metadata_dir()).expect("a listing") {
            let entry = entry.expect("an entry");
            std::fs::copy(entry.path(), world.metadata_dir().join(entry.file_name())).expect("a copy");
        }
        std::fs::remove_file(world.data.join("synced.marks")).expect("it can go");
        let told = world.repair(&[]);
        assert_eq!(told.code, 0, "{}", told.err);
        assert!(told.err.contains("not in the metadata"), "{}", told.err);
        let done = world.repair(&["--write", "--orphans", choice]);
        assert_eq!(done.code, 0, "{}", done.err);
        let mut broker = world.setup.start();
        let said = tool::ask(broker.grpc(), &["consume", "weather"], "");
        if choice == "adopt" {
            assert_eq!(sorted(&said.out), ["rain", "sun"], "{}", said.err);
        } else {
            assert_ne!(said.code, 0, "{}", said.out);
            let kept = std::fs::read_dir(&world.data).expect("a listing");
            let kept = kept.filter(|entry| {
                entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().contains(".aside-"))
            });
            assert!(kept.count() >= 4);
        }
        broker.stop();
    }
}
