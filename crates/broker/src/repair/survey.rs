//! What a data directory says of itself without its metadata: the files of the partitions, read and not changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use millrace_env::{Env, FsExt};
use millrace_log::format::{epoch_file, producer_snapshot};
use millrace_log::inspect::{Depth, Found, FoundBatch, Inspection, PartitionPath, Severity};
use millrace_log::names::{LEADER_EPOCHS, SegmentFile};
use millrace_metadata::{Image, MetadataRecord};
use millrace_types::{DirectoryId, LeaderEpoch, NodeId, PartitionIndex, ProducerId, TopicId, TopicName};

use super::{MetadataState, RepairError};

/// A topic as its partitions describe it.
#[derive(Clone, Debug)]
pub(super) struct FoundTopic {
    pub(super) name: TopicName,
    pub(super) partitions: u32,
    pub(super) replication_factor: u32,
    pub(super) present: BTreeSet<PartitionIndex>,
    pub(super) epoch: LeaderEpoch,
    pub(super) bytes: u64,
}

/// Everything that was found.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) node: NodeId,
    pub(super) directory: DirectoryId,
    pub(super) state: MetadataState,
    /// What the readable beginning of the metadata says.
    pub(super) image: Image,
    /// Topics that it says were deleted.
    pub(super) deleted: BTreeSet<TopicId>,
    pub(super) topics: BTreeMap<TopicId, FoundTopic>,
    /// The largest producer id in any snapshot and any batch.
    pub(super) producer_largest: Option<ProducerId>,
    /// Directories that do not say what they are.
    pub(super) unreadable: Vec<PathBuf>,
}

impl Survey {
    /// Looks at everything. Holds the lock of the directory while it does.
    pub(super) fn take(env: &Env, path: &std::path::Path) -> Result<Survey, RepairError> {
        let inspection = Inspection::open(env.fs.clone(), path)?;
        let Some(node) = inspection.node() else {
            return Err(RepairError::NoNodeMeta(path.to_owned()));
        };
        let mut survey = Survey {
            node: node.node,
            directory: node.directory,
            state: MetadataState::Missing,
            image: Image::default(),
            deleted: BTreeSet::new(),
            topics: BTreeMap::new(),
            producer_largest: None,
            unreadable: Vec::new(),
        };
        for partition in inspection.partitions() {
            match partition.id {
                Some(id) if id.topic == TopicId::CLUSTER_METADATA => survey.metadata(&inspection, partition),
                _ => survey.partition(env, &inspection, partition),
            }
        }
        Ok(survey)
    }

    /// Folds the metadata as far as it can be read.
    fn metadata(&mut self, inspection: &Inspection, partition: &PartitionPath) {
        self.state = MetadataState::Intact;
        let report = inspection.verify_partition(partition, Depth::Records);
        if let Some(finding) = report.all_findings().find(|finding| finding.severity() == Severity::Damage) {
            self.state = MetadataState::Damaged(format!("{}: {}", finding.path.display(), finding.problem));
        }
        let mut expected = 0;
        for segment in &partition.segments {
            let Ok(walk) = inspection.walk(segment) else { return };
            for found in walk {
                let Ok(Found::Batch(FoundBatch { batch: Ok(batch), .. })) = found else { return };
                if batch.base_offset().get() != expected {
                    let what = format!("offsets {expected} to {} are missing", batch.base_offset());
                    self.state = MetadataState::Damaged(what);
                    return;
                }
                expected = batch.next_offset().get();
                for record in batch.records().into_iter().flatten().flatten() {
                    if let Err(what) = self.fold(record.value.as_deref().unwrap_or_default()) {
                        self.state = MetadataState::Damaged(format!("offset {}: {what}", record.offset));
                        return;
                    }
                }
            }
        }
        if expected == 0 && self.state == MetadataState::Intact {
            self.state = MetadataState::Damaged("it holds no records".to_owned());
        }
    }

    fn fold(&mut self, value: &[u8]) -> Result<(), String> {
        let record = MetadataRecord::decode(value).map_err(|error| error.to_string())?;
        self.image = self.image.clone().apply(&record).map_err(|error| error.to_string())?;
        if let MetadataRecord::TopicDeleted { id } = record {
            self.deleted.insert(id);
        }
        Ok(())
    }

    fn partition(&mut self, env: &Env, inspection: &Inspection, partition: &PartitionPath) {
        let meta = partition.meta.as_ref().filter(|meta| Some(meta.id) == partition.id);
        let Some(meta) = meta else {
            self.unreadable.push(partition.dir.clone());
            return;
        };
        let mut epoch = self.snapshots_and_epochs(env, partition);
        let mut bytes = 0;
        for segment in &partition.segments {
            let Ok(walk) = inspection.walk(segment) else { continue };
            bytes += walk.bytes();
            for found in walk {
                let Ok(Found::Batch(FoundBatch { header, batch, .. })) = found else { break };
                // A damaged header must not name the next producer.
                if batch.is_ok() {
                    epoch = epoch.max(LeaderEpoch(header.partition_leader_epoch));
                    self.note_producer(Some(ProducerId(header.producer_id)));
                }
            }
        }
        let topic = self.topics.entry(meta.id.topic).or_insert_with(|| FoundTopic {
            name: meta.name.clone(),
            partitions: 0,
            replication_factor: meta.replication_factor,
            present: BTreeSet::new(),
            epoch: LeaderEpoch(0),
            bytes: 0,
        });
        topic.partitions = topic.partitions.max(meta.partitions).max(meta.id.partition.0 + 1);
        topic.present.insert(meta.id.partition);
        topic.epoch = topic.epoch.max(epoch);
        topic.bytes += bytes;
    }

    fn snapshots_and_epochs(&mut self, env: &Env, partition: &PartitionPath) -> LeaderEpoch {
        let entries = env.fs.read_dir(&partition.dir).unwrap_or_default();
        let suffix = format!(".{}", SegmentFile::Producers.suffix());
        for entry in entries.iter().filter(|entry| entry.name.ends_with(&suffix)) {
            let read = env.fs.read_small(&partition.dir.join(&entry.name), producer_snapshot::BYTES_MAX).ok();
            let state = read.and_then(|bytes| producer_snapshot::decode(&bytes).ok());
            self.note_producer(state.and_then(|(_, state)| state.largest_id()));
        }
        let read = env.fs.read_small(&partition.dir.join(LEADER_EPOCHS), epoch_file::BYTES_MAX).ok();
        let epochs = read.and_then(|bytes| epoch_file::decode(&bytes).ok());
        epochs.and_then(|epochs| epochs.latest()).unwrap_or(LeaderEpoch(0))
    }

    fn note_producer(&mut self, id: Option<ProducerId>) {
        self.producer_largest = self.producer_largest.max(id.filter(|id| id.0 >= 0));
    }
}
