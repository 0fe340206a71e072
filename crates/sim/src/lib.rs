//! Suites over the simulated machine: what the real code makes of crashes and faults, and whether that would be seen.
//!
//! [`crash_states`] enumerates what a crash can leave on the medium, recovers each of these states with the real code,
//! and holds what comes back against a ledger of what was written and acknowledged. The ledger is plain lists and the
//! bytes that were sent: nothing of it is decoded by the code that is examined.
//!
//! [`groups`] lets consumers, a network and coordinators of consumer groups run against each other, seed by seed.
//!
//! [`sweep`] runs many seeds of such a world.
//!
//! [`quorum`] lets three nodes of the metadata quorum live through deaths, power cuts and a bad network.
//! [`replication`] lets replicas of a partition, each over the real log on a disk of its own, run against a controller, clients
//! and everything that goes wrong, seed by seed.
//! [`cluster`] lets whole brokers run as a cluster, with clients of their own, over such a network and such disks.
//!
//! `tests/sim_teeth.rs` plants one bug after another and must see each of them; it is built with the feature `teeth`.

mod caller;
pub mod cluster;
mod counted;
pub mod crash_states;
pub mod groups;
mod ledger;
mod policy;
pub mod quorum;
pub mod replication;
pub mod sweep;
