//! A power cut before every single call of the file system, in the history of a follower: leaders change, epochs begin within
//! what is appended, what was not committed is truncated, the log is reset.
//!
//! What the next process finds must be what leaders have sent, byte for byte and without a gap, down to what was acknowledged;
//! with the leader epochs and the producers that belong to just that.

use std::sync::Arc;

use bytes::Bytes;
use millrace_env::sim::{Sim, Survival};
use millrace_log::{ActiveProducer, DirError, Log, LogDir};
use millrace_record::Batch;
use millrace_types::{LeaderEpoch, Offset};

use crate::replicating::{all_bytes, replica, replicated};
use crate::world::{batch, batch_at, meta, offset, options, partition, split, stamp};

/// Producers that leaders had.
const PRODUCERS: i32 = 3;

/// What a follower was sent, and what became of it as far as it was told.
#[derive(Debug, Default)]
struct Ledger {
    first: Offset,
    sent: Vec<Batch>,
    /// Records below it are held.
    acked: Offset,
    under_way: UnderWay,
}

#[derive(Clone, Copy, Debug, Default)]
enum UnderWay {
    #[default]
    Nothing,
    Truncation(Offset),
    Reset(Offset),
}

impl Ledger {
    fn end(&self) -> Offset {
        self.sent.last().map_or(self.first, Batch::next_offset)
    }

    /// The next batches of a leader in this epoch.
    fn next(&self, epoch: i32, count: usize) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        for _ in 0..count {
            let base = batches.last().map_or(self.end(), Batch::next_offset);
            let number = i32::try_from(self.sent.len() + batches.len()).unwrap();
            let (producer, sequence) = (i64::from(number % PRODUCERS), number / PRODUCERS * 2);
            let byte = u8::try_from((number * 7 + epoch) % 250).unwrap() + 1;
            let made = batch_at(number.into(), &[&vec![byte; 2500], &[byte]], stamp(producer, sequence));
            batches.push(made.placed_at(base, LeaderEpoch(epoch)));
        }
        batches
    }

    fn keep_below(&mut self, end: Offset) {
        self.sent.retain(|batch| batch.next_offset() <= end);
        self.acked = self.acked.min(self.end());
    }

    fn check(&self, log: &Log) {
        let found = split(&all_bytes(log).into());
        let offsets = log.offsets();
        assert_eq!((offsets.held, offsets.synced_end), (offsets.end, offsets.end));
        if let UnderWay::Reset(to) = self.under_way
            && offsets.log_start == to
        {
            assert_eq!(offsets.end, to);
            return;
        }
        let least = match self.under_way {
            UnderWay::Nothing => self.acked,
            UnderWay::Truncation(to) => {
                // A batch that reaches past it goes whole.
                let kept = self.sent.iter().map(Batch::next_offset).filter(|end| *end <= to).max();
                self.acked.min(kept.unwrap_or(self.first))
            }
            UnderWay::Reset(_) => self.first.min(offsets.end),
        };
        assert!(offsets.end >= least, "{least} was due, {} is the end; {:?}", offsets.end, self.under_way);
        assert!(found.len() <= self.sent.len() && found == self.sent[..found.len()], "other batches");
        check_epochs(log, &found);
        if !matches!(self.under_way, UnderWay::Reset(_)) {
            assert_eq!(log.producers(9), rebuilt(self.first, &found));
        }
    }
}

/// The leader epochs are those of the batches, and nothing else is known.
fn check_epochs(log: &Log, batches: &[Batch]) {
    assert_eq!(log.last_epoch(), batches.last().map(Batch::leader_epoch));
    for batch in batches {
        assert_eq!(log.epoch_of(batch.base_offset()), Some(batch.leader_epoch()));
        let behind = batches.iter().find(|other| other.leader_epoch() > batch.leader_epoch());
        let end = behind.map_or(log.offsets().end, Batch::base_offset);
        assert_eq!(log.end_of_epoch(batch.leader_epoch()), Some((batch.leader_epoch(), end)));
    }
}

/// What another follower knows of producers that was never cut.
fn rebuilt(first: Offset, batches: &[Batch]) -> Vec<ActiveProducer> {
    let (_sim, _dir, other) = replica(99);
    other.reset_to(first).unwrap();
    if !batches.is_empty() {
        other.append_replica(&concat(batches)).unwrap().wait().unwrap();
    }
    other.producers(9)
}

fn concat(batches: &[Batch]) -> Bytes {
    batches.iter().flat_map(|batch| batch.bytes().to_vec()).collect()
}

/// Appends batches of these epochs in one answer each; the last answer of a turn is waited for.
fn follow(log: &Arc<Log>, ledger: &mut Ledger, answers: &[&[i32]]) -> Result<(), DirError> {
    let failed = |text: String| DirError::Failed(text);
    let mut ticket = None;
    for epochs in answers {
        let before = ledger.sent.len();
        for epoch in *epochs {
            let next = ledger.next(*epoch, 3);
            ledger.sent.extend(next);
        }
        let bytes = concat(&ledger.sent[before..]);
        ticket = Some(log.append_replica(&bytes).map_err(|e| failed(e.to_string()))?);
    }
    if let Some(ticket) = ticket {
        ticket.wait().map_err(|e| failed(e.to_string()))?;
        ledger.acked = ledger.end();
    }
    Ok(())
}

fn truncate(log: &Log, ledger: &mut Ledger, end: u64) -> Result<(), DirError> {
    ledger.under_way = UnderWay::Truncation(offset(end));
    log.truncate_to(offset(end))?;
    ledger.under_way = UnderWay::Nothing;
    ledger.keep_below(offset(end));
    Ok(())
}

fn reset(log: &Log, ledger: &mut Ledger, to: u64) -> Result<(), DirError> {
    ledger.under_way = UnderWay::Reset(offset(to));
    log.reset_to(offset(to))?;
    *ledger = Ledger { first: offset(to), acked: offset(to), ..Ledger::default() };
    Ok(())
}

/// One history. Stops at the first error, which the cut has caused.
fn live(sim: &Sim, ledger: &mut Ledger) -> Result<(), DirError> {
    let dir = LogDir::open(&sim.env(), options(0))?.dir;
    let log = dir.create(meta(0), replicated())?;
    follow(&log, ledger, &[&[1], &[1, 1], &[2]])?;
    follow(&log, ledger, &[&[2, 3, 5]])?;
    dir.janitor_step();
    // Within the active segment, and into epochs that go whole; then the same epochs come again, and a lower one.
    let end = ledger.end().get().cast_unsigned();
    truncate(&log, ledger, end - 3)?;
    follow(&log, ledger, &[&[5], &[6, 7, 8]])?;
    log.raise_high_watermark(offset(14));
    truncate(&log, ledger, 20)?;
    follow(&log, ledger, &[&[2, 4], &[9], &[9, 10], &[10, 10, 10, 10]])?;
    dir.janitor_step();
    dir.close()?;
    drop((dir, log));
    let dir = LogDir::open(&sim.env(), options(0))?.dir;
    let log = dir.open_log(partition(0), replicated())?;
    follow(&log, ledger, &[&[10], &[11]])?;
    log.raise_high_watermark(offset(30));
    truncate(&log, ledger, 31)?;
    follow(&log, ledger, &[&[12, 12, 12], &[12, 12, 12], &[13]])?;
    reset(&log, ledger, 500)?;
    follow(&log, ledger, &[&[14], &[14, 15]])?;
    reset(&log, ledger, 40)?;
    follow(&log, ledger, &[&[14], &[15, 16]])?;
    dir.janitor_step();
    dir.close()
}

/// Runs the history with a cut before call number `at`, and the start after it with another one. Answers whether the
/// history went that far.
fn cut_before(at: u64, round: u64, survival: Survival) -> bool {
    let sim = Sim::new(at + (round << 32));
    let cut = sim.plan_cut(at, survival);
    let mut ledger = Ledger::default();
    let outcome = live(&sim, &mut ledger);
    if !cut.happened() {
        outcome.unwrap();
        return false;
    }
    drop(cut);
    let cut = sim.plan_cut(at % 41, survival);
    if let Ok(opened) = LogDir::open(&sim.env(), options(0)) {
        let _cut_again = opened.dir.open_log(partition(0), replicated());
    }
    drop(cut);
    sim.power_cut(survival);
    let opened = LogDir::open(&sim.env(), options(0)).unwrap();
    if opened.found.is_empty() {
        assert_eq!(ledger.acked, Offset::ZERO, "the partition is gone");
        return true;
    }
    let log = opened.dir.open_log(partition(0), replicated()).unwrap();
    assert_eq!(opened.dir.start_report().damaged, Vec::<String>::new());
    ledger.check(&log);
    let (end, latest) = (log.offsets().end, log.last_epoch().unwrap_or(LeaderEpoch(0)));
    let next = batch(&[b"life goes on"]).placed_at(end, latest).into_bytes();
    log.append_replica(&next).unwrap().wait().unwrap();
    assert_eq!(log.begin_epoch(LeaderEpoch(90)).unwrap(), end.next());
    assert_eq!(crate::world::append(&log, b"as a leader").unwrap().base_offset, end.next());
    opened.dir.janitor_step();
    opened.dir.close().unwrap();
    true
}

/// As in `crashing`: `CUT_ROUNDS=n` draws what survives n times, `CUT_BEFORE=n` begins with that call, `CUT_STRIDE=1` leaves out
/// none.
fn cut_everywhere(survival: Survival) {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<u64>().ok());
    for round in 0..number("CUT_ROUNDS").unwrap_or(1) {
        let mut at = number("CUT_BEFORE").unwrap_or(0);
        loop {
            let outcome = std::panic::catch_unwind(|| cut_before(at, round, survival));
            assert!(
                outcome.is_ok(),
                "a cut before call {at} in round {round} with {survival:?} breaks a promise"
            );
            if !outcome.unwrap_or(false) {
                break;
            }
            at += number("CUT_STRIDE").unwrap_or(1);
        }
        assert!(at > 250, "the history makes {at} calls only");
    }
}

#[test]
fn a_cut_before_any_call_of_a_follower_that_takes_what_was_not_synced_breaks_no_promise() {
    cut_everywhere(Survival::Nothing);
}

#[test]
fn a_cut_before_any_call_of_a_follower_that_takes_a_part_of_that_breaks_no_promise() {
    cut_everywhere(Survival::Random);
}

#[test]
fn a_kill_before_any_call_of_a_follower_breaks_no_promise() {
    cut_everywhere(Survival::Everything);
}
