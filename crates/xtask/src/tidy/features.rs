//! One build for the demo and for the tests.
//!
//! Cargo unites the features of what is built together. When `cargo run` (the binary alone) and `--workspace` unite to
//! different sets, everything above the differing crate is compiled twice. Then the binary's manifest names the feature.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use super::Finding;
use crate::workspace;

/// Small crates with little above them, which only a test library widens, or openraft, which the binary does not have yet:
/// compiling them twice is cheaper than having the binary name a crate it does not use.
const TOLERATED: [&str; 2] = ["num-traits", "regex-syntax"];

/// A crate with its version, and the sets of features it is built with (one for the host, one for the target).
type Built = BTreeMap<String, Vec<String>>;

pub(super) fn check() -> Result<Vec<Finding>> {
    let binary = built(&["--package", "millrace", "--edges", "normal,build"])?;
    let workspace = built(&["--workspace", "--edges", "normal,build,dev"])?;
    let manifest = "crates/cli/Cargo.toml";
    let differences = differences(&binary, &workspace);
    Ok(differences.into_iter().map(|what| Finding::new(manifest.as_ref(), 0, what)).collect())
}

fn built(arguments: &[&str]) -> Result<Built> {
    // Naming the target is what makes cargo tell host and target apart when a crate serves both.
    let triple = workspace::host_triple()?;
    let output = workspace::cargo()
        .args(["tree", "--locked", "--quiet", "--prefix", "none", "--no-dedupe", "--format", "{p}|{f}"])
        .args(["--target", &triple])
        .args(arguments)
        .output()
        .context("cargo tree could not be started")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    Ok(parse(&String::from_utf8(output.stdout)?))
}

fn parse(tree: &str) -> Built {
    let mut built = Built::new();
    for line in tree.lines() {
        let Some((krate, features)) = line.split_once('|') else { continue };
        // Crates of the workspace carry their folder; what they are built from differs per machine.
        if krate.contains('(') && !krate.contains("(proc-macro)") {
            continue;
        }
        let sets = built.entry(krate.to_owned()).or_default();
        if !sets.iter().any(|known| known == features) {
            sets.push(features.to_owned());
        }
    }
    built
}

fn differences(binary: &Built, workspace: &Built) -> Vec<String> {
    let mut found = Vec::new();
    for (krate, sets) in binary {
        let Some(others) = workspace.get(krate) else { continue };
        if TOLERATED.iter().any(|small| krate.starts_with(&format!("{small} "))) {
            continue;
        }
        for set in sets.iter().filter(|set| !others.contains(set)) {
            found.push(format!(
                "{krate} is built twice: [{set}] for the binary, [{}] with the workspace",
                others.join("] [")
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_named() {
        let binary = parse("libc v0.2.1|std\nsyn v2.0.0|full\nmillrace v0.1.0 (/x)|\n");
        let same = parse("libc v0.2.1|std\nlibc v0.2.1|default,std\nsyn v2.0.0|full\n");
        assert!(differences(&binary, &same).is_empty());
        let more = parse("libc v0.2.1|default,std\nsyn v2.0.0|full\n");
        let found = differences(&binary, &more);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("libc"), "{found:?}");
    }
}
