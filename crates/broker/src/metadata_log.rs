//! The cluster's decisions, kept in `__cluster_metadata`: one proposal at a time, decided, appended, folded, published.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use millrace_env::Clock;
use millrace_log::{AppendError, Log, LogConfig};
use millrace_metadata::{Command, Image, MetadataRecord, decide};
use millrace_record::{Batch, BatchBuilder, BatchOptions, NO_HEADERS};
use millrace_types::{ErrorCode, TopicId, limits};
use tokio::sync::watch;

use crate::ApiError;
use crate::replay::{damaged, replay};

/// Keeps the image and is the only writer of the log that it folds.
#[derive(Debug)]
pub(crate) struct MetadataLog {
    log: Arc<Log>,
    clock: Arc<dyn Clock>,
    image: ArcSwap<Image>,
    /// Tells that there is another image.
    changed: watch::Sender<u64>,
    /// Held from a decision until its records are committed and folded: no decision is taken on an image that another
    /// one is about to change. Fair, so proposals keep their order.
    proposing: tokio::sync::Mutex<()>,
}

/// A replayed metadata log.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) image: Image,
    /// Every topic that was ever deleted: what is left of them on the disk may go.
    pub(crate) deleted: BTreeSet<TopicId>,
}

/// The configuration of the log itself: it takes the largest batch, because one command is one batch.
pub(crate) fn metadata_log_config() -> LogConfig {
    LogConfig { batch_bytes_max: limits::BATCH_BYTES_MAX, ..LogConfig::default() }
}

/// Folds the whole log. Blocks.
///
/// # Errors
/// If anything in it is damaged, contradicts itself, or was written by a newer build.
pub(crate) fn replay_metadata(log: &Log) -> Result<Replayed, ApiError> {
    let mut image = Image::default();
    let mut deleted = BTreeSet::new();
    replay(log, |record| {
        let value = record.value.ok_or_else(|| damaged(log, format!("no value at {}", record.offset)))?;
        let at = |error: String| damaged(log, format!("offset {}: {error}", record.offset));
        let fact = MetadataRecord::decode(&value).map_err(|error| at(error.to_string()))?;
        image = std::mem::take(&mut image).apply(&fact).map_err(|error| at(error.to_string()))?;
        if let MetadataRecord::TopicDeleted { id } = fact {
            deleted.insert(id);
        }
        Ok(())
    })?;
    Ok(Replayed { image, deleted })
}

impl MetadataLog {
    pub(crate) fn new(log: Arc<Log>, clock: Arc<dyn Clock>, image: Image) -> MetadataLog {
        MetadataLog {
            log,
            clock,
            image: ArcSwap::from_pointee(image),
            changed: watch::Sender::new(0),
            proposing: tokio::sync::Mutex::default(),
        }
    }

    /// What the cluster knows now.
    pub(crate) fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    /// Hears of every image after this call, by its version; several may be heard of as one.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn publish(&self, image: Image) {
        let version = image.version();
        self.image.store(Arc::new(image));
        self.changed.send_replace(version);
    }

    /// Carries out commands of which each stands for itself, as one batch; answers each when all are durable and folded. One
    /// that is refused keeps the others from nothing. Not to be dropped half-way, as [`MetadataLog::propose`].
    ///
    /// # Errors
    /// Why the records could not be stored.
    pub(crate) async fn propose_each(
        &self,
        commands: &[Command],
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        let _turn = self.proposing.lock().await;
        let Decided { image, records, answers } = decide_each(&self.image(), commands)?;
        if !records.is_empty() {
            self.append(&records).await?;
            self.publish(image);
        }
        Ok(answers)
    }

    /// Carries out a command; answers the records it became, when they are durable and folded.
    ///
    /// Not to be dropped half-way: between the append and the fold the image would lag behind its log. Callers run it
    /// in a task of its own.
    ///
    /// # Errors
    /// The refusal, or why the records could not be stored.
    pub(crate) async fn propose(&self, command: &Command) -> Result<Vec<MetadataRecord>, ApiError> {
        let _turn = self.proposing.lock().await;
        let before = self.image();
        let records = decide(&before, command)?;
        if records.is_empty() {
            return Ok(records);
        }
        let after = fold(Image::clone(&before), &records)?;
        self.append(&records).await?;
        self.publish(after);
        Ok(records)
    }

    async fn append(&self, records: &[MetadataRecord]) -> Result<(), ApiError> {
        let batch = batch_of(records, &*self.clock)?;
        let appended = match self.log.append(batch) {
            Ok(ticket) => ticket.await,
            Err(error) => Err(error),
        };
        match appended {
            Ok(_) => Ok(()),
            // This log is closed by nothing but the end of the broker.
            Err(AppendError::Closed) => {
                Err(ApiError::new(ErrorCode::ShuttingDown, "the broker is shutting down"))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What commands have become, each seeing what those before it change.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) image: Image,
    pub(crate) records: Vec<MetadataRecord>,
    /// Whether each was accepted.
    pub(crate) answers: Vec<Result<(), ApiError>>,
}

pub(crate) fn decide_each(image: &Image, commands: &[Command]) -> Result<Decided, ApiError> {
    let mut decided = Decided { image: image.clone(), records: Vec::new(), answers: Vec::new() };
    for command in commands {
        match decide(&decided.image, command) {
            Ok(records) => {
                decided.image = fold(decided.image, &records)?;
                decided.records.extend(records);
                decided.answers.push(Ok(()));
            }
            Err(refusal) => decided.answers.push(Err(refusal.into())),
        }
    }
    Ok(decided)
}

/// Folded before it is written: a record that does not fold must never reach the log.
fn fold(image: Image, records: &[MetadataRecord]) -> Result<Image, ApiError> {
    records.iter().try_fold(image, Image::apply).map_err(|error| {
        ApiError::new(ErrorCode::Internal, format!("a decision contradicts its own image: {error}"))
    })
}

/// The records as one batch: all of them are there after a crash, or none.
pub(crate) fn batch_of(records: &[MetadataRecord], clock: &dyn Clock) -> Result<Batch, ApiError> {
    let bytes_max = limits::BATCH_BYTES_MAX;
    let mut builder =
        BatchBuilder::new(BatchOptions { bytes_target: bytes_max, bytes_max, ..BatchOptions::default() });
    let too_large = |error: String| ApiError::new(ErrorCode::RequestTooLarge, error);
    for record in records {
        let value = record.encode();
        builder
            .append(clock.wall(), None, Some(&value), NO_HEADERS)
            .map_err(|error| too_large(error.to_string()))?;
    }
    builder.build().map_err(|error| too_large(error.to_string()))
}
