//! Replication as pure values: how a partition's records come to lie on several brokers, and when they are committed.
//!
//! ```text
//!   leader     ├──────── committed ────────┤───── held by itself ─────┤── written ──┤
//!                                          ▲ high watermark           ▲ held        ▲ end
//!   follower   ├── committed, as told ──┤──────── held ────────┤── written ──┤
//!                                                              ▲ held        ▲ next: what it asks for
//! ```
//! Followers pull. A fetch says two things: `next`, from where to send, and `held`, what the follower keeps as durably as the
//! topic wants it. The leader sends what it has written, and counts only what is held. A record is *committed* once every
//! replica of the **maximal** in-sync set holds it, while the committed in-sync set is no smaller than the topic's minimum.
//!
//! | part | what it decides |
//! |---|---|
//! | [`Replica`] | what a broker is to a partition: its leader, a follower, or nothing |
//! | [`Leader`] | the high watermark, who is in sync, who is answered |
//! | [`Follower`] | what to ask for, what to append, where to cut |
//! | [`divergence`] | where two logs part (KIP-101, KIP-279, KIP-320): plain functions |
//! | [`reads`] | what a consumer may be given, by leader or follower (KIP-392) |
//! | [`completeness`] | whether a log that was found at a start holds all that it ever vouched for (KIP-966) |
//!
//! `step(event, now) -> effects`: no clock, no I/O, no lock. The driver does the effects in their order, one after the other:
//! what must be durable comes before what others can see. If one of them fails, or leadership is lost, the value goes and is
//! made anew from the log and the metadata.
//!
//! What each rule is there for is told where it is enforced. The specification is Kafka's: KIP-101, 279, 320, 392, 497, 841,
//! 903 and 966.

pub mod completeness;
pub mod divergence;
mod effect;
mod fetch;
mod follower;
mod in_sync;
mod leader;
mod partition;
mod progress;
pub mod reads;
mod replica;

pub use divergence::EpochEnd;
pub use effect::{AppendId, Doubt, Effect, Halt};
pub use fetch::{Fetch, FetchAnswer, FetchId, FetchRefusal, Fetched};
pub use follower::{Follower, FollowerEvent};
pub use in_sync::{Alter, AlterAnswer, AlterRefusal};
pub use leader::{Leader, LeaderEvent, ProduceRefusal};
pub use partition::{BrokerView, Brokers, LogFacts, Moment, PartitionEpoch, PartitionView, Timing};
pub use progress::Progress;
pub use replica::{Event, Replica};
