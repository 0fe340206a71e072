//! The messages of the Kafka protocol: bytes to structs and back, for every version that we serve.
//!
//! ```text
//!   request frame ─► Reader ─► RequestHeader, body      (bounds checked, record bytes are slices of the frame)
//!   answer        ─► Writer ─► runs of bytes            (record bytes are passed on as they are)
//! ```
//! The messages themselves are generated from the schemas that Apache Kafka publishes (`cargo xtask codegen kafka`);
//! what they are made of is here. Nothing is allocated for a length that the input does not bear out.
#![warn(missing_docs)]
#![deny(clippy::indexing_slicing)]

mod error;
mod generated;
mod lengths;
mod message;
mod reader;
mod tags;
mod writer;

pub use error::{Problem, WireError};
pub use generated::*;
use lengths::Lengths;
pub use message::{ApiMessage, ApiRequest, Message};
pub use reader::Reader;
use tags::TagWriter;
pub use tags::Tags;
pub use writer::Writer;

/// A UUID as the protocol carries it: sixteen bytes, big-endian.
pub type Uuid = [u8; 16];
