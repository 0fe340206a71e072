//! SIGKILL at random moments: nothing acknowledged is lost, nothing is stored twice, order holds; in every sync mode.
//!
//! A kill takes what the process had in memory and nothing else: the page cache lives on. What happens when it does not
//! is shown by `crash_power`.

use millrace_tests::cycles::{self, Blow};

const INTERVAL: &str = "interval=100,65536";

#[test]
fn ten_kills_lose_no_acknowledged_record_and_double_none() {
    cycles::run("crash_kill", 10, Blow::Kill, "always");
}

#[test]
fn ten_kills_lose_no_acknowledged_record_with_an_interval() {
    cycles::run("crash_kill_interval", 10, Blow::Kill, INTERVAL);
}

#[test]
fn ten_kills_lose_no_acknowledged_record_with_os() {
    cycles::run("crash_kill_os", 10, Blow::Kill, "os");
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn two_hundred_kills_lose_no_acknowledged_record_and_double_none() {
    cycles::run("crash_kill_soak", 200, Blow::Kill, "always");
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn two_hundred_kills_lose_no_acknowledged_record_with_an_interval() {
    cycles::run("crash_kill_interval_soak", 200, Blow::Kill, INTERVAL);
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn two_hundred_kills_lose_no_acknowledged_record_with_os() {
    cycles::run("crash_kill_os_soak", 200, Blow::Kill, "os");
}
