//! The program that is built for users has no planted bug in it.
#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use millrace_tests::millrace_program;

/// What every build with planted bugs carries. `sim_teeth` sees to it that this is the text, and that it is carried.
const MARKER: &str = "millrace: this build has planted bugs in it";

#[test]
fn the_program_does_not_carry_the_mark_of_planted_bugs() {
    let program = std::fs::read(millrace_program()).expect("the program");
    assert!(program.len() > 1_000_000, "this is no program");
    let carried = program.windows(MARKER.len()).any(|window| window == MARKER.as_bytes());
    assert!(!carried, "the program was built with the feature `teeth`");
}
