//! The compressions of a batch and their names.

use std::fmt;
use std::str::FromStr;

/// How the records of a batch are compressed: the lowest three attribute bits of its header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy blocks in the framing of the xerial library, as Kafka's Java client writes them; bare blocks are read too.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// RFC 8878.
    Zstd,
}

/// A compression that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no compression; there are none, gzip, snappy, lz4 and zstd")]
pub struct CompressionError(pub String);

impl Compression {
    /// Every compression, in the order of its id.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// The number in the attributes of a batch, 0 to 4.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// The compression of an id, or `None` for a number that names none.
    #[must_use]
    pub const fn from_id(id: u8) -> Option<Compression> {
        match id {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// The name as Kafka's `compression.type` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compression {
    type Err = CompressionError;

    fn from_str(text: &str) -> Result<Compression, CompressionError> {
        Compression::ALL
            .into_iter()
            .find(|compression| compression.name() == text)
            .ok_or_else(|| CompressionError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_read_back() {
        for (id, compression) in (0_u8..).zip(Compression::ALL) {
            assert_eq!(compression.id(), id);
            assert_eq!(Compression::from_id(id), Some(compression));
            assert_eq!(compression.to_string().parse(), Ok(compression));
        }
        assert_eq!(Compression::from_id(5), None);
        assert!("LZ4".parse::<Compression>().is_err());
    }
}
