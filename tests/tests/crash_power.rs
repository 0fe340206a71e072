//! Power cuts on a real ext4: what was acknowledged lies on the medium.
//!
//! The broker is frozen where it is, as by the loss of power; the file system is stopped with EXT4_IOC_SHUTDOWN (nothing
//! reaches its medium from then on, the journal included), the broker is killed, and the file system is mounted anew: what
//! was only in the page cache is gone.

use millrace_tests::cycles::{self, Blow};
use millrace_tests::{Need, require};

const NEEDS: [Need; 5] = [
    Need::Root,
    Need::LoopDevice,
    Need::Program("mkfs.ext4"),
    Need::Program("mount"),
    Need::Program("umount"),
];

#[test]
fn ten_power_cuts_lose_no_acknowledged_record_and_double_none() {
    if require("crash_power", &NEEDS) {
        cycles::run("crash_power", 10, Blow::PowerCut);
    }
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn fifty_power_cuts_lose_no_acknowledged_record_and_double_none() {
    if require("crash_power_soak", &NEEDS) {
        cycles::run("crash_power_soak", 50, Blow::PowerCut);
    }
}
