//! Finding the `millrace` binary that the suites start as a process.

use std::path::PathBuf;

/// The binary built beside the running test: `MILLRACE_BIN`, or the profile folder of the test's own target directory.
///
/// # Panics
/// When it has not been built. `cargo xtask test` builds it; by hand it is `cargo build --workspace` with the same profile.
#[must_use]
pub fn millrace_program() -> PathBuf {
    if let Some(given) = std::env::var_os("MILLRACE_BIN") {
        return given.into();
    }
    // A test runs as target/PROFILE/deps/NAME-HASH.
    let test = std::env::current_exe().unwrap_or_default();
    let beside = test.ancestors().nth(2).map(|profile| profile.join("millrace")).unwrap_or_default();
    assert!(
        beside.is_file(),
        "{} is not there: build it first, with cargo build --workspace (and --release where the test has it)",
        beside.display()
    );
    beside
}
