//! `cargo xtask deny`: licences, banned crates and sources of everything in Cargo.lock, by `deny.toml`.
//!
//! cargo-deny does it where it is installed. Where it is not, the check below reads the same policy: licence expressions,
//! banned crates, crates that may be there only once, one registry. It knows no advisories; neither does cargo-deny
//! where the advisory database is out of reach, which is why that check is not asked for here.

mod licence;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::workspace::{self, Metadata, Package};
use crate::{machine, process};

/// What deny.toml says.
#[derive(Debug, Default)]
struct Policy {
    licences: BTreeSet<String>,
    /// Name, the beginning of a version where only that is banned, why.
    banned: Vec<(String, Option<String>, String)>,
    /// May be there in one version only.
    single: Vec<String>,
}

/// `cargo xtask deny`.
pub(crate) fn run() -> Result<()> {
    if let Some(tool) = find_tool()? {
        return process::run(Command::new(tool).current_dir(workspace::root()).args([
            "deny",
            "--locked",
            "check",
            "--hide-inclusion-graph",
            "licenses",
            "bans",
            "sources",
        ]));
    }
    println!(
        "deny: cargo-deny is not installed; checking licences, bans and sources from cargo metadata instead"
    );
    let text = std::fs::read_to_string(workspace::root().join("deny.toml")).context("deny.toml")?;
    let policy = parse(&text)?;
    let packages = Metadata::of_everything()?.packages;
    let violations = violations(&policy, &packages);
    for violation in &violations {
        println!("deny: {violation}");
    }
    if !violations.is_empty() {
        bail!("{} crate(s) against deny.toml", violations.len());
    }
    println!("deny: {} crates, every one within deny.toml (advisories are not checked)", packages.len());
    Ok(())
}

/// cargo-deny: on the search path, or where `setup` puts it.
pub(crate) fn find_tool() -> Result<Option<PathBuf>> {
    let own = Metadata::of_workspace()?.target_directory.join("tools/bin/cargo-deny");
    if own.is_file() {
        return Ok(Some(own));
    }
    Ok(machine::has_program("cargo-deny").then(|| PathBuf::from("cargo-deny")))
}

fn parse(text: &str) -> Result<Policy> {
    let table: toml::Table = toml::from_str(text)?;
    let list = |section: &str, key: &str| {
        let value = table.get(section).and_then(|section| section.get(key)).and_then(toml::Value::as_array);
        value.cloned().unwrap_or_default()
    };
    let mut policy = Policy::default();
    policy
        .licences
        .extend(list("licenses", "allow").iter().filter_map(|name| Some(name.as_str()?.to_owned())));
    for ban in list("bans", "deny") {
        let text = |key: &str| ban.get(key).and_then(toml::Value::as_str);
        let krate = text("crate").context("a ban without `crate` in deny.toml")?;
        if ban.get("deny-multiple-versions").and_then(toml::Value::as_bool) == Some(true) {
            policy.single.push(krate.to_owned());
            continue;
        }
        let (name, version) =
            krate.split_once('@').map_or((krate, None), |(name, version)| (name, Some(version)));
        let reason = text("reason").unwrap_or("banned").to_owned();
        policy.banned.push((name.to_owned(), version.map(str::to_owned), reason));
    }
    Ok(policy)
}

fn violations(policy: &Policy, packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        let Package { name, version, .. } = package;
        versions.entry(name).or_default().push(version);
        let expression = package.license.as_deref().unwrap_or("");
        if !licence::is_allowed(expression, &policy.licences) {
            found.push(format!("{name} {version}: the licence {expression:?} is not in the list"));
        }
        let bans = policy.banned.iter().filter(|(banned, only, _)| {
            banned == name && only.as_ref().is_none_or(|only| version.starts_with(only.as_str()))
        });
        found.extend(bans.map(|(_, _, reason)| format!("{name} {version} is banned: {reason}")));
    }
    for name in &policy.single {
        if let Some(several) = versions.get(name.as_str()).filter(|several| several.len() > 1) {
            found.push(format!("{name} is there in {} versions: {}", several.len(), several.join(", ")));
        }
    }
    found.extend(foreign_sources(packages));
    found
}

/// Everything comes from one registry, and nothing from a repository at large.
fn foreign_sources(packages: &[Package]) -> Vec<String> {
    let sources: BTreeSet<&str> = packages.iter().filter_map(|package| package.source.as_deref()).collect();
    let registries = sources.iter().filter(|source| source.starts_with("registry+")).count();
    let mut found: Vec<String> = sources
        .iter()
        .filter(|source| !source.starts_with("registry+"))
        .map(|source| format!("{source} is no registry"))
        .collect();
    if registries > 1 {
        found.push(format!("crates come from {registries} registries"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        [licenses]
        allow = ["MIT"]
        [bans]
        deny = [
            { crate = "openssl-sys", reason = "no" },
            { crate = "parking_lot@0.13" },
            { crate = "tokio", deny-multiple-versions = true },
        ]
    "#;

    fn package(name: &str, version: &str, license: &str, source: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            license: Some(license.to_owned()),
            source: Some(source.to_owned()),
            dependencies: Vec::new(),
            targets: Vec::new(),
        }
    }

    fn found(packages: &[Package]) -> Vec<String> {
        violations(&parse(POLICY).unwrap(), packages)
    }

    #[test]
    fn what_the_policy_allows_passes() {
        let packages = [
            package("tokio", "1.2.3", "MIT", "registry+a"),
            package("parking_lot", "0.12.5", "MIT", "registry+a"),
        ];
        assert_eq!(found(&packages), Vec::<String>::new());
    }

    #[test]
    fn licences_bans_and_second_copies_are_named() {
        assert_eq!(found(&[package("a", "1.0.0", "GPL-3.0", "registry+a")]).len(), 1);
        assert_eq!(found(&[package("openssl-sys", "0.9.0", "MIT", "registry+a")]).len(), 1);
        assert_eq!(found(&[package("parking_lot", "0.13.0", "MIT", "registry+a")]).len(), 1);
        let twice =
            [package("tokio", "1.0.0", "MIT", "registry+a"), package("tokio", "2.0.0", "MIT", "registry+a")];
        assert_eq!(found(&twice), ["tokio is there in 2 versions: 1.0.0, 2.0.0"]);
    }

    #[test]
    fn foreign_sources_are_named() {
        let packages = [package("a", "1.0.0", "MIT", "registry+a"), package("b", "1.0.0", "MIT", "git+b")];
        assert_eq!(found(&packages).len(), 1);
        let packages =
            [package("a", "1.0.0", "MIT", "registry+a"), package("b", "1.0.0", "MIT", "registry+b")];
        assert_eq!(found(&packages).len(), 1);
    }

    #[test]
    fn the_policy_of_the_repository_is_read() {
        let text = std::fs::read_to_string(workspace::root().join("deny.toml")).unwrap();
        let policy = parse(&text).unwrap();
        assert!(policy.licences.contains("Apache-2.0"));
        assert!(policy.banned.iter().any(|(name, _, _)| name == "openssl-sys"));
        assert!(policy.single.iter().any(|name| name == "tokio"));
    }
}
