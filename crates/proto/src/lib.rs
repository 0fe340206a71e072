//! The native API: types generated from `proto/millrace/v1`, and their conversions from and to the product's names. Beside
//! it what brokers say to each other, generated from `proto/millrace/internal/v1`.

mod codec;
mod error;
mod shape;
mod topic_ref;

pub use codec::CheckedCodec;
pub use error::{RpcStatus, error_of};
pub use shape::{Repeated, Shape, ShapeError, check_shape};
pub use topic_ref::{CheckedTopicRef, TopicRefError, id_bytes, topic_id};

/// The generated messages, client and server of package `millrace.v1`.
#[allow(
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "generated code follows its generator's habits"
)]
pub mod v1 {
    tonic::include_proto!("millrace.v1");
}

/// The generated messages, client and server of package `millrace.internal.v1`: what brokers say to each other.
#[allow(
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "generated code follows its generator's habits"
)]
pub mod internal {
    tonic::include_proto!("millrace.internal.v1");
}

/// The descriptors of the API, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
