//! Builds the cluster's metadata anew from what the partitions say of themselves, while nobody serves the directory.
//!
//! ```text
//!   survey (reads only) ─► report: what is known, what is guessed ─► with `Apply::Write`:
//!      the old metadata log is renamed, a new one is written as one batch
//! ```
//! Nothing is deleted: what is taken out of the way keeps its bytes under a name that no start looks into. A crash between the
//! two steps leaves a directory without metadata, which no broker serves; the repair is run again.

mod survey;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use millrace_env::Env;
use millrace_log::inspect::InspectError;
use millrace_log::{DirError, LogDir, LogDirOptions, PartitionMeta};
use millrace_metadata::{FEATURE_LEVEL_ALONE, MetadataRecord};
use millrace_schema::{BrokerRegistered, PartitionPlaced, ProducerIdsTaken, TopicCreated};
use millrace_types::{LeaderEpoch, PartitionIndex, ProducerId, TopicId, TopicName, TopicPartition};

use crate::ApiError;
use crate::metadata_log::{batch_of, metadata_log_config};
use crate::partitions::CONSUMER_OFFSETS;
use crate::start::{CLUSTER_METADATA, offsets_configs};
use survey::{FoundTopic, Survey};

/// How far behind the largest producer id that was found the next one is. Ids that were handed out and never wrote leave no
/// trace, and must not be handed out again either.
const PRODUCER_IDS_SKIPPED: i64 = 1_000_000;

/// Whether anything is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Apply {
    /// No: only told.
    DryRun,
    /// Yes.
    Write,
}

/// What to do with metadata that looks intact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IfIntact {
    /// Leave it.
    Keep,
    /// Build it anew all the same.
    Rebuild,
}

/// What becomes of logs whose topic the metadata does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Orphans {
    /// They are told, and stay as they are.
    Leave,
    /// Their topics are entered into the metadata.
    Adopt,
    /// Their directories are renamed, so that no start looks into them.
    SetAside,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct RepairRequest {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Whether to write.
    pub apply: Apply,
    /// What to do if there is no need.
    pub if_intact: IfIntact,
    /// What to do with orphans. Where the metadata is built anew, every topic that is found is taken in anyway.
    pub orphans: Orphans,
}

/// What the metadata log looks like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MetadataState {
    /// Every record can be read and folded.
    Intact,
    /// There is none.
    Missing,
    /// It cannot be read whole; the text says why.
    Damaged(String),
}

/// Where a topic of the new metadata comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Its record could still be read: configuration and all.
    Metadata,
    /// From its partitions. Its configuration is lost: it has the defaults.
    Guessed,
}

/// A topic of the new metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RepairedTopic {
    /// Its name.
    pub name: TopicName,
    /// Its id.
    pub id: TopicId,
    /// How many partitions.
    pub partitions: u32,
    /// How many replicas.
    pub replication_factor: u32,
    /// Partitions of which no log is there.
    pub missing: Vec<PartitionIndex>,
    /// Where it comes from.
    pub origin: Origin,
}

/// A topic that is on the disk and not in the metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Orphan {
    /// The name that its partitions give it.
    pub name: TopicName,
    /// Its id.
    pub id: TopicId,
    /// The partitions of which there are logs.
    pub partitions: Vec<PartitionIndex>,
    /// Why it is not, or cannot be, taken in.
    pub why: String,
}

/// What was found and done, or would be.
#[derive(Clone, Debug)]
pub struct RepairReport {
    /// The metadata log as it was found.
    pub state: MetadataState,
    /// The topics of the metadata that was, or would be, written. Empty if the old metadata stays.
    pub topics: Vec<RepairedTopic>,
    /// The topics that are not in it.
    pub orphans: Vec<Orphan>,
    /// The first producer id that will be handed out.
    pub next_producer_id: Option<ProducerId>,
    /// Directories that do not say what they are. They are left alone.
    pub unreadable: Vec<PathBuf>,
    /// What was renamed, and to what it was.
    pub set_aside: Vec<PathBuf>,
    /// Whether anything was written.
    pub written: bool,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// It cannot be looked at; another process may serve it.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// It does not say which node it belongs to.
    #[error("{0} has no readable node.meta; without it nobody knows whose directory it is")]
    NoNodeMeta(PathBuf),
    /// There is nothing to do.
    #[error(
        "the metadata in {0} is intact and knows every log; nothing was changed (--force builds it anew)"
    )]
    Intact(PathBuf),
    /// The directory refuses.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The new metadata could not be written.
    #[error(transparent)]
    Write(#[from] ApiError),
}

/// Surveys the directory and, if asked to, writes.
///
/// # Errors
/// [`RepairError`]; before anything was written, unless it says otherwise.
pub fn repair_metadata(env: &Env, request: &RepairRequest) -> Result<RepairReport, RepairError> {
    let survey = Survey::take(env, &request.data_dir)?;
    let rebuild = survey.state != MetadataState::Intact || request.if_intact == IfIntact::Rebuild;
    let mut plan = if rebuild { plan_rebuild(&survey) } else { plan_orphans(&survey, request.orphans) };
    if !rebuild && plan.report.orphans.is_empty() && plan.records.is_empty() {
        return Err(RepairError::Intact(request.data_dir.clone()));
    }
    let aside = match request.orphans {
        Orphans::SetAside => plan.orphan_logs.clone(),
        Orphans::Leave | Orphans::Adopt => Vec::new(),
    };
    let is_change = rebuild || !plan.records.is_empty() || !aside.is_empty();
    if request.apply == Apply::Write && is_change {
        write(env, &request.data_dir, &survey, &mut plan, (rebuild, aside))?;
    }
    Ok(plan.report)
}

/// What would be written.
struct Plan {
    report: RepairReport,
    records: Vec<MetadataRecord>,
    orphan_logs: Vec<TopicPartition>,
}

impl Plan {
    fn new(survey: &Survey) -> Plan {
        let report = RepairReport {
            state: survey.state.clone(),
            topics: Vec::new(),
            orphans: Vec::new(),
            next_producer_id: None,
            unreadable: survey.unreadable.clone(),
            set_aside: Vec::new(),
            written: false,
        };
        Plan { report, records: Vec::new(), orphan_logs: Vec::new() }
    }

    /// Takes a topic in, under the configuration that is known of it.
    fn topic(&mut self, survey: &Survey, id: TopicId, found: &FoundTopic) {
        let known = survey.image.topic_by_id(id);
        let configs = match known {
            Some(known) => known.configs.clone(),
            None if found.name.as_str() == CONSUMER_OFFSETS => offsets_configs(),
            None => BTreeMap::new(),
        };
        let partitions =
            known.map_or(found.partitions, |known| known.partition_count().max(found.partitions));
        let numbers = (0..partitions).map(PartitionIndex);
        let placed = PartitionPlaced {
            replicas: vec![survey.node],
            isr: vec![survey.node],
            leader: Some(survey.node),
            leader_epoch: LeaderEpoch(found.epoch.0.saturating_add(1)),
            partition_epoch: 0,
        };
        self.records.push(MetadataRecord::TopicCreated(TopicCreated {
            id,
            name: found.name.clone(),
            replication_factor: found.replication_factor,
            partitions: numbers.clone().map(|_| placed.clone()).collect(),
            configs,
        }));
        self.report.topics.push(RepairedTopic {
            name: found.name.clone(),
            id,
            partitions,
            replication_factor: found.replication_factor,
            missing: numbers.filter(|number| !found.present.contains(number)).collect(),
            origin: if known.is_some() { Origin::Metadata } else { Origin::Guessed },
        });
    }

    fn orphan(&mut self, id: TopicId, found: &FoundTopic, why: &str) {
        let partitions: Vec<PartitionIndex> = found.present.iter().copied().collect();
        self.orphan_logs
            .extend(partitions.iter().map(|partition| TopicPartition { topic: id, partition: *partition }));
        self.report.orphans.push(Orphan { name: found.name.clone(), id, partitions, why: why.to_owned() });
    }
}

/// New metadata: every topic that is found, those with the most bytes first to keep their names.
fn plan_rebuild(survey: &Survey) -> Plan {
    let mut plan = Plan::new(survey);
    plan.records.push(MetadataRecord::FeatureLevelRaised { level: FEATURE_LEVEL_ALONE });
    plan.records.push(MetadataRecord::BrokerRegistered(BrokerRegistered {
        node: survey.node,
        directory: survey.directory,
        // The next start says where it listens.
        grpc: String::new(),
    }));
    let mut found: Vec<(&TopicId, &FoundTopic)> = survey.topics.iter().collect();
    found.sort_by_key(|(id, topic)| (std::cmp::Reverse(topic.bytes), **id));
    let mut names = BTreeSet::new();
    for (id, topic) in found {
        if survey.deleted.contains(id) {
            plan.orphan(*id, topic, "the metadata says that it was deleted");
        } else if names.insert(topic.name.folded()) {
            plan.topic(survey, *id, topic);
        } else {
            plan.orphan(*id, topic, "another topic of that name holds more");
        }
    }
    let largest = survey.producer_largest.map_or(0, |id| id.0);
    let first = largest.max(survey.image.next_producer_id().0).saturating_add(PRODUCER_IDS_SKIPPED);
    let block = ProducerIdsTaken { node: survey.node, first: ProducerId(first), count: 1 };
    plan.records.push(MetadataRecord::ProducerIdsTaken(block));
    plan.report.next_producer_id = Some(ProducerId(first.saturating_add(1)));
    plan
}

/// The metadata stays; topics that it does not know are told, and taken in if that is wanted and possible.
fn plan_orphans(survey: &Survey, orphans: Orphans) -> Plan {
    let mut plan = Plan::new(survey);
    let mut image = survey.image.clone();
    for (id, topic) in &survey.topics {
        if image.topic_by_id(*id).is_some() || survey.deleted.contains(id) {
            continue;
        }
        if orphans != Orphans::Adopt {
            plan.orphan(*id, topic, "the metadata does not know it");
            continue;
        }
        plan.topic(survey, *id, topic);
        let adopted = plan.records.last().map(|record| image.clone().apply(record));
        match adopted {
            Some(Ok(after)) => image = after,
            _ => {
                plan.records.pop();
                plan.report.topics.pop();
                plan.orphan(*id, topic, "a topic of that name exists");
            }
        }
    }
    plan
}

/// Takes the old metadata and the orphans out of the way and writes the new records.
fn write(
    env: &Env,
    data_dir: &Path,
    survey: &Survey,
    plan: &mut Plan,
    (rebuild, aside): (bool, Vec<TopicPartition>),
) -> Result<(), RepairError> {
    // Encoded first: what cannot be written must be found out before anything is renamed.
    let batch = if plan.records.is_empty() { None } else { Some(batch_of(&plan.records, &*env.clock)?) };
    let options =
        LogDirOptions { path: data_dir.to_owned(), node: survey.node, tail_cache_bytes: 0, handles: None };
    let dir = LogDir::open(env, options)?.dir;
    let id = TopicPartition { topic: TopicId::CLUSTER_METADATA, partition: PartitionIndex(0) };
    for orphan in aside {
        plan.report.set_aside.extend(dir.set_aside(orphan)?);
    }
    if let Some(batch) = batch {
        let log = if rebuild {
            plan.report.set_aside.extend(dir.set_aside(id)?);
            let name = TopicName::new(CLUSTER_METADATA)
                .map_err(|error| ApiError::new(millrace_types::ErrorCode::Internal, error.to_string()))?;
            let meta = PartitionMeta { id, name, partitions: 1, replication_factor: 1 };
            dir.create(meta, metadata_log_config())?
        } else {
            dir.open_log(id, metadata_log_config())?
        };
        let appended = log.append(batch).and_then(millrace_log::Ticket::wait);
        let _stored = appended.map_err(ApiError::from)?;
    }
    dir.close()?;
    plan.report.written = true;
    Ok(())
}
