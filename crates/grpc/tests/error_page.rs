//! The table of errors in the documentation says what the code does.

#![expect(clippy::disallowed_methods, reason = "reads and writes a file of the repository, not of a broker")]

use std::path::Path;

#[test]
fn the_page_of_errors_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    let page = millrace_grpc::error_page();
    if std::env::var_os("MILLRACE_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/errors.md is out of date; write it with MILLRACE_BLESS=1 cargo test -p millrace-grpc --test error_page"
    );
}
