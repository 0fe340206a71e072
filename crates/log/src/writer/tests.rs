//! What a group hears that could not be written, and who is told when somebody else had the writer or kept syncs away.

use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use millrace_env::counting::CallKind;
use millrace_env::sim::Fault;
use millrace_types::{Offset, SyncMode};

use crate::fixture::{batch, fresh, meta, small, stamp};
use crate::{AppendError, Log, LogConfig, Ticket};

/// A safety net: nothing waits that long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A waker that says so.
struct Telling(mpsc::Sender<()>);

impl Wake for Telling {
    fn wake(self: Arc<Self>) {
        self.0.send(()).unwrap();
    }
}

/// Appends batches that are written as one group.
fn together(log: &Log, batches: Vec<millrace_record::Batch>) -> Vec<Ticket> {
    let writer = log.inner().turn();
    let tickets = batches.into_iter().map(|batch| log.append(batch).unwrap()).collect();
    drop(writer);
    tickets
}

#[test]
fn a_batch_does_not_pass_the_one_before_it_that_found_no_room_at_a_roll() {
    let (sim, _dir, log) = fresh(1);
    let large = vec![7; 40_000];
    let batches = || vec![batch(&[&large], stamp(5, 0)), batch(&[&large], stamp(5, 1))];
    sim.disk().inject(Fault::no_space(CallKind::Write));
    let refused: Vec<_> = together(&log, batches()).into_iter().map(Ticket::wait).collect();
    assert_eq!(refused, [Err(AppendError::StorageFull), Err(AppendError::StorageFull)]);
    assert_eq!(log.offsets().end.get(), 0);
    let stored = together(&log, batches()).into_iter().map(|ticket| ticket.wait().unwrap().base_offset.get());
    assert_eq!(stored.collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_retry_of_what_is_stored_is_not_refused_with_the_group_it_came_in() {
    let (sim, _dir, log) = fresh(2);
    let first = log.append(batch(&[b"a"], stamp(5, 0))).unwrap().wait().unwrap();
    sim.disk().inject(Fault::no_space(CallKind::Write));
    let group = vec![batch(&[b"a"], stamp(5, 0)), batch(&[b"b"], stamp(5, 1)), batch(&[b"b"], stamp(5, 1))];
    let answers: Vec<_> = together(&log, group).into_iter().map(Ticket::wait).collect();
    let [retry, new, retry_of_new] = answers.try_into().unwrap();
    let retry: crate::Appended = retry.unwrap();
    assert_eq!((retry.base_offset, retry.duplicate), (first.base_offset, true));
    assert_eq!((new, retry_of_new), (Err(AppendError::StorageFull), Err(AppendError::StorageFull)));
}

#[test]
fn a_batch_that_came_while_somebody_had_the_writer_is_written_when_he_lets_go() {
    let (_sim, _dir, log) = fresh(4);
    let turn = log.inner().turn();
    let _ticket = log.append(batch(&[b"a"], stamp(5, 0))).unwrap();
    assert_eq!(log.offsets().end.get(), 0);
    drop(turn);
    assert_eq!(log.offsets().end.get(), 1, "nobody else need come by");
}

#[test]
fn a_ticket_that_was_asked_while_no_sync_could_begin_is_answered_afterwards() {
    let (_sim, _dir, log) = fresh(5);
    let mut ticket = log.append(batch(&[b"a"], stamp(5, 0))).unwrap();
    let (sender, woken) = mpsc::channel();
    let waker = Waker::from(Arc::new(Telling(sender)));
    let turn = log.inner().turn();
    log.inner().while_no_sync(|| {
        assert!(Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker)).is_pending());
    });
    drop(turn);
    woken.recv_timeout(PATIENCE).unwrap();
    assert_eq!(log.offsets().synced_end.get(), 1, "without anybody asking again");
}

/// What a ticket that nobody has polled before answers.
fn asked(mut ticket: Ticket) -> Poll<Result<crate::Appended, AppendError>> {
    Pin::new(&mut ticket).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn what_was_held_before_a_truncation_is_acknowledged_after_it() {
    let (_sim, _dir, log) = fresh(6);
    let append = || log.append(batch(&[b"a"], None)).unwrap();
    let held = append();
    append().wait().unwrap();
    let written = append();
    log.truncate_to(Offset::ZERO).unwrap();
    let Poll::Ready(Ok(answer)) = asked(held) else { panic!("it was synced with the one behind it") };
    assert_eq!(answer.base_offset, Offset::ZERO);
    assert!(matches!(asked(written), Poll::Ready(Err(AppendError::Truncated))));
}

#[test]
fn what_is_held_as_soon_as_it_is_written_is_acknowledged_whatever_comes() {
    let (_sim, dir, _log) = fresh(7);
    let config = LogConfig { sync_mode: SyncMode::Os, ..small() };
    let log = dir.create(meta(1), config).unwrap();
    let first = log.append(batch(&[b"a"], stamp(5, 0))).unwrap();
    let retry = log.append(batch(&[b"a"], stamp(5, 0))).unwrap();
    log.truncate_to(Offset::ZERO).unwrap();
    for (ticket, duplicate) in [(first, false), (retry, true)] {
        let Poll::Ready(Ok(answer)) = asked(ticket) else { panic!("it was held") };
        assert_eq!((answer.base_offset, answer.duplicate), (Offset::ZERO, duplicate));
    }
}
