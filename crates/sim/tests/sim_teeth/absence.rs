//! A program with planted bugs can be told from others: this one is one.

use millrace_types::teeth::MARKER;

#[test]
#[expect(clippy::disallowed_methods, reason = "the test reads its own program")]
fn this_program_carries_the_mark_of_planted_bugs() {
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    assert!(program.windows(MARKER.len()).any(|window| window == MARKER.as_bytes()));
}

#[test]
fn the_suite_that_looks_for_the_mark_looks_for_this_one() {
    let suite = include_str!("../../../../tests/tests/no_planted_bugs.rs");
    assert!(suite.contains(&format!("\"{MARKER}\"")));
}
