//! The messages of `proto/millrace/storage/v1`, as generated.
#![allow(clippy::all, unreachable_pub, reason = "generated code")]

include!(concat!(env!("OUT_DIR"), "/millrace.storage.v1.rs"));
