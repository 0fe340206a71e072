//! What power cuts have taken of acknowledged records, where the sync mode of the topic allows that, against its bounds.

use std::time::{Duration, Instant};

use millrace_types::SyncMode;

/// When a record was sent and when its acknowledgement was heard of, by the clock of the test.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ack {
    pub(super) sent: Instant,
    pub(super) heard: Instant,
    /// Of the value: what the record takes at least in an uncompressed log.
    pub(super) bytes: u64,
}

/// The power cut that the book was told of last, for one partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartitionCut {
    /// The end that recovery found.
    pub(super) end: i64,
    pub(super) at: Instant,
}

/// The acknowledged records that one cut took of one partition.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Loss {
    pub(super) records: u64,
    bytes: u64,
    first_heard: Option<Instant>,
    last_heard: Option<Instant>,
    last_sent: Option<Instant>,
}

impl Loss {
    pub(super) fn add(&mut self, ack: Ack) {
        self.records += 1;
        self.bytes += ack.bytes;
        self.first_heard = Some(self.first_heard.map_or(ack.heard, |first| first.min(ack.heard)));
        self.last_heard = self.last_heard.max(Some(ack.heard));
        self.last_sent = self.last_sent.max(Some(ack.sent));
    }

    /// What is wrong with it, by the bounds of the mode.
    ///
    /// The bound in time is exact, however long any thread of the test or the broker was kept waiting: the oldest lost record
    /// was written before its acknowledgement was heard of, so no record that was *sent* more than the bound after that may
    /// have been acknowledged while the oldest was not synced.
    pub(super) fn judge(&self, mode: SyncMode) -> Option<String> {
        if self.records == 0 {
            return None;
        }
        match mode {
            SyncMode::Always => Some(format!("{} acknowledged records are LOST", self.records)),
            SyncMode::Interval(bounds) => {
                let (bytes, age) = (self.bytes, since(self.last_sent, self.first_heard));
                let broken = bytes > bounds.bytes_max() || age > bounds.age_max();
                broken.then(|| {
                    format!("with {mode}, {bytes} bytes over {age:?} were acknowledged and are LOST")
                })
            }
            SyncMode::Os => None,
        }
    }
}

fn since(later: Option<Instant>, earlier: Option<Instant>) -> Duration {
    match (later, earlier) {
        (Some(later), Some(earlier)) => later.saturating_duration_since(earlier),
        _ => Duration::ZERO,
    }
}

/// The largest losses of one partition that were seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Losses {
    /// Partitions and cuts in which an acknowledged record was lost.
    pub times: u64,
    /// Records lost, over all.
    pub records: u64,
    /// The most bytes of values.
    pub bytes_max: u64,
    /// The longest time from the first lost acknowledgement to the last.
    pub span_max: Duration,
    /// The longest time from the first lost acknowledgement to the cut.
    pub age_max: Duration,
}

impl Losses {
    pub(super) fn add(&mut self, loss: &Loss, cut: Instant) {
        if loss.records > 0 {
            self.times += 1;
            self.records += loss.records;
            self.bytes_max = self.bytes_max.max(loss.bytes);
            self.span_max = self.span_max.max(since(loss.last_heard, loss.first_heard));
            self.age_max = self.age_max.max(since(Some(cut), loss.first_heard));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_judged_by_its_bytes_and_by_what_was_sent_after_the_first_acknowledgement() {
        let zero = Instant::now();
        let ack = |sent, heard| Ack {
            sent: zero + Duration::from_millis(sent),
            heard: zero + Duration::from_millis(heard),
            bytes: 2500,
        };
        let loss = |acks: &[Ack]| {
            let mut loss = Loss::default();
            acks.iter().for_each(|ack| loss.add(*ack));
            loss
        };
        let interval: SyncMode = "interval=100,5000".parse().unwrap();
        assert_eq!(loss(&[]).judge(SyncMode::Always), None);
        // Heard of late, because somebody was kept waiting.
        assert_eq!(loss(&[ack(0, 1), ack(100, 900)]).judge(interval), None);
        assert!(loss(&[ack(0, 1), ack(102, 103)]).judge(interval).is_some());
        assert!(loss(&[ack(0, 1), ack(0, 1), ack(0, 1)]).judge(interval).is_some());
        assert!(loss(&[ack(0, 1)]).judge(SyncMode::Always).is_some());
        assert_eq!(loss(&[ack(0, 1), ack(90_000, 90_000)]).judge(SyncMode::Os), None);
    }
}
