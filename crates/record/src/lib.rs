//! Placeholder.
/// temp
#[derive(Debug)]
pub struct Batch {}

/// temp
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}
