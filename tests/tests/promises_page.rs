//! The page of promises names a test behind each line: each of them exists.
#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use std::path::Path;

#[test]
fn every_test_that_the_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let page = std::fs::read_to_string(root.join("docs/promises.md")).expect("the page");
    let named: Vec<(&str, &str)> = page.split('`').filter_map(|code| code.split_once(".rs::")).collect();
    assert!(named.len() >= 30, "only {} tests are named", named.len());
    for (file, test) in named {
        let text = std::fs::read_to_string(root.join(format!("{file}.rs"))).unwrap_or_default();
        assert!(text.contains(&format!("fn {test}()")), "there is no {file}.rs::{test}");
    }
}
