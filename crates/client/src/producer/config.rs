//! What a producer may be told.

use std::time::Duration;

use millrace_proto::v1;
use millrace_record::Compression;
use millrace_types::limits::{BATCH_BYTES_MAX, PRODUCER_WINDOW};

use super::ProduceError;
use super::lane::Delivering;

/// When a record counts as delivered. None is weaker than the topic's sync mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// When every in-sync replica holds it (Kafka's acks=all).
    #[default]
    Committed,
    /// When the leader holds it (acks=1).
    Leader,
    /// When the broker has read it (acks=0): no offset is told, and a failure behind that is not either. Such a
    /// producer is not idempotent.
    None,
}

impl Durability {
    pub(crate) fn wire(self) -> v1::Durability {
        match self {
            Durability::Committed => v1::Durability::Committed,
            Durability::Leader => v1::Durability::Leader,
            Durability::None => v1::Durability::None,
        }
    }
}

/// Whether a retry may store a record twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Idempotence {
    /// Never: batches carry sequences, and are sent again until their outcome is known.
    #[default]
    On,
    /// Batches carry no sequences. They are sent again only if they were certainly not stored; a lost answer is
    /// reported as [`ProduceError::Lost`]. Batches that are refused and sent again may overtake each other.
    Off,
}

/// The options of a producer.
#[derive(Clone, Debug)]
pub(crate) struct ProducerConfig {
    pub(crate) linger: Duration,
    pub(crate) batch_bytes: usize,
    pub(crate) compression: Compression,
    pub(crate) max_in_flight: usize,
    pub(crate) delivery_timeout: Duration,
    pub(crate) durability: Durability,
    pub(crate) idempotence: Idempotence,
    pub(crate) buffer_bytes: usize,
}

impl Default for ProducerConfig {
    fn default() -> ProducerConfig {
        ProducerConfig {
            linger: Duration::from_millis(5),
            batch_bytes: 256 * 1024,
            compression: Compression::None,
            max_in_flight: PRODUCER_WINDOW,
            delivery_timeout: Duration::from_secs(120),
            durability: Durability::Committed,
            idempotence: Idempotence::On,
            buffer_bytes: 32 * 1024 * 1024,
        }
    }
}

impl ProducerConfig {
    pub(crate) fn is_idempotent(&self) -> bool {
        self.idempotence == Idempotence::On && self.durability != Durability::None
    }

    pub(crate) fn delivering(&self) -> Delivering {
        if self.is_idempotent() { Delivering::Once } else { Delivering::AtMostOnce }
    }

    pub(crate) fn check(&self) -> Result<(), ProduceError> {
        let refuse = |option, reason: String| Err(ProduceError::Config { option, reason });
        if self.max_in_flight == 0 || self.max_in_flight > PRODUCER_WINDOW {
            // Of more batches than that a broker could not recognise the retries.
            return refuse(
                "max_in_flight",
                format!("{} is not in 1..={PRODUCER_WINDOW}", self.max_in_flight),
            );
        }
        if self.batch_bytes == 0 || self.batch_bytes > BATCH_BYTES_MAX {
            return refuse("batch_bytes", format!("{} is not in 1..={BATCH_BYTES_MAX}", self.batch_bytes));
        }
        if self.buffer_bytes < self.batch_bytes || self.buffer_bytes > BUFFER_BYTES_MAX {
            let (min, max) = (self.batch_bytes, BUFFER_BYTES_MAX);
            return refuse("buffer_bytes", format!("{} is not in {min}..={max}", self.buffer_bytes));
        }
        if self.delivery_timeout <= self.linger {
            return refuse("delivery_timeout", "it is not longer than linger".to_owned());
        }
        Ok(())
    }
}

/// What the permits of the buffer can count.
const BUFFER_BYTES_MAX: usize = 0xffff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_out_of_range_are_refused() {
        let default = ProducerConfig::default();
        assert!(default.check().is_ok());
        assert!(ProducerConfig { max_in_flight: 6, ..default.clone() }.check().is_err());
        assert!(ProducerConfig { max_in_flight: 0, ..default.clone() }.check().is_err());
        assert!(ProducerConfig { batch_bytes: BATCH_BYTES_MAX + 1, ..default.clone() }.check().is_err());
        assert!(ProducerConfig { buffer_bytes: 10, ..default.clone() }.check().is_err());
        assert!(ProducerConfig { delivery_timeout: Duration::ZERO, ..default }.check().is_err());
    }

    #[test]
    fn nobody_can_be_idempotent_without_answers() {
        let config = ProducerConfig { durability: Durability::None, ..ProducerConfig::default() };
        assert!(!config.is_idempotent());
    }
}
