//! The crates' manifests: one lint table, one list of versions.

use super::{Finding, Source};

/// Crates whose every public item is documented.
const DOCUMENTED: [&str; 6] = ["types", "env", "record", "log", "broker", "client"];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let file = source.file.to_string_lossy();
    let documented = DOCUMENTED.iter().any(|name| file == format!("crates/{name}/src/lib.rs"));
    if documented && !source.code.contains("missing_docs") {
        return vec![Finding::new(&source.file, 1, "this crate has `#![warn(missing_docs)]`")];
    }
    if file.ends_with("Cargo.toml")
        && let Ok(manifest) = toml::from_str::<toml::Table>(&source.text)
        && turns_on_planted_bugs(&manifest)
    {
        return vec![Finding::new(
            &source.file,
            0,
            "turns on `teeth`: planted bugs are built by their suite alone",
        )];
    }
    // The root has the tables that the others point at; the fuzzing workspace stands apart.
    let member = file.ends_with("/Cargo.toml") && !file.starts_with("fuzz/");
    if !member {
        return Vec::new();
    }
    match toml::from_str::<toml::Table>(&source.text) {
        Ok(manifest) => {
            check_manifest(&manifest).into_iter().map(|what| Finding::new(&source.file, 0, what)).collect()
        }
        Err(error) => vec![Finding::new(&source.file, 0, format!("not TOML: {}", error.message()))],
    }
}

fn check_manifest(manifest: &toml::Table) -> Vec<String> {
    let mut found = Vec::new();
    if !is_shared(manifest.get("lints")) {
        found.push("`[lints] workspace = true` is missing".to_owned());
    }
    for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let entries = manifest.get(table).and_then(toml::Value::as_table).into_iter().flatten();
        let own = entries.filter(|(_, value)| !is_shared(Some(value)));
        found.extend(
            own.map(|(name, _)| format!("{table}: {name} names its own version; versions are in the root")),
        );
    }
    found
}

/// Whether a dependency has the feature `teeth`, or a crate has it by default.
fn turns_on_planted_bugs(manifest: &toml::Table) -> bool {
    let names = |value: &toml::Value| {
        let listed = value.as_array().into_iter().flatten().filter_map(toml::Value::as_str);
        listed.into_iter().any(|name| name == "teeth" || name.ends_with("/teeth"))
    };
    let by_default = manifest.get("features").and_then(|features| features.get("default")).is_some_and(names);
    by_default || features_of_dependencies(manifest).any(names)
}

/// What `features = [...]` says behind each dependency, of the workspace and of every kind.
fn features_of_dependencies(manifest: &toml::Table) -> impl Iterator<Item = &toml::Value> {
    let workspace = manifest.get("workspace").and_then(toml::Value::as_table);
    let tables = [Some(manifest), workspace].into_iter().flatten();
    let tables = tables.flat_map(|table| {
        ["dependencies", "dev-dependencies", "build-dependencies"].map(|kind| table.get(kind))
    });
    let entries = tables.flatten().filter_map(toml::Value::as_table).flatten();
    entries.filter_map(|(_, entry)| entry.get("features"))
}

fn is_shared(value: Option<&toml::Value>) -> bool {
    value.and_then(|value| value.get("workspace")).and_then(toml::Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, text: &str) -> usize {
        check(&Source::new(file, text)).len()
    }

    #[test]
    fn a_member_shares_lints_and_versions() {
        let good = "[dependencies]\na.workspace = true\nb = { workspace = true, features = [\"x\"] }\n[lints]\nworkspace = true\n";
        assert_eq!(found("crates/log/Cargo.toml", good), 0);
        assert_eq!(found("crates/log/Cargo.toml", "[dependencies]\n"), 1);
        assert_eq!(
            found("crates/log/Cargo.toml", "[dependencies]\na = \"1\"\n[lints]\nworkspace = true\n"),
            1
        );
        assert_eq!(found("crates/log/Cargo.toml", "[lints\n"), 1);
    }

    #[test]
    fn the_root_and_the_fuzzing_workspace_stand_apart() {
        assert_eq!(found("Cargo.toml", "[workspace]\n"), 0);
        assert_eq!(found("fuzz/Cargo.toml", "[workspace]\n"), 0);
    }

    #[test]
    fn nothing_turns_on_planted_bugs() {
        let shared = "[lints]\nworkspace = true\n";
        let forwarded = format!("[features]\nteeth = [\"millrace-env/teeth\"]\n{shared}");
        assert_eq!(found("crates/log/Cargo.toml", &forwarded), 0);
        let by_default = format!("[features]\ndefault = [\"teeth\"]\nteeth = []\n{shared}");
        assert_eq!(found("crates/log/Cargo.toml", &by_default), 1);
        let depends =
            format!("[dev-dependencies]\na = {{ workspace = true, features = [\"teeth\"] }}\n{shared}");
        assert_eq!(found("crates/log/Cargo.toml", &depends), 1);
        let root = "[workspace.dependencies]\na = { path = \"a\", features = [\"teeth\"] }\n";
        assert_eq!(found("Cargo.toml", root), 1);
    }

    #[test]
    fn the_contracts_document_everything() {
        assert_eq!(found("crates/log/src/lib.rs", "//! The log.\n"), 1);
        assert_eq!(found("crates/log/src/lib.rs", "//! The log.\n#![warn(missing_docs)]\n"), 0);
        assert_eq!(found("crates/grpc/src/lib.rs", "//! The door.\n"), 0);
    }
}
