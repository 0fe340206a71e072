//! What the measurements of this crate share: rounds that are paired and interleaved, meters of processor time, a
//! machine line, a scratch directory, batches to send.
//!
//! Every measurement is a binary (`src/bin/`), and every figure in it stands beside a *ceiling* of the same run: what
//! the same bytes cost with nothing but the calls that the job cannot do without. A figure alone says much about the
//! machine and little about us; the ratio says it the other way round.

pub mod barerpc;
pub mod child;
pub mod contest;
pub mod groups;
pub mod load;
pub mod machine;
pub mod options;
pub mod pair;
pub mod peers;
pub mod rawserver;
pub mod records;
pub mod role;
pub mod rpc;
pub mod sample;
pub mod store;
pub mod unsynced;
pub mod wire;
