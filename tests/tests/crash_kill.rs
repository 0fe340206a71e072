//! SIGKILL at random moments: nothing acknowledged is lost, nothing is stored twice, order holds.
//!
//! A kill takes what the process had in memory and nothing else: the page cache lives on. What happens when it does not
//! is shown by `crash_power`.

use millrace_tests::cycles::{self, Blow};

#[test]
fn ten_kills_lose_no_acknowledged_record_and_double_none() {
    cycles::run("crash_kill", 10, Blow::Kill);
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn fifty_kills_lose_no_acknowledged_record_and_double_none() {
    cycles::run("crash_kill_soak", 50, Blow::Kill);
}
