//! `running.mark` and `clean.mark`: how the last process that served a data directory ended.
//!
//! ```text
//!  running.mark, envelope(kind RunningMark, version 1):   clean.mark, envelope(kind CleanMark, version 1):
//!  ┌──────────────────┬─────────────┬──────────┐          ┌────────────┐
//!  │ boot id          │ mount known │ mount id │          │ generation │
//!  │ u16 length, text │ u8 (0, 1)   │ u64      │          │ u64        │
//!  └──────────────────┴─────────────┴──────────┘          └────────────┘
//! ```
//! The running mark is written and synced before the first write of a run, the clean mark last of all; the clean mark
//! is removed, and the removal synced, before the next running mark. A running mark of *this* boot and mount means
//! that a process died and the page cache is still there; of another, that the page cache is gone.

use millrace_env::MountIdentity;

use super::envelope::{self, DecodeError, FileKind};
use super::fields::{Fields, put_text};

/// The newest version of both files that this build reads, and the one that it writes.
pub const VERSION: u16 = 1;
/// The largest of either file.
pub const BYTES_MAX: usize = 4096;
/// The longest boot id that is stored; the kernel's has 36 bytes.
const BOOT_ID_BYTES_MAX: usize = 256;

/// Says that a process serves the directory, and on which life of which mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunningMark {
    /// The boot and the mount.
    pub mount: MountIdentity,
}

impl RunningMark {
    /// Whether the page cache may have been lost since this mark was written: another boot or mount, or one that
    /// cannot be told from another.
    #[must_use]
    pub fn cache_may_be_lost(&self, now: &MountIdentity) -> bool {
        #[cfg(feature = "teeth")]
        millrace_types::planted!(RunningMarkTrusted => return false);
        let told_apart = !now.boot_id.is_empty() && now.mount_id_unique.is_some();
        !told_apart || self.mount != *now
    }

    /// The content of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        // A boot id that is too long to store is stored as unknown, which errs on the side of caution.
        let stored = self.mount.boot_id.len() <= BOOT_ID_BYTES_MAX;
        put_text(&mut body, if stored { &self.mount.boot_id } else { "" });
        body.push(u8::from(self.mount.mount_id_unique.is_some()));
        body.extend_from_slice(&self.mount.mount_id_unique.unwrap_or(0).to_be_bytes());
        envelope::seal(FileKind::RunningMark, VERSION, &body)
    }

    /// Reads the content of the file.
    ///
    /// # Errors
    /// Damage or a newer version. A running mark that does not open still means that the last stop was not clean.
    pub fn decode(bytes: &[u8]) -> Result<RunningMark, DecodeError> {
        let opened = envelope::open(FileKind::RunningMark, VERSION, bytes)?;
        let mut fields = Fields::new(opened.body);
        let boot_id = fields.text()?.to_owned();
        let mount_id_unique = match (fields.byte()?, fields.u64()?) {
            (0, 0) => None,
            (1, id) => Some(id),
            _ => return Err(DecodeError::Invalid("a mount id that is neither known nor unknown")),
        };
        fields.end()?;
        Ok(RunningMark { mount: MountIdentity { boot_id, mount_id_unique } })
    }
}

/// Says that the last process stopped in order: everything was synced, nothing was written since.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CleanMark {
    /// The broker epoch that stopped.
    pub generation: u64,
}

impl CleanMark {
    /// The content of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        envelope::seal(FileKind::CleanMark, VERSION, &self.generation.to_be_bytes())
    }

    /// Reads the content of the file.
    ///
    /// # Errors
    /// Damage or a newer version: the stop does not count as clean then.
    pub fn decode(bytes: &[u8]) -> Result<CleanMark, DecodeError> {
        let opened = envelope::open(FileKind::CleanMark, VERSION, bytes)?;
        let mut fields = Fields::new(opened.body);
        let mark = CleanMark { generation: fields.u64()? };
        fields.end()?;
        Ok(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::super::exam;
    use super::*;

    fn mount(boot_id: &str, mount_id_unique: Option<u64>) -> MountIdentity {
        MountIdentity { boot_id: boot_id.to_owned(), mount_id_unique }
    }

    #[test]
    fn both_marks_come_back() {
        for mount in [mount("b5a3", Some(0)), mount("", None)] {
            let mark = RunningMark { mount };
            assert_eq!(RunningMark::decode(&mark.encode()), Ok(mark));
        }
        let clean = CleanMark { generation: 12 };
        assert_eq!(CleanMark::decode(&clean.encode()), Ok(clean));
    }

    #[test]
    fn only_the_same_boot_and_mount_kept_the_page_cache() {
        let mark = RunningMark { mount: mount("b5a3", Some(7)) };
        assert!(!mark.cache_may_be_lost(&mount("b5a3", Some(7))));
        assert!(mark.cache_may_be_lost(&mount("b5a3", Some(8))));
        assert!(mark.cache_may_be_lost(&mount("b5a4", Some(7))));
        assert!(mark.cache_may_be_lost(&mount("b5a3", None)));
        let unknown = RunningMark { mount: mount("", None) };
        assert!(unknown.cache_may_be_lost(&mount("", None)));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let bytes = RunningMark { mount: mount("b5a3", Some(7)) }.encode();
        exam::every_cut_is_refused(&bytes, RunningMark::decode);
        exam::every_flip_is_refused(&bytes, RunningMark::decode);
        let body = envelope::open(FileKind::RunningMark, VERSION, &bytes).unwrap().body;
        exam::every_cut_is_refused(body, |body| {
            RunningMark::decode(&envelope::seal(FileKind::RunningMark, VERSION, body))
        });
        let bytes = CleanMark { generation: 12 }.encode();
        exam::every_cut_is_refused(&bytes, CleanMark::decode);
        exam::every_flip_is_refused(&bytes, CleanMark::decode);
    }
}
