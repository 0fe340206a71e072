//! The faults: what happens to one file.

use std::path::PathBuf;

use millrace_env::{Fs, FsExt, OpenMode};

use crate::Seed;

/// Larger than every file of these worlds.
const FILE_BYTES_MAX: usize = 64 << 20;

/// What happens to a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FaultKind {
    /// One bit: in the head, in the middle, in the tail.
    Flip,
    /// It is shorter.
    Truncate,
    /// It is longer: zeros, noise, or its own beginning once more.
    Extend,
    /// 4 KiB of it are zeros.
    Zero,
    /// A piece of it is what an older version, or another place of it, holds.
    OldChunk,
    /// It is what it was earlier.
    OldFile,
    /// It is gone.
    Delete,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [FaultKind; 7] = [
        FaultKind::Flip,
        FaultKind::Truncate,
        FaultKind::Extend,
        FaultKind::Zero,
        FaultKind::OldChunk,
        FaultKind::OldFile,
        FaultKind::Delete,
    ];

    /// For tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Flip => "flip",
            FaultKind::Truncate => "truncate",
            FaultKind::Extend => "extend",
            FaultKind::Zero => "zero",
            FaultKind::OldChunk => "old chunk",
            FaultKind::OldFile => "old file",
            FaultKind::Delete => "delete",
        }
    }
}

/// A fault in a file.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// What happens to it.
    pub kind: FaultKind,
    /// What it held earlier, if it was there then.
    pub older: Option<Vec<u8>>,
}

impl Fault {
    /// Does it. Answers in words what was done; `None` if it would change nothing.
    ///
    /// # Panics
    /// When the file system fails.
    pub fn apply(&self, fs: &dyn Fs, seed: &mut Seed) -> Option<String> {
        let before = fs.read_small(&self.path, FILE_BYTES_MAX).ok().map(|bytes| bytes.to_vec());
        let (after, what) = self.change(before.as_deref().unwrap_or_default(), seed)?;
        if after == before {
            return None;
        }
        let dir = self.path.parent().expect("a directory");
        match &after {
            None => fs.unlink(&self.path).expect("it can be unlinked"),
            Some(content) => {
                let mode = if before.is_some() { OpenMode::ReadWrite } else { OpenMode::CreateNew };
                let file = fs.open(&self.path, mode).expect("it opens");
                file.set_len(content.len() as u64).expect("it can be cut");
                file.write_all_at(content, 0).expect("it can be written");
                file.sync_data().expect("it can be synced");
            }
        }
        fs.sync_dir(dir).expect("the directory can be synced");
        Some(format!("{}: {what}", self.path.display()))
    }

    /// What the file holds then (`None`: it is gone), in words too.
    fn change(&self, before: &[u8], seed: &mut Seed) -> Option<(Option<Vec<u8>>, String)> {
        let len = before.len();
        let mut content = before.to_vec();
        let needs_bytes = matches!(
            self.kind,
            FaultKind::Flip | FaultKind::Truncate | FaultKind::Zero | FaultKind::OldChunk
        );
        if needs_bytes && len == 0 {
            return None;
        }
        let what = match self.kind {
            FaultKind::Flip => {
                let at = place(len, seed);
                let bit = seed.between(0, 8);
                content[at] ^= 1 << bit;
                format!("bit {bit} of byte {at} of {len} flipped")
            }
            FaultKind::Truncate => {
                let keep = [0, len / 2, len - 1, below(len, seed)][below(4, seed)];
                content.truncate(keep);
                format!("cut from {len} to {keep} bytes")
            }
            FaultKind::Extend => {
                let more = 1 + below(5000, seed);
                let extra: Vec<u8> = match below(3, seed) {
                    0 => vec![0; more],
                    1 => (0..more).map(|_| seed.draw().to_le_bytes()[0]).collect(),
                    _ => before.iter().copied().chain(std::iter::repeat(0)).take(more).collect(),
                };
                content.extend(extra);
                format!("{more} bytes added to {len}")
            }
            FaultKind::Zero => {
                let start = place(len, seed) / 4096 * 4096;
                let end = (start + 4096).min(len);
                content[start..end].fill(0);
                format!("bytes {start} to {end} of {len} are zeros")
            }
            FaultKind::OldChunk => {
                let unit = [512, 4096][below(2, seed)];
                let start = place(len, seed) / unit * unit;
                let end = (start + unit).min(len);
                let from = below(len, seed) / unit * unit;
                let source = self.older.as_deref().unwrap_or(before);
                let from = if self.older.is_some() { start } else { from };
                for (at, byte) in content[start..end].iter_mut().enumerate() {
                    *byte = source.get(from + at).copied().unwrap_or(0);
                }
                format!("bytes {start} to {end} of {len} are older ones")
            }
            FaultKind::OldFile => {
                content.clone_from(self.older.as_ref()?);
                format!("an older version of {} bytes instead of {len}", content.len())
            }
            FaultKind::Delete => return Some((None, "deleted".to_owned())),
        };
        Some((Some(content), what))
    }
}

/// A position in the head, somewhere, or in the tail.
fn place(len: usize, seed: &mut Seed) -> usize {
    match below(3, seed) {
        0 => below(len.min(64), seed),
        1 => below(len, seed),
        _ => len - 1 - below(len.min(256), seed),
    }
}

fn below(bound: usize, seed: &mut Seed) -> usize {
    usize::try_from(seed.between(0, bound.max(1) as u64)).unwrap_or(0)
}
