//! What has been counted: latencies of the records that count, and the span in which they came.

use hdrhistogram::Histogram;
use millrace_client::ProduceError;

/// Figures of a latency are kept to so many digits.
const DIGITS: u8 = 3;

/// Counts of one producer, one reader, or all of them. Times are in nanoseconds since the run began.
#[derive(Debug)]
pub(super) struct Tally {
    /// From due (or, in a closed loop, from the call) to the outcome.
    pub(super) latencies: Histogram<u64>,
    /// How late the driver itself was: from due to the call.
    pub(super) late: Histogram<u64>,
    /// Records that count.
    pub(super) records: u64,
    /// Bytes of their values.
    pub(super) bytes: u64,
    /// When counting begins.
    pub(super) from: u64,
    /// The last outcome.
    pub(super) until: u64,
    /// Records of a failed outcome.
    pub(super) failed: u64,
    /// Records that were due and were never sent.
    pub(super) unsent: u64,
    /// The first failure.
    pub(super) failure: Option<ProduceError>,
}

impl Tally {
    /// Nothing yet; records that are due before `from` will not count.
    pub(super) fn new(from: u64) -> anyhow::Result<Tally> {
        Ok(Tally {
            latencies: Histogram::new(DIGITS)?,
            late: Histogram::new(DIGITS)?,
            records: 0,
            bytes: 0,
            from,
            until: from,
            failed: 0,
            unsent: 0,
            failure: None,
        })
    }

    /// A record of `bytes` that was due at `due` had its good outcome at `now`.
    pub(super) fn record(&mut self, due: u64, now: u64, bytes: u64) {
        if due < self.from {
            return;
        }
        // A histogram that grows by itself refuses nothing below 2^64 nanoseconds.
        self.latencies.record(now.saturating_sub(due).max(1)).ok();
        self.count(now, 1, bytes);
    }

    /// Records without a latency of their own.
    pub(super) fn count(&mut self, now: u64, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
        self.until = self.until.max(now);
    }

    /// How late a call was.
    pub(super) fn called(&mut self, due: u64, now: u64) {
        if due >= self.from {
            self.late.record(now.saturating_sub(due).max(1)).ok();
        }
    }

    /// So many records have failed.
    pub(super) fn fail(&mut self, records: u64, error: ProduceError) {
        self.failed += records;
        self.failure.get_or_insert(error);
    }

    /// Takes over what another has counted.
    pub(super) fn merge(&mut self, other: Tally) -> anyhow::Result<()> {
        self.latencies.add(&other.latencies)?;
        self.late.add(&other.late)?;
        self.records += other.records;
        self.bytes += other.bytes;
        self.until = self.until.max(other.until);
        self.failed += other.failed;
        self.unsent += other.unsent;
        self.failure = self.failure.take().or(other.failure);
        Ok(())
    }

    /// The span in which the records that count had their outcome, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        std::time::Duration::from_nanos(self.until - self.from).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_due_in_the_warm_up_does_not_count() {
        let mut tally = Tally::new(1_000).unwrap();
        tally.record(999, 5_000, 10);
        assert_eq!((tally.records, tally.until), (0, 1_000));
        tally.record(1_000, 3_000, 10);
        tally.record(2_000, 2_500, 10);
        let mut all = Tally::new(1_000).unwrap();
        all.merge(tally).unwrap();
        assert_eq!((all.records, all.bytes, all.until), (2, 20, 3_000));
        assert_eq!(all.latencies.max(), 2_000);
    }
}
