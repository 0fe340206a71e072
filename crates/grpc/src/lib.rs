//! The native door: gRPC on one side, the broker's own words on the other.

mod error_map;
mod error_page;

pub use error_map::grpc_code;
pub use error_page::error_page;
