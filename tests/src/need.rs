//! What a suite needs from the machine, and what happens where it is missing.
//!
//! On a developer's machine the suite is left out and says so: a line `SKIPPED <suite>: <why>` on standard error and in
//! the file that `MILLRACE_SKIP_REPORT` names (`cargo xtask test` prints it at the end). With `CI` set a missing need is
//! a failure: a build server that quietly tests less is worth nothing.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

/// Something that not every machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The rights of root: loop devices, mounts.
    Root,
    /// A program on the search path (or where Debian keeps the tools of root).
    Program(&'static str),
    /// A loop device can be made (containers without privileges have none).
    LoopDevice,
}

impl Need {
    /// What [`crate::disk::Disk`] wants: a real ext4 in an image of its own.
    pub const EXT4: [Need; 5] = [
        Need::Root,
        Need::LoopDevice,
        Need::Program("mkfs.ext4"),
        Need::Program("mount"),
        Need::Program("umount"),
    ];

    /// Why the machine does not meet it, if it does not.
    #[must_use]
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Root => (!is_root()).then(|| "needs root".to_owned()),
            Self::Program(name) => find_program(name).is_none().then(|| format!("{name} is not installed")),
            Self::LoopDevice => {
                let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control");
                control.err().map(|error| format!("no loop devices here ({error})"))
            }
        }
    }
}

/// True when the machine meets every need. Otherwise reports the suite as skipped and answers false.
///
/// # Panics
/// When a need is not met and `CI` is set.
#[must_use]
pub fn require(suite: &str, needs: &[Need]) -> bool {
    let missing: Vec<String> = needs.iter().filter_map(|need| need.missing()).collect();
    if missing.is_empty() {
        return true;
    }
    let why = missing.join(", ");
    assert!(!is_ci(), "{suite}: {why}, and with CI set nothing may be skipped");
    report(&format!("SKIPPED {suite}: {why}"));
    false
}

fn report(line: &str) {
    eprintln!("{line}");
    let Some(path) = std::env::var_os("MILLRACE_SKIP_REPORT") else { return };
    // One short write to a file opened for appending: lines of suites that run side by side do not mix.
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    if let Err(error) = written {
        eprintln!("the skip report {} cannot be written: {error}", PathBuf::from(path).display());
    }
}

fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "0" && value != "false")
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    // Real, effective, saved, file system: the second one decides.
    line.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let standard = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).chain(standard);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_found_and_nonsense_is_not() {
        assert_eq!(Need::Program("sh").missing(), None);
        let why = Need::Program("no-such-program-anywhere").missing();
        assert_eq!(why.as_deref(), Some("no-such-program-anywhere is not installed"));
    }

    #[test]
    fn a_suite_whose_needs_are_met_runs() {
        assert!(require("shell", &[Need::Program("sh")]));
    }
}
