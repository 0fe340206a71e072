//! The configuration files that are shipped say what is true.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "reads a file of the repository, not of a broker"
)]

use std::path::Path;

use millrace_server::config::{Key, KeyStatus, Layers, ServerConfig};

fn shipped() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/millrace.toml");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_shipped_file_changes_nothing() {
    let layers = Layers::default().file(&shipped()).unwrap();
    assert_eq!(ServerConfig::read(&layers), ServerConfig::read(&Layers::default()));
}

#[test]
fn every_key_stands_in_the_shipped_file_with_its_default() {
    let commented: String = shipped()
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.split(' ').nth(1) == Some("=") && !line.starts_with(char::is_uppercase))
        .map(|line| format!("{line}\n"))
        .collect();
    let table: toml::Table = commented.parse().unwrap();
    for key in Key::ALL.iter().filter(|key| key.status() == KeyStatus::Enforced) {
        let value = table.get(key.name()).unwrap_or_else(|| panic!("{key} is not in the file"));
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(text, key.default_value(), "{key}");
    }
    let layers = Layers::default().file(&commented).unwrap();
    assert!(ServerConfig::read(&layers).is_ok());
}

#[test]
fn the_three_files_of_a_cluster_are_good_and_only_one_of_them_founds_it() {
    for node in 1..=3 {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../deploy/cluster/node-{node}.toml"));
        let layers = Layers::default().file(&std::fs::read_to_string(path).unwrap()).unwrap();
        let config = ServerConfig::read(&layers).unwrap();
        assert_eq!(config.node.0, node);
        assert_eq!(config.cluster.unwrap().join.len(), if node == 1 { 0 } else { 2 });
    }
}
