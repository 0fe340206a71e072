//! At which durability brokers are measured side by side.

/// When an append is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// When it is written: the kernel brings it to the disk when it likes.
    Buffered,
    /// When it is synced.
    Flushed,
}

impl Durability {
    /// One word for titles.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Durability::Buffered => "buffered",
            Durability::Flushed => "flushed",
        }
    }
}
