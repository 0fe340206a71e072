//! Suites over the simulated machine: what the real code makes of crashes and faults, and whether that would be seen.
//!
//! `tests/sim_teeth.rs` plants one bug after another and must see each of them; it is built with the feature `teeth`.
