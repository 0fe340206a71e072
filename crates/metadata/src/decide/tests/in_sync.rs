//! What a leader says of its in-sync replicas.

use super::*;
use crate::{AlterPartitionRefusal, Ineligible};

fn refused(image: &Image, wanted: AlterPartition) -> AlterPartitionRefusal {
    match decide(image, &Command::AlterPartition(wanted)) {
        Err(Refusal::AlterPartition(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_in_sync_set_is_what_the_leader_says() {
    let image = alter(&three(), &[1, 2]);
    assert_eq!(shape(&image), (Some(1), vec![1, 2], vec![], vec![]));
    assert_eq!((partition(&image).leader_epoch, partition(&image).partition_epoch), (LeaderEpoch(0), 1));
    let image = alter(&image, &[1, 2, 3]);
    assert_eq!(shape(&image), (Some(1), vec![1, 2, 3], vec![], vec![]));
    assert_eq!((partition(&image).leader_epoch, partition(&image).partition_epoch), (LeaderEpoch(0), 2));
    // In another order it is the same set, and a new state of it: what was asked for before is stale from here on.
    let again = alter(&image, &[3, 1, 2]);
    assert_eq!(shape(&again), shape(&image));
    assert_eq!(partition(&again).partition_epoch, 3);
}

#[test]
fn who_leaves_while_too_few_stay_is_eligible_until_enough_are_back() {
    let image = alter(&three(), &[1]);
    assert_eq!(shape(&image), (Some(1), vec![1], vec![2, 3], vec![]));
    let image = alter(&image, &[1, 3]);
    assert_eq!(shape(&image), (Some(1), vec![1, 3], vec![], vec![]));
    let image = alter(&alter(&image, &[1]), &[1, 2]);
    assert_eq!(
        shape(&image),
        (Some(1), vec![1, 2], vec![], vec![]),
        "3 missed what 1 and 2 commit from here on"
    );
}

#[test]
fn a_word_about_a_partition_as_it_was_is_refused() {
    let before = three();
    let old = wanted(&before, &[1, 3]);
    let image = alter(&before, &[1, 2]);
    assert_eq!(
        refused(&image, old),
        AlterPartitionRefusal::StalePartitionEpoch { at: AT, given: 0, current: 1 }
    );
    let old = wanted(&image, &[1, 2, 3]);
    let image = unfence(&fence(&image, 1), 1);
    assert!(matches!(refused(&image, old), AlterPartitionRefusal::FencedLeaderEpoch { .. }));
    let mut ahead = wanted(&image, &[2]);
    ahead.partition_epoch += 1;
    assert!(matches!(refused(&image, ahead), AlterPartitionRefusal::NotKnownYet { .. }));
    let mut ahead = wanted(&image, &[2]);
    ahead.leader_epoch = ahead.leader_epoch.next();
    assert!(matches!(refused(&image, ahead), AlterPartitionRefusal::NotKnownYet { .. }));
}

#[test]
fn only_the_run_that_leads_is_heard() {
    let image = three();
    let other =
        AlterPartition { node: NodeId(2), broker_epoch: epoch_of(&image, 2), ..wanted(&image, &[1, 2]) };
    assert_eq!(refused(&image, other), AlterPartitionRefusal::NotLeader { at: AT, node: NodeId(2) });
    let old_run = wanted(&image, &[1, 2]);
    let image = start(&image, 1, 2);
    assert_eq!(
        refused(&image, old_run),
        AlterPartitionRefusal::StaleBrokerEpoch {
            node: NodeId(1),
            given: BrokerEpoch(1),
            current: BrokerEpoch(4)
        }
    );
}

#[test]
fn a_replica_that_started_again_does_not_join_on_what_was_seen_before() {
    let image = alter(&three(), &[1, 2]);
    let seen = wanted(&image, &[1, 2, 3]);
    let image = unfence(&start(&image, 3, 2), 3);
    assert_eq!(
        refused(&image, seen),
        AlterPartitionRefusal::Ineligible {
            at: AT,
            node: NodeId(3),
            given: BrokerEpoch(3),
            why: Ineligible::AnotherRun
        }
    );
    assert_eq!(shape(&alter(&image, &[1, 2, 3])).1, [1, 2, 3]);
}

#[test]
fn who_is_fenced_or_drains_does_not_join() {
    for (image, expected) in
        [(fence(&three(), 3), Ineligible::Fenced), (drain(&three(), 3), Ineligible::Draining)]
    {
        match refused(&image, wanted(&image, &[1, 2, 3])) {
            AlterPartitionRefusal::Ineligible { node: NodeId(3), why, .. } => assert_eq!(why, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_set_that_could_not_be_is_refused() {
    let image = run(&brokers(4), &Command::CreateTopic(topic(1, 3, &[]))).unwrap();
    for (isr, node, problem) in [
        (&[2, 3][..], 1, "leads and is missing"),
        (&[], 1, "leads and is missing"),
        (&[1, 4], 4, "is no replica"),
        (&[1, 2, 2], 2, "is named twice"),
    ] {
        let node = NodeId(node);
        let expected = AlterPartitionRefusal::NoSuchSet { at: AT, node, problem };
        assert_eq!(refused(&image, wanted(&image, isr)), expected);
    }
    let of_another =
        |at| decide(&image, &Command::AlterPartition(AlterPartition { at, ..wanted(&image, &[1]) }));
    let again = TopicPartition { topic: TopicId([2; 16]), ..AT };
    assert_eq!(of_another(again), Err(Refusal::UnknownTopic(again.topic)), "of the same name, perhaps");
    let beyond = TopicPartition { partition: PartitionIndex(1), ..AT };
    assert_eq!(of_another(beyond), Err(Refusal::UnknownPartition(beyond)));
}

#[test]
fn another_number_to_commit_leaves_nobody_eligible_under_a_leader() {
    let image = alter(&three(), &[1]);
    assert_eq!(shape(&image), (Some(1), vec![1], vec![2, 3], vec![]));
    let asked = wanted(&image, &[1, 2]);
    for min in [1, 3] {
        let changed = set_min_insync(&image, min);
        assert_eq!(shape(&changed), (Some(1), vec![1], vec![], vec![]));
        assert!(
            matches!(refused(&changed, asked.clone()), AlterPartitionRefusal::StalePartitionEpoch { .. }),
            "a leader that has not heard of the number is not heard"
        );
    }
    // Nobody leads, so nobody commits: who held everything still does.
    let nobody = fence(&fence(&fence(&image, 2), 3), 1);
    assert_eq!(shape(&nobody), (None, vec![], vec![1, 2, 3], vec![]));
    let changed = set_min_insync(&nobody, 1);
    assert_eq!(shape(&changed), (None, vec![], vec![1, 2, 3], vec![]));
    assert_eq!(shape(&unfence(&changed, 2)), (Some(2), vec![2], vec![], vec![]));
}

#[test]
fn a_leader_whose_log_is_ahead_goes_on_above_it() {
    let image = three();
    let raise = |node: i32, broker_epoch, above| Command::RaiseLeaderEpoch {
        node: NodeId(node),
        broker_epoch: BrokerEpoch(broker_epoch),
        at: AT,
        above: LeaderEpoch(above),
    };
    let raised = run(&image, &raise(1, 1, 7)).unwrap();
    assert_eq!((partition(&raised).leader_epoch, shape(&raised)), (LeaderEpoch(8), shape(&image)));
    assert_eq!(decide(&raised, &raise(1, 1, 7)), Ok(Vec::new()));
    let not_leader = AlterPartitionRefusal::NotLeader { at: AT, node: NodeId(2) };
    assert_eq!(decide(&image, &raise(2, 2, 7)), Err(not_leader.into()));
    assert!(decide(&image, &raise(1, 9, 7)).is_err());
}
