//! Reading one of the product's own logs from its start to its end.

use millrace_log::{Log, ReadError, ReadRequest};
use millrace_record::{Record, split_batches};
use millrace_types::{ErrorCode, limits};

use crate::ApiError;

/// Hands every record of the log to `take`, in order. Blocks.
///
/// # Errors
/// Any damage, and whatever `take` says: what these logs hold must be understood whole or not be used.
pub(crate) fn replay(
    log: &Log,
    mut take: impl FnMut(Record) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let (mut from, end) = (log.offsets().log_start, log.offsets().high_watermark);
    while from < end {
        let request = ReadRequest { from, until: Some(end), bytes_max: limits::BATCH_BYTES_MAX };
        let answer = log.read(&request).and_then(|plan| plan.load())?;
        if answer.range.end <= from {
            return Err(damaged(log, format!("nothing can be read at {from}, below the end {end}")));
        }
        for batch in answer.extents.into_iter().flat_map(split_batches) {
            let batch = batch.map_err(|error| damaged(log, error))?;
            if batch.is_control() {
                continue;
            }
            for record in batch.records().map_err(|error| damaged(log, error))? {
                let record = record.map_err(|error| damaged(log, error))?;
                if record.offset >= from {
                    take(record)?;
                }
            }
        }
        from = answer.range.end;
    }
    Ok(())
}

/// As [`replay()`], around what is damaged: `take` is told of it in its place among the records.
///
/// # Errors
/// The medium's, and a log that is closed.
pub(crate) fn replay_around(
    log: &Log,
    mut take: impl FnMut(Result<Record, ApiError>),
) -> Result<(), ApiError> {
    let (mut from, end) = (log.offsets().log_start, log.offsets().high_watermark);
    while from < end {
        let request = ReadRequest { from, until: Some(end), bytes_max: limits::BATCH_BYTES_MAX };
        let answer = match log.read(&request).and_then(|plan| plan.load()) {
            Ok(answer) if answer.range.end > from => answer,
            Ok(_) => {
                take(Err(damaged(log, format!("nothing can be read at {from}, below the end {end}"))));
                return Ok(());
            }
            Err(ReadError::Corrupt(range)) => {
                take(Err(damaged(log, ReadError::Corrupt(range))));
                from = range.end.max(from.next());
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for batch in answer.extents.into_iter().flat_map(split_batches) {
            match batch.map_err(|error| damaged(log, error)) {
                Ok(batch) if batch.is_control() => {}
                Ok(batch) => match batch.records() {
                    Ok(records) => records
                        .into_iter()
                        .map(|record| record.map_err(|error| damaged(log, error)))
                        .filter(|record| {
                            record.as_ref().is_ok_and(|record| record.offset >= from) || record.is_err()
                        })
                        .for_each(&mut take),
                    Err(error) => take(Err(damaged(log, error))),
                },
                Err(error) => take(Err(error)),
            }
        }
        from = answer.range.end;
    }
    Ok(())
}

/// The error for a log of ours that cannot be understood.
pub(crate) fn damaged(log: &Log, problem: impl std::fmt::Display) -> ApiError {
    let meta = log.meta();
    ApiError::new(ErrorCode::Corrupt, format!("{} partition {}: {problem}", meta.name, meta.id.partition))
}
