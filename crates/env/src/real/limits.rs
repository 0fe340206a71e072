//! What the kernel grants this process: open files and maps.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::HandlesMax;

const MAP_COUNT: &str = "/proc/sys/vm/max_map_count";

/// Raises the soft limit of open files to the hard one (`setrlimit`), which a process may always do for itself, and
/// answers how many it may have from now on. For the start of a process: what it starts inherits the limit.
pub fn raise_files_max() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // It stays as it was where even that is forbidden; whoever asks reads what is in force.
        let _refused = setrlimit(Resource::Nofile, raised);
    }
    handles_max().files
}

/// What is in force now.
pub(super) fn handles_max() -> HandlesMax {
    // No number means no limit.
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let maps = fs::read_to_string(MAP_COUNT).ok().and_then(|text| text.trim().parse().ok());
    HandlesMax { files, maps: maps.unwrap_or(HandlesMax::default().maps) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert_eq!(raise_files_max(), hard);
        assert_eq!(handles_max().files, hard);
        assert!(handles_max().maps > 0);
    }
}
