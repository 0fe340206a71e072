//! Power cuts on a real ext4: what was acknowledged lies on the medium, as far as the sync mode of the topic promises. What
//! it does not promise is a suffix of each partition, within the bounds of the mode; committed offsets and topics are never
//! in it.
//!
//! The broker is frozen where it is, as by the loss of power; the file system is stopped with EXT4_IOC_SHUTDOWN (nothing
//! reaches its medium from then on, the journal included), the broker is killed, and the file system is mounted anew: what
//! was only in the page cache is gone.

use millrace_tests::cycles::{self, Blow};
use millrace_tests::{Need, require};

const INTERVAL: &str = "interval=100,65536";

fn cuts(suite: &str, cycles: u32, mode: &str) {
    if require(suite, &Need::EXT4) {
        cycles::run(suite, cycles, Blow::PowerCut, mode);
    }
}

#[test]
fn ten_power_cuts_lose_no_acknowledged_record_and_double_none() {
    cuts("crash_power", 10, "always");
}

#[test]
fn ten_power_cuts_take_no_more_than_the_bounds_of_an_interval() {
    cuts("crash_power_interval", 10, INTERVAL);
}

#[test]
fn ten_power_cuts_take_no_more_than_a_suffix_with_os() {
    cuts("crash_power_os", 10, "os");
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn two_hundred_power_cuts_lose_no_acknowledged_record_and_double_none() {
    cuts("crash_power_soak", 200, "always");
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn two_hundred_power_cuts_take_no_more_than_the_bounds_of_an_interval() {
    cuts("crash_power_interval_soak", 200, INTERVAL);
}

/// The other bound: so many bytes are not reached in so little time.
#[test]
#[ignore = "long: cargo xtask soak"]
fn two_hundred_power_cuts_take_no_more_than_a_short_interval() {
    cuts("crash_power_short_interval_soak", 200, "interval=20,4194304");
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn two_hundred_power_cuts_take_no_more_than_a_suffix_with_os() {
    cuts("crash_power_os_soak", 200, "os");
}
