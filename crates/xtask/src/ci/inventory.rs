//! What the machine has and lacks: the first thing to read when a run fails elsewhere.

use std::path::Path;

use crate::machine::{self, DISK_WANTED_KIB, PROGRAMS};

/// Prints one line for each thing, present or missing.
pub(super) fn print(target_directory: &Path) {
    println!("=== machine ===");
    for tool in ["rustc", "cargo"] {
        println!("{tool}: {}", machine::version(tool).unwrap_or_else(|| "MISSING".to_owned()));
    }
    for part in ["fmt", "clippy"] {
        println!("cargo {part}: {}", presence(machine::has_cargo_part(part)));
    }
    for need in PROGRAMS {
        println!("{}: {} ({})", need.name, presence(machine::has_program(need.name)), need.what_for);
    }
    println!("root: {}", if machine::is_root() { "yes" } else { "no (suites that mount file systems fail)" });
    println!("processors: {}", std::thread::available_parallelism().map_or(1, usize::from));
    match machine::free_disk_kib(target_directory) {
        Some(free) if free < DISK_WANTED_KIB => {
            println!("disk room: {} MiB, LESS than the {} MiB wanted", free / 1024, DISK_WANTED_KIB / 1024);
        }
        Some(free) => println!("disk room: {} MiB", free / 1024),
        None => println!("disk room: unknown"),
    }
}

fn presence(is_there: bool) -> &'static str {
    if is_there { "present" } else { "MISSING" }
}
