//! Sources of crates that hold test suites of others: found by the manifest `tests/kafka-clients/rust/crates.toml`, and copied
//! to where they may be built.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A copy that may be written to, in place of what was there.
pub(crate) fn copy(source: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).expect("an old folder to be removed");
    }
    std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
    succeed(Command::new("cp").arg("-r").arg(source).arg(to));
    succeed(Command::new("chmod").args(["-R", "u+w"]).arg(to));
}

/// Where the source of a crate of `tests/kafka-clients/rust` lies.
pub(crate) fn source_of(package: &str) -> PathBuf {
    let wanted = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka-clients/rust");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("src")).expect("a folder");
    std::fs::write(folder.path().join("src/lib.rs"), "").expect("a file");
    for (from, to) in [("crates.toml", "Cargo.toml"), ("crates.lock", "Cargo.lock")] {
        std::fs::copy(wanted.join(from), folder.path().join(to)).expect("a file");
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--locked", "--format-version", "1"]).current_dir(folder.path());
    let output = cargo.output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    let found = packages.iter().find(|one| one["name"] == package).expect("the package");
    let manifest = Path::new(found["manifest_path"].as_str().expect("a path"));
    manifest.parent().expect("a folder").to_owned()
}

/// Runs a command that must succeed.
pub(crate) fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&text));
}
