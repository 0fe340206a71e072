//! One line about the machine, for the head of a report.

use std::fs;
use std::path::Path;

/// Cores, processor, memory, kernel and the file system that holds `path`.
#[must_use]
pub fn line(path: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory_kib: u64 = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split_whitespace().next().and_then(|number| number.parse().ok()))
        .unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let (device, kind) = file_system(path).unwrap_or_default();
    format!(
        "{cores} cores ({cpu}), {} GiB, Linux {}, {kind} on {device}",
        memory_kib / (1024 * 1024),
        kernel.trim()
    )
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Device and type of the mount with the longest path that holds `path`.
fn file_system(path: &Path) -> Option<(String, String)> {
    let path = path.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let rows = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, folder, kind) = (words.next()?, words.next()?, words.next()?);
        path.starts_with(folder).then(|| (folder.len(), device.to_owned(), kind.to_owned()))
    });
    rows.max_by_key(|(length, ..)| *length).map(|(_, device, kind)| (device, kind))
}
