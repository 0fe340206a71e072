//! What a suite says although it passed: its figures.

use std::io::Write as _;

/// A line on standard error, which the test harness does not hold back (it does with `eprintln!`).
pub fn say(line: &str) {
    // A closed standard error is nobody's failure.
    let _unread = writeln!(std::io::stderr(), "{line}");
}
