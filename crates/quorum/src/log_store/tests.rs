//! Promises and entries outlive power cuts; files that cannot be believed keep a node out.

use std::path::Path;

use millrace_env::FsExt;
use millrace_env::sim::{Sim, Survival};
use millrace_log::{DirError, LogDir, LogDirOptions, PartitionMeta};
use millrace_schema::QuorumPayload;
use millrace_types::{PartitionIndex, TopicId, TopicName, TopicPartition};
use openraft::Vote;
use openraft::storage::RaftLogStorageExt;

use super::*;
use crate::entries::quorum_log_config;
use crate::raft::RaftId;
use crate::runtime::{enter, within};

pub(super) const NODE: NodeId = NodeId(7);
pub(super) const DIR: &str = "/data";

/// A process on a simulated machine.
pub(super) struct Process {
    pub(super) env: Arc<Env>,
    pub(super) dir: Arc<LogDir>,
    pub(super) store: Result<LogStore, StoreError>,
}

fn start(env: Env) -> Process {
    try_start(env).unwrap()
}

/// What a machine that loses its power meanwhile answers is an error.
pub(super) fn try_start(env: Env) -> Result<Process, DirError> {
    let env = Arc::new(env);
    let options = LogDirOptions { path: DIR.into(), node: NODE, tail_cache_bytes: 0, handles: None };
    let opened = LogDir::open(&env, options)?;
    let id = TopicPartition { topic: TopicId::CLUSTER_METADATA, partition: PartitionIndex(0) };
    let log = if opened.found.is_empty() {
        let name = TopicName::new("__cluster_metadata").unwrap();
        let meta = PartitionMeta { id, name, partitions: 1, replication_factor: 1 };
        opened.dir.create(meta, quorum_log_config())?
    } else {
        opened.dir.open_log(id, quorum_log_config())?
    };
    let files = QuorumFiles::new(Arc::clone(&env.fs), DIR.into());
    let store = LogStore::open(&env, log, files, NODE);
    Ok(Process { env, dir: opened.dir, store })
}

fn entry(own: QuorumVoter, index: u64) -> Entry<Consensus> {
    let at = QuorumPosition { term: 1, leader: own, index };
    raft_entry_of(QuorumEntry { at, payload: QuorumPayload::Blank })
}

/// Appends entries `0..count` and votes for itself in `term`.
async fn fill(process: &Process, count: u64, term: u64) -> QuorumVoter {
    let mut store = process.store.as_ref().unwrap().clone();
    let own = store.own();
    let entries: Vec<_> = (0..count).map(|index| entry(own, index)).collect();
    within(&process.env, store.blocking_append(entries)).await.unwrap();
    within(&process.env, store.save_vote(&Vote::new(term, RaftId(own)))).await.unwrap();
    own
}

async fn snapshot_and_purge(process: &Process, last: QuorumPosition) {
    let files = QuorumFiles::new(Arc::clone(&process.env.fs), DIR.into());
    let snapshot = millrace_schema::QuorumSnapshot { last: Some(last), ..Default::default() };
    files.write_snapshot(&snapshot.encode()).unwrap();
    let mut store = process.store.as_ref().unwrap().clone();
    within(&process.env, store.purge(log_id_of(&last))).await.unwrap();
}

fn refusal(process: Process) -> StoreError {
    process.store.unwrap_err()
}

#[tokio::test]
async fn a_vote_and_entries_outlive_a_power_cut() {
    let sim = Sim::new(1);
    let process = start(sim.env());
    let own = fill(&process, 20, 4).await;
    drop(process);
    let process = start(sim.power_cut(Survival::Nothing));
    let mut store = process.store.unwrap();
    assert_eq!(store.own(), own);
    assert_eq!(store.read_vote().await.unwrap(), Some(Vote::new(4, RaftId(own))));
    let _within = enter(&process.env);
    assert_eq!(store.try_get_log_entries(..).await.unwrap().len(), 20);
    assert_eq!(store.get_log_state().await.unwrap().last_log_id.unwrap().index, 19);
}

#[tokio::test]
async fn every_flipped_bit_of_a_file_keeps_the_node_out() {
    let sim = Sim::new(1);
    let process = start(sim.env());
    let own = fill(&process, 20, 4).await;
    snapshot_and_purge(&process, QuorumPosition { term: 1, leader: own, index: 9 }).await;
    for name in ["quorum.vote", "quorum.purged", "quorum.snapshot"] {
        let path = Path::new(DIR).join(name);
        let bytes = u64::try_from(sim.disk().medium(&path).unwrap().len()).unwrap();
        for (position, bit) in (0..bytes).flat_map(|position| (0..8).map(move |bit| (position, bit))) {
            let other = sim.fork(2);
            other.disk().flip_bit(&path, position, bit).unwrap();
            let refused = refusal(start(other.power_cut(Survival::Nothing)));
            let is_damage = matches!(refused, StoreError::File(FileError::Damaged { .. }));
            assert!(is_damage, "{name}, byte {position}, bit {bit}: {refused}");
        }
    }
}

#[tokio::test]
async fn a_node_that_lost_its_vote_does_not_vote_again() {
    let sim = Sim::new(1);
    fill(&start(sim.env()), 3, 4).await;
    let env = sim.kill();
    env.fs.unlink(&Path::new(DIR).join("quorum.vote")).unwrap();
    assert!(matches!(refusal(start(env)), StoreError::VoteMissing("a log")));
}

#[tokio::test]
async fn a_node_that_lost_everything_is_another_voter() {
    let sim = Sim::new(1);
    let own = fill(&start(sim.env()), 3, 4).await;
    // The numbers of a machine go on; the disk is a new one.
    let replaced = Env { fs: Sim::new(2).env().fs, ..sim.kill() };
    let process = start(replaced);
    assert_ne!(process.store.unwrap().own(), own);
}

#[tokio::test]
async fn files_of_another_node_are_refused() {
    let sim = Sim::new(1);
    let process = start(sim.env());
    let files = QuorumFiles::new(Arc::clone(&process.env.fs), DIR.into());
    let other = QuorumVoter { node: NodeId(8), incarnation: 1 };
    files.write_vote(&QuorumVote { own: other, ballot: None }).unwrap();
    let refused = refusal(start(sim.kill()));
    assert!(matches!(refused, StoreError::OtherNode { found: 8, expected: 7 }), "{refused}");
}

#[tokio::test]
async fn a_power_cut_between_the_note_of_a_purge_and_the_purge_loses_nothing() {
    let sim = Sim::new(1);
    let process = start(sim.env());
    let own = fill(&process, 20, 4).await;
    let files = QuorumFiles::new(Arc::clone(&process.env.fs), DIR.into());
    let last = QuorumPosition { term: 1, leader: own, index: 9 };
    let snapshot = millrace_schema::QuorumSnapshot { last: Some(last), ..Default::default() };
    files.write_snapshot(&snapshot.encode()).unwrap();
    files.write_purged(last).unwrap();
    drop(process);
    let process = start(sim.power_cut(Survival::Nothing));
    let mut store = process.store.unwrap();
    let _within = enter(&process.env);
    let entries = store.try_get_log_entries(0..100).await.unwrap();
    assert_eq!(
        entries.iter().map(|entry| entry.log_id.index).collect::<Vec<_>>(),
        (10..20).collect::<Vec<_>>()
    );
    let state = store.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id_of(&last)));
    drop(process.dir);
}

#[tokio::test]
async fn what_was_purged_without_a_snapshot_is_a_hole() {
    let sim = Sim::new(1);
    let process = start(sim.env());
    fill(&process, 20, 4).await;
    let mut store = process.store.as_ref().unwrap().clone();
    let last = QuorumPosition { term: 1, leader: store.own(), index: 9 };
    within(&process.env, store.purge(log_id_of(&last))).await.unwrap();
    drop((store, process));
    let refused = refusal(start(sim.kill()));
    assert!(matches!(refused, StoreError::Hole { first: 10, known: 0 }), "{refused}");
}

/// The bytes of the files as they were first written.
#[test]
fn what_was_written_once_is_read_for_ever() {
    let env = Sim::new(1).env();
    let files = QuorumFiles::new(Arc::clone(&env.fs), "/".into());
    let own = QuorumVoter { node: NodeId(7), incarnation: 0x1122_3344_5566_7788 };
    let ballot = millrace_schema::QuorumBallot { term: 5, candidate: own, elected: true };
    let vote = QuorumVote { own, ballot: Some(ballot) };
    let last = QuorumPosition { term: 5, leader: own, index: 9 };
    files.write_vote(&vote).unwrap();
    files.write_purged(last).unwrap();
    let hex = |name: &str| {
        let bytes = env.fs.read_small(&Path::new("/").join(name), 4096).unwrap();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let vote_bytes = "4d4c5243000d000100000024004400000a0b080711887766554433221112110805120b08071188776655443322111801\
                      7f94d306";
    assert_eq!(hex("quorum.vote"), vote_bytes);
    let purged_bytes = "4d4c5243000e000100000017004500000a110805120b08071188776655443322111809678775cd";
    assert_eq!(hex("quorum.purged"), purged_bytes);
    assert_eq!((files.vote().unwrap(), files.purged().unwrap()), (Some(vote), Some(last)));
}
