//! Groups whose members assign each other, in a simulated world: members that join, lead, follow, leave, die, pause and commit
//! late, a network that delays, loses, repeats and reorders, a coordinator that stops and starts, and a disk that fails.
//!
//! ```text
//!   client ── ask ──► (late, lost, twice) ──► coordinator: value, outbox, log ──► letter ──► (late, lost) ──► client
//!                                                   └────────────── watch ──────────────┘
//! ```
//! `watch` sees what arrives, what leaves, and what the log holds, and knows nothing of the value.

mod client;
mod coordinator;
mod watch;
mod world;

use bytes::Bytes;
use millrace_group::classic::{ClassicAnswer, ClassicRefusal};
use millrace_group::{CommitRefused, Committer, InstanceId, MemberId};

pub(super) use world::GenerationWorld;

/// How many partitions a leader has to give out.
const PARTITIONS: u32 = 6;
/// How long a member may be silent.
const SESSION_MS: u64 = 10_000;
/// How long it may take to join again.
const REBALANCE_MS: u64 = 12_000;

/// Which request.
type RequestNo = u64;

/// What a client asks.
#[derive(Clone, Debug)]
enum Ask {
    Join { member: Option<MemberId>, instance: Option<InstanceId> },
    Sync { who: Committer, assignments: Vec<(MemberId, Bytes)> },
    Beat(Committer),
    Leave(Committer),
    Commit(Committer),
}

/// What it is told.
#[derive(Clone, Debug)]
enum Told {
    Of(Box<Result<ClassicAnswer, ClassicRefusal>>),
    Committed,
    Refused(CommitRefused),
    /// Ask again: the groups are being read again.
    Loading,
}

#[derive(Clone, Debug)]
struct Letter {
    request: RequestNo,
    told: Told,
}

/// What a leader gives a member: by whom, in which generation, which partitions.
fn share(generation: i32, leader: &MemberId, partitions: &[u32]) -> Bytes {
    let partitions: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    format!("{generation} {leader} {}", partitions.join(",")).into()
}

/// Reads it back: generation, leader, partitions. `None` for a member that was given nothing.
fn read_share(bytes: &Bytes) -> Option<(i32, String, Vec<u32>)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut parts = text.split(' ');
    let generation = parts.next()?.parse().ok()?;
    let leader = parts.next()?.to_owned();
    let partitions = parts.next()?.split(',').filter_map(|number| number.parse().ok()).collect();
    Some((generation, leader, partitions))
}
