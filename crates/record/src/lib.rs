//! Placeholder.
/// temp
#[derive(Debug)]
pub struct Batch {}
