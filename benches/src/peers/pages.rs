//! Pages of memory that a run will write into, asked for beforehand.
//!
//! On a virtual machine that gives unused memory back, the first write over pages that were free for some seconds costs
//! several times the usual: whoever runs first would pay. So every run is preceded by a file of its size, removed again.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;

const CHUNK: usize = 1 << 20;

/// Writes and removes a file of so many bytes.
///
/// # Errors
/// The operating system's.
pub fn warm(folder: &Path, bytes: u64) -> Result<()> {
    let path = folder.join("pages");
    let mut file = File::create(&path)?;
    let chunk = vec![0_u8; CHUNK];
    for _ in 0..bytes / CHUNK as u64 {
        file.write_all(&chunk)?;
    }
    drop(file);
    Ok(std::fs::remove_file(&path)?)
}
