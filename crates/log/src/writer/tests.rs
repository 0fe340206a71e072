//! What a group hears that could not be written.

use millrace_env::counting::CallKind;
use millrace_env::sim::Fault;

use crate::fixture::{batch, fresh, stamp};
use crate::{AppendError, Log, Ticket};

/// Appends batches that are written as one group.
fn together(log: &Log, batches: Vec<millrace_record::Batch>) -> Vec<Ticket> {
    let writer = log.inner().writer.lock();
    let tickets = batches.into_iter().map(|batch| log.append(batch).unwrap()).collect();
    drop(writer);
    log.inner().combine();
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
