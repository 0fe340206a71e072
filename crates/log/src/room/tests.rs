//! The levels, and who may use what is left.

use std::path::Path;

use millrace_env::counting::CallKind;
use millrace_env::sim::{Fault, Sim};

use super::*;

const MIB: u64 = 1024 * 1024;

fn at(total: u64, available: u64, before: StorageLevel) -> StorageLevel {
    StorageLevel::of(SpaceLeft { total, available }, before)
}

fn room(sim: &Sim) -> Room {
    Room::new(sim.env().fs, Path::new("/").to_owned())
}

#[test]
fn a_level_is_entered_at_its_mark_and_left_one_percent_below_it() {
    let total = 1_000;
    let steps = [
        (850, StorageLevel::Ample),
        (851, StorageLevel::Low),
        (900, StorageLevel::Low),
        (901, StorageLevel::Scarce),
        (950, StorageLevel::Scarce),
        (951, StorageLevel::Full),
        (1_000, StorageLevel::Full),
    ];
    for (used, level) in steps {
        assert_eq!(at(total, total - used, StorageLevel::Ample), level, "{used} of {total} are used");
    }
    assert_eq!(at(total, 59, StorageLevel::Full), StorageLevel::Full);
    assert_eq!(at(total, 60, StorageLevel::Full), StorageLevel::Scarce);
    assert_eq!(at(total, 110, StorageLevel::Full), StorageLevel::Low);
    assert_eq!(at(total, 160, StorageLevel::Full), StorageLevel::Ample);
    assert_eq!(at(total, 159, StorageLevel::Ample), StorageLevel::Ample);
}

#[test]
fn a_file_system_of_any_size_has_levels_and_a_reserve() {
    assert_eq!(at(u64::MAX, u64::MAX, StorageLevel::Full), StorageLevel::Ample);
    assert_eq!(at(u64::MAX, 0, StorageLevel::Ample), StorageLevel::Full);
    assert_eq!(at(0, 0, StorageLevel::Ample), StorageLevel::Ample, "one that does not say how large it is");
    let reserve = |total| StorageRoom { total, ..StorageRoom::default() }.reserve();
    assert_eq!(reserve(64 * MIB), 64 * MIB / 20, "small ones keep what lies above the mark");
    assert_eq!(reserve(1024 * 1024 * MIB), 256 * MIB);
}

#[test]
fn users_leave_the_reserve_alone_and_commits_leave_metadata_its_share() {
    let sim = Sim::new(1);
    sim.disk().set_space_left(100 * MIB);
    let room = room(&sim);
    assert!(room.take(Claim::User, 20 * MIB));
    sim.disk().set_space_left(100 * MIB);
    // Nobody writes, so that every look finds what it found; what was taken since counts all the same.
    let taken = (0..200).take_while(|_| room.take_of_estimate(Claim::User, MIB)).count();
    assert_eq!(taken, 75, "80 MiB were left of the first look, 5 are the reserve");
    assert!(!room.take_of_estimate(Claim::Ahead, 1));
    let commits = (0..200).take_while(|_| room.take_of_estimate(Claim::Commits, MIB)).count();
    assert_eq!(commits, 2);
    assert!((0..200).all(|_| room.take(Claim::Metadata, MIB)));
}

#[test]
fn whoever_finds_too_little_looks_again_before_he_is_refused() {
    let sim = Sim::new(2);
    sim.disk().set_space_left(100 * MIB);
    let room = room(&sim);
    assert!(room.take(Claim::User, 90 * MIB));
    let looks = sim.calls().count(CallKind::SpaceLeft);
    assert!(room.take(Claim::User, 90 * MIB), "nothing of the first was written");
    assert_eq!(sim.calls().count(CallKind::SpaceLeft), looks + 1);
    assert!(!room.take(Claim::User, 96 * MIB));
}

#[test]
fn a_file_system_that_does_not_answer_refuses_nobody() {
    let sim = Sim::new(3);
    sim.disk().inject(Fault::io(CallKind::SpaceLeft).for_ever());
    let room = room(&sim);
    assert!(room.take(Claim::User, MIB) && room.take(Claim::Ahead, MIB));
    assert_eq!(room.seen().level, StorageLevel::Ample);
}
