//! Cleaning: what may go from the beginning of a log, and letting it go.
//!
//! ```text
//!   log start            new log start                    high watermark   end
//!       │ sealed │ sealed │ sealed │ ... │ rolled │ active ──────┼──────────│
//!       └── go, oldest first ──┘
//! ```
//! What goes is decided by a pure function of policy, segments and pins ([`retained_from`]); carrying it out is a trim like any
//! other. Age counts from the append, never from the times that records carry: history that is loaded with its own times is
//! as young as its loading. (Kafka counts from the records' times.)

mod choice;
mod clock;
mod retention;

pub use choice::{Cleaned, Pin, Reason, RetentionPolicy, SegmentFacts, retained_from};
pub(crate) use clock::AgeClock;
pub(crate) use retention::Round;
