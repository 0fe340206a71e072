//! `running.mark` and `clean.mark`: how the last process that served a data directory ended.
//!
//! ```text
//!  running.mark, envelope(kind RunningMark, version 1):   clean.mark, envelope(kind CleanMark, version 1 and 2):
//!  ┌──────────────────┬─────────────┬──────────┐          ┌────────────┐
//!  │ boot id          │ mount known │ mount id │          │ generation │
//!  │ u16 length, text │ u8 (0, 1)   │ u64      │          │ u64        │
//!  └──────────────────┴─────────────┴──────────┘          └────────────┘
//!    version 2 of the clean mark goes on, for each log:
//!  ┌────────────┬──────────────┬───────────────┬─────────────────┬───────────────┐
//!  │ count: u32 │ topic id: 16 │ partition u32 │ indexes crc u32 │ state crc u32 │ ...
//!  └────────────┴──────────────┴───────────────┴─────────────────┴───────────────┘
//! ```
//! The running mark is written and synced before the first write of a run, the clean mark last of all; the clean mark
//! is removed, and the removal synced, before the next running mark. A running mark of *this* boot and mount means
//! that a process died and the page cache is still there; of another, that the page cache is gone.
//!
//! The checksums of a log stand for what no seal covers after a clean stop: the indexes of the active segment, and where
//! log and leader epochs begin. A file of these that is damaged, or was put back from an earlier time, shows by them.

use std::collections::BTreeMap;

use millrace_env::MountIdentity;
use millrace_types::limits::PARTITIONS_PER_BROKER_MAX;
use millrace_types::{Offset, PartitionIndex, TopicId, TopicPartition};

use super::envelope::{self, DecodeError, FileKind};
use super::fields::{Fields, put_text};

/// The newest version of the running mark that this build reads, and the one that it writes.
pub const VERSION: u16 = 1;
/// The newest version of the clean mark.
pub const CLEAN_VERSION: u16 = 2;
/// The largest running mark.
pub const BYTES_MAX: usize = 4096;
/// Bytes of one log in a clean mark.
const CLEAN_LOG_BYTES: usize = 28;
/// Logs that a clean mark tells of: as many as a broker may lead, and the metadata.
const CLEAN_LOGS_MAX: usize = PARTITIONS_PER_BROKER_MAX as usize + 1;
/// The largest clean mark.
pub const CLEAN_BYTES_MAX: usize = CLEAN_LOGS_MAX * CLEAN_LOG_BYTES + 1024;
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
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CleanMark {
    /// The generation of the synced marks that were written at the stop.
    pub generation: u64,
    /// What the stop has left of each log. Empty in a mark of version 1.
    pub logs: BTreeMap<TopicPartition, CleanLog>,
}

/// Checksums of what a clean stop leaves of a log and no seal covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CleanLog {
    /// Of both indexes of the active segment.
    pub indexes: u32,
    /// Of the leader epochs and the log start.
    pub state: u32,
}

impl CleanLog {
    /// Of a log with these indexes, leader epochs (as their file holds them) and log start.
    #[must_use]
    pub fn of(offsets: &[u8], times: &[u8], epochs: &[u8], log_start: Offset) -> CleanLog {
        let sum = |parts: [&[u8]; 2]| {
            let mut hasher = crc32fast::Hasher::new();
            for part in parts {
                hasher.update(&(part.len() as u64).to_be_bytes());
                hasher.update(part);
            }
            hasher.finalize()
        };
        let start = log_start.get().to_be_bytes();
        CleanLog { indexes: sum([offsets, times]), state: sum([epochs, &start]) }
    }
}

impl CleanMark {
    /// The content of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = self.generation.to_be_bytes().to_vec();
        let logs = self.logs.iter().take(CLEAN_LOGS_MAX);
        body.extend_from_slice(&u32::try_from(logs.len()).unwrap_or(u32::MAX).to_be_bytes());
        for (partition, log) in logs {
            body.extend_from_slice(&partition.topic.0);
            body.extend_from_slice(&partition.partition.0.to_be_bytes());
            body.extend_from_slice(&log.indexes.to_be_bytes());
            body.extend_from_slice(&log.state.to_be_bytes());
        }
        envelope::seal(FileKind::CleanMark, CLEAN_VERSION, &body)
    }

    /// Reads the content of the file.
    ///
    /// # Errors
    /// Damage or a newer version: the stop does not count as clean then.
    pub fn decode(bytes: &[u8]) -> Result<CleanMark, DecodeError> {
        let opened = envelope::open(FileKind::CleanMark, CLEAN_VERSION, bytes)?;
        let mut fields = Fields::new(opened.body);
        let generation = fields.u64()?;
        let mut logs = BTreeMap::new();
        if opened.version > 1 {
            let count = fields.length()?;
            for _ in 0..fields.count_of(count, CLEAN_LOG_BYTES)? {
                let topic = TopicId(fields.array()?);
                let partition = TopicPartition { topic, partition: PartitionIndex(fields.u32()?) };
                if logs.last_key_value().is_some_and(|(last, _)| *last >= partition) {
                    return Err(DecodeError::Invalid("logs that do not rise"));
                }
                logs.insert(partition, CleanLog { indexes: fields.u32()?, state: fields.u32()? });
            }
        }
        fields.end()?;
        Ok(CleanMark { generation, logs })
    }
}

#[cfg(test)]
mod tests {
    use super::super::exam;
    use super::*;

    fn clean() -> CleanMark {
        let id = |partition| TopicPartition { topic: TopicId([7; 16]), partition: PartitionIndex(partition) };
        let log = |start| CleanLog::of(b"offsets", b"times", b"epochs", Offset::from_count(start));
        CleanMark { generation: 12, logs: BTreeMap::from([(id(0), log(0)), (id(3), log(9))]) }
    }

    fn mount(boot_id: &str, mount_id_unique: Option<u64>) -> MountIdentity {
        MountIdentity { boot_id: boot_id.to_owned(), mount_id_unique }
    }

    #[test]
    fn both_marks_come_back() {
        for mount in [mount("b5a3", Some(0)), mount("", None)] {
            let mark = RunningMark { mount };
            assert_eq!(RunningMark::decode(&mark.encode()), Ok(mark));
        }
        let clean = clean();
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
        let bytes = clean().encode();
        exam::every_cut_is_refused(&bytes, CleanMark::decode);
        exam::every_flip_is_refused(&bytes, CleanMark::decode);
    }
}
