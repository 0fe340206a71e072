//! `cargo xtask codegen kafka`: the messages of the Kafka protocol, out of the schemas that Apache Kafka publishes.
//!
//! ```text
//!   kafka-clients jar (common/message/*.json) ─► schema ─► rust ─► rustfmt ─► crates/kafka-wire/src/generated
//! ```
//! The schemas are not part of the project: the jar is fetched by Maven, or given. What is generated is committed.

mod rust;
mod schema;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{process, workspace};

/// The release whose schemas are used.
const KAFKA_VERSION: &str = "4.1.1";
/// Where the messages go, below the root of the workspace.
const GENERATED: &str = "crates/kafka-wire/src";

/// The operations that the Kafka door serves; each has a request and a response.
const OPERATIONS: [&str; 31] = [
    "AlterConfigs",
    "ApiVersions",
    "ConsumerGroupDescribe",
    "ConsumerGroupHeartbeat",
    "CreatePartitions",
    "CreateTopics",
    "DeleteGroups",
    "DeleteRecords",
    "DeleteTopics",
    "DescribeCluster",
    "DescribeConfigs",
    "DescribeGroups",
    "DescribeLogDirs",
    "DescribeProducers",
    "DescribeTopicPartitions",
    "Fetch",
    "FindCoordinator",
    "Heartbeat",
    "IncrementalAlterConfigs",
    "InitProducerId",
    "JoinGroup",
    "LeaveGroup",
    "ListGroups",
    "ListOffsets",
    "Metadata",
    "OffsetCommit",
    "OffsetDelete",
    "OffsetFetch",
    "OffsetForLeaderEpoch",
    "Produce",
    "SyncGroup",
];
const HEADERS: [&str; 2] = ["RequestHeader", "ResponseHeader"];

/// Whether the files are written, or only held against what they should be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    Check,
}

/// Generates the messages from the jar at `jar`, or from the one that Maven has or fetches.
pub(crate) fn kafka(jar: Option<PathBuf>, mode: Mode) -> Result<()> {
    let jar = match jar {
        Some(jar) => jar,
        None => fetch_jar()?,
    };
    let names = OPERATIONS
        .iter()
        .flat_map(|name| [format!("{name}Request"), format!("{name}Response")])
        .chain(HEADERS.iter().map(|name| (*name).to_owned()));
    let mut files = BTreeMap::new();
    let mut modules = Vec::new();
    for name in names {
        let text = read_schema(&jar, &name)?;
        let message = schema::parse(&text).with_context(|| format!("schema of {name}"))?;
        let module = rust::snake(&name);
        let source = rust::message(&message, KAFKA_VERSION).with_context(|| name.clone())?;
        files.insert(format!("generated/{module}.rs"), format(&source)?);
        modules.push((module, name));
    }
    files.insert("generated.rs".to_owned(), format(&rust::index(&modules, KAFKA_VERSION))?);
    let target = workspace::root().join(GENERATED);
    match mode {
        Mode::Write => write(&target, &files),
        Mode::Check => check(&target, &files),
    }
}

fn write(target: &Path, files: &BTreeMap<String, String>) -> Result<()> {
    std::fs::create_dir_all(target.join("generated"))?;
    for (name, source) in files {
        std::fs::write(target.join(name), source)?;
    }
    println!("codegen: {} files in {GENERATED}", files.len());
    Ok(())
}

fn check(target: &Path, files: &BTreeMap<String, String>) -> Result<()> {
    for (name, source) in files {
        let there = std::fs::read_to_string(target.join(name)).unwrap_or_default();
        if there != *source {
            bail!(
                "{GENERATED}/{name} is not what the schemas of Kafka {KAFKA_VERSION} give: run `cargo xtask codegen kafka`"
            );
        }
    }
    println!("codegen: {} files are what the schemas of Kafka {KAFKA_VERSION} give", files.len());
    Ok(())
}

/// The jar of the client library, from Maven's local repository or from where Maven gets its jars.
fn fetch_jar() -> Result<PathBuf> {
    let folder = workspace::Metadata::of_workspace()?.target_directory.join("codegen/jar");
    let jar = folder.join(format!("kafka-clients-{KAFKA_VERSION}.jar"));
    if !jar.exists() {
        let artifact = format!("org.apache.kafka:kafka-clients:{KAFKA_VERSION}");
        process::run(
            Command::new("mvn")
                .args(["-q", "-B", "dependency:copy"])
                .arg(format!("-Dartifact={artifact}"))
                .arg(format!("-DoutputDirectory={}", folder.display())),
        )
        .context("fetching Kafka's client library with Maven")?;
    }
    Ok(jar)
}

fn read_schema(jar: &Path, name: &str) -> Result<String> {
    let entry = format!("common/message/{name}.json");
    let script =
        "import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))";
    let output = Command::new("python3").args(["-c", script]).arg(jar).arg(&entry).output()?;
    if !output.status.success() {
        bail!("{}: no {entry}: {}", jar.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Through standard input, so that rustfmt does not look for the modules that a file names.
fn format(source: &str) -> Result<String> {
    let mut command = Command::new("rustfmt");
    command.args(["--edition", "2024", "--config-path"]).arg(workspace::root().join("rustfmt.toml"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("rustfmt")?;
    child.stdin.take().context("rustfmt takes no input")?.write_all(source.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("rustfmt does not take what was generated");
    }
    Ok(String::from_utf8(output.stdout)?)
}
