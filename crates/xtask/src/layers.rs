//! Which crate may know which.
//!
//! The table below is the house plan. Every other arrow between crates of the workspace is an error, and so is an outside
//! crate in a room that promises to do without it: only `env` reads files or clocks, only the upper floors wait.

use anyhow::{Result, bail};

use crate::workspace::{Metadata, Package};

/// A crate of the workspace and what it may depend on.
struct Room {
    /// The folder's name; the package is `millrace-NAME`.
    name: &'static str,
    level: u8,
    may_use: &'static [&'static str],
}

/// From the ground up. An arrow is added only together with its reason in ARCHITECTURE.md.
const ROOMS: [Room; 18] = [
    Room { name: "types", level: 0, may_use: &[] },
    Room { name: "env", level: 0, may_use: &["types"] },
    Room { name: "record", level: 1, may_use: &["types"] },
    Room { name: "kafka-wire", level: 1, may_use: &["types"] },
    Room { name: "schema", level: 1, may_use: &["types"] },
    Room { name: "proto", level: 1, may_use: &["types"] },
    Room { name: "log", level: 2, may_use: &["types", "env", "record"] },
    Room { name: "replication", level: 2, may_use: &["types", "schema"] },
    Room { name: "group", level: 2, may_use: &["types", "schema"] },
    Room { name: "metadata", level: 2, may_use: &["types", "schema"] },
    Room { name: "quorum", level: 3, may_use: &["types", "env", "record", "log", "schema", "metadata"] },
    Room {
        name: "broker",
        level: 4,
        may_use: &["types", "env", "record", "schema", "log", "replication", "group", "metadata", "quorum"],
    },
    Room { name: "grpc", level: 5, may_use: &["types", "env", "record", "proto", "broker", "quorum"] },
    Room { name: "kafka", level: 5, may_use: &["types", "env", "record", "broker", "kafka-wire"] },
    Room { name: "amqp", level: 5, may_use: &["types", "env", "record", "broker"] },
    Room { name: "client", level: 5, may_use: &["types", "env", "record", "proto"] },
    Room {
        name: "server",
        level: 6,
        may_use: &["types", "env", "broker", "grpc", "kafka", "amqp", "quorum"],
    },
    Room {
        name: "millrace",
        level: 6,
        may_use: &["types", "env", "record", "schema", "log", "metadata", "client", "server"],
    },
];

/// May depend on anything; nothing depends on them.
const WORKSHOPS: [&str; 4] = ["xtask", "tests", "benches", "sim"];

/// An outside crate (and the family whose names begin with it and a dash) and the only rooms that may name it.
struct Fence {
    krate: &'static str,
    rooms: &'static [&'static str],
    reason: &'static str,
}

const FENCES: [Fence; 8] = [
    Fence { krate: "openraft", rooms: &["quorum"], reason: "consensus is contained in one crate" },
    Fence {
        krate: "tokio",
        rooms: &["env", "quorum", "broker", "grpc", "kafka", "amqp", "client", "server", "millrace"],
        reason: "the ground floors and the pure values never await",
    },
    Fence {
        krate: "futures",
        rooms: &["env", "quorum", "broker", "grpc", "kafka", "amqp", "client", "server", "millrace"],
        reason: "the ground floors and the pure values never await",
    },
    Fence {
        krate: "tonic",
        rooms: &["proto", "grpc", "client", "server", "quorum"],
        reason: "gRPC's types stay in the doors and the client",
    },
    Fence { krate: "memmap2", rooms: &["env"], reason: "files are touched in env only" },
    Fence { krate: "rustix", rooms: &["env"], reason: "the kernel is called in env only" },
    Fence { krate: "libc", rooms: &["env"], reason: "the kernel is called in env only" },
    // The quorum has its traits, because openraft asks for them; what they draw comes from env.
    Fence { krate: "rand", rooms: &["env", "quorum"], reason: "randomness is drawn in env only" },
];

/// `cargo xtask layers`.
pub(crate) fn run() -> Result<()> {
    let metadata = Metadata::of_workspace()?;
    let violations = violations(&metadata.packages);
    for violation in &violations {
        println!("layers: {violation}");
    }
    if !violations.is_empty() {
        bail!("{} arrow(s) that the table does not have", violations.len());
    }
    println!("layers: {} crates, every arrow is in the table", metadata.packages.len());
    Ok(())
}

/// The folder's bare noun of a package: `millrace-log` is `log`, the binary keeps its name.
fn bare(package: &str) -> &str {
    package.strip_prefix("millrace-").unwrap_or(package)
}

fn violations(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        let name = bare(&package.name);
        if WORKSHOPS.contains(&name) {
            continue;
        }
        let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
            found.push(format!("{name} is in no row of the table (crates/xtask/src/layers.rs)"));
            continue;
        };
        for dependency in &package.dependencies {
            if dependency.local {
                found.extend(wrong_arrow(room, bare(&dependency.name)));
            } else {
                found.extend(broken_fence(room, &dependency.name));
            }
        }
    }
    found
}

fn wrong_arrow(room: &Room, to: &str) -> Option<String> {
    if room.may_use.contains(&to) {
        return None;
    }
    let level =
        ROOMS.iter().find(|room| room.name == to).map_or("dev".to_owned(), |to| format!("L{}", to.level));
    Some(format!("{} (L{}) -> {to} ({level}); it may use: {}", room.name, room.level, listed(room.may_use)))
}

fn broken_fence(room: &Room, krate: &str) -> Option<String> {
    let fence = FENCES.iter().find(|fence| belongs(krate, fence.krate))?;
    if fence.rooms.contains(&room.name) {
        return None;
    }
    Some(format!(
        "{} (L{}) -> {krate} (outside); only {} may: {}",
        room.name,
        room.level,
        listed(fence.rooms),
        fence.reason
    ))
}

fn belongs(krate: &str, family: &str) -> bool {
    krate.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependencies = dependencies.iter().map(|&name| Dependency {
            name: name.to_owned(),
            local: name.starts_with("millrace") || WORKSHOPS.contains(&name),
        });
        Package {
            name: name.to_owned(),
            version: String::new(),
            license: None,
            source: None,
            dependencies: dependencies.collect(),
            targets: Vec::new(),
        }
    }

    fn found(name: &str, dependencies: &[&str]) -> Vec<String> {
        violations(&[package(name, dependencies)])
    }

    #[test]
    fn arrows_of_the_table_pass() {
        assert!(
            found("millrace-log", &["millrace-types", "millrace-env", "millrace-record", "bytes"]).is_empty()
        );
        assert!(found("millrace", &["millrace-server", "tokio"]).is_empty());
        assert!(found("xtask", &["millrace-broker", "rustix"]).is_empty());
    }

    #[test]
    fn an_arrow_upwards_is_named() {
        let found = found("millrace-record", &["millrace-log"]);
        assert_eq!(found, ["record (L1) -> log (L2); it may use: types"]);
    }

    #[test]
    fn an_arrow_into_a_workshop_is_named() {
        assert_eq!(found("millrace-types", &["millrace-tests"]).len(), 1);
    }

    #[test]
    fn the_broker_does_not_know_the_wire() {
        assert_eq!(found("millrace-broker", &["millrace-proto"]).len(), 1);
    }

    #[test]
    fn a_crate_outside_the_table_is_named() {
        assert_eq!(found("millrace-cache", &[]).len(), 1);
    }

    #[test]
    fn outside_crates_stay_behind_their_fence() {
        assert_eq!(found("millrace-log", &["tokio"]).len(), 1);
        assert_eq!(found("millrace-log", &["tokio-util"]).len(), 1);
        assert_eq!(found("millrace-broker", &["openraft"]).len(), 1);
        assert_eq!(found("millrace-client", &["rustix"]).len(), 1);
        assert!(found("millrace-env", &["rustix", "memmap2", "tokio"]).is_empty());
        assert!(found("millrace-log", &["tokiomatic"]).is_empty());
    }

    #[test]
    fn the_table_points_downwards() {
        for room in &ROOMS {
            for to in room.may_use {
                let to = ROOMS.iter().find(|room| room.name == *to).expect(to);
                assert!(to.level <= room.level, "{} -> {}", room.name, to.name);
            }
        }
    }
}
