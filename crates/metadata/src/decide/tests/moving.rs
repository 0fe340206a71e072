//! Partitions that move to other brokers.

use super::*;
use crate::ReassignRefusal;

/// Five active brokers, one partition on 1, 2 and 3.
fn five() -> Image {
    run(&brokers(5), &Command::CreateTopic(topic(1, 3, &[]))).unwrap()
}

fn reassign(image: &Image, replicas: &[i32]) -> Result<Image, Refusal> {
    run(image, &Command::Reassign { at: AT, replicas: nodes(replicas) })
}

#[test]
fn a_partition_grows_catches_up_and_shrinks() {
    let image = reassign(&five(), &[4, 5, 1]).unwrap();
    assert_eq!(&*partition(&image).replicas, nodes(&[4, 5, 1, 2, 3]));
    assert_eq!(shape(&image), (Some(1), vec![1, 2, 3], vec![], vec![]), "nobody is in sync by being named");
    assert_eq!(reassign(&image, &[1, 2]), Err(ReassignRefusal::UnderWay(AT).into()));
    let image = alter(&image, &[1, 2, 3, 4]);
    assert!(partition(&image).is_reassigned());
    let epoch = partition(&image).leader_epoch;
    let image = alter(&image, &[1, 2, 3, 4, 5]);
    assert_eq!(&*partition(&image).replicas, nodes(&[4, 5, 1]));
    assert_eq!(shape(&image), (Some(1), vec![1, 4, 5], vec![], vec![]));
    assert_eq!(partition(&image).leader_epoch, epoch.next(), "what the leader knew of 2 and 3 is forgotten");
    assert!(!partition(&image).is_reassigned());
}

#[test]
fn a_leader_that_moves_away_hands_over_at_the_end() {
    let image = alter(&reassign(&five(), &[2, 3, 4]).unwrap(), &[1, 2, 3, 4]);
    assert_eq!(shape(&image), (Some(2), vec![2, 3, 4], vec![], vec![]));
    let all_new = alter(&reassign(&image, &[1, 5]).unwrap(), &[2, 3, 4, 1, 5]);
    assert_eq!(shape(&all_new), (Some(1), vec![1, 5], vec![], vec![]));
    assert_eq!(all_new.topic_by_id(TOPIC).unwrap().replication_factor, 2);
}

#[test]
fn it_does_not_end_while_too_few_of_those_who_stay_are_in_sync() {
    let image = alter(&five(), &[1, 2]);
    let image = reassign(&image, &[2, 3]).unwrap();
    assert_eq!(shape(&image), (Some(1), vec![1, 2], vec![], vec![]));
    assert!(partition(&image).is_reassigned());
    let image = alter(&image, &[1, 2, 3]);
    assert_eq!((shape(&image).0, shape(&image).1), (Some(2), vec![2, 3]));
    // Where enough of them are, it ends as it begins.
    let image = reassign(&five(), &[2, 3]).unwrap();
    assert_eq!((shape(&image).0, shape(&image).1), (Some(2), vec![2, 3]));
}

#[test]
fn it_is_taken_back_unless_too_few_would_be_in_sync() {
    let cancel = Command::CancelReassignment { at: AT };
    assert_eq!(decide(&five(), &cancel), Err(ReassignRefusal::NotUnderWay(AT).into()));
    let image = reassign(&five(), &[4, 5, 1]).unwrap();
    let back = run(&image, &cancel).unwrap();
    assert_eq!(&*partition(&back).replicas, nodes(&[1, 2, 3]));
    assert_eq!(shape(&back), (Some(1), vec![1, 2, 3], vec![], vec![]));
    let image = alter(&image, &[1, 4]);
    let refused = ReassignRefusal::TooFewInSync { at: AT, in_sync: 1, min_insync: 2 };
    assert_eq!(decide(&image, &cancel), Err(refused.into()));
    let led_by_new = fence(&alter(&image, &[1, 2, 4]), 1);
    assert_eq!(shape(&led_by_new).0, Some(4));
    assert!(decide(&led_by_new, &cancel).is_err());
}

#[test]
fn it_is_not_taken_back_from_those_who_alone_hold_everything() {
    let image = alter(&reassign(&five(), &[4, 5, 1]).unwrap(), &[1, 4]);
    let nobody = fence(&fence(&image, 1), 4);
    assert_eq!(shape(&nobody), (None, vec![], vec![4, 1], vec![]));
    let refused = ReassignRefusal::TooFewInSync { at: AT, in_sync: 0, min_insync: 2 };
    assert_eq!(decide(&nobody, &Command::CancelReassignment { at: AT }), Err(refused.into()));
    // Where the new ones hold nothing yet, nothing goes with them.
    let early = fence(&fence(&reassign(&alter(&five(), &[1, 2]), &[4, 5, 1]).unwrap(), 1), 2);
    let back = run(&early, &Command::CancelReassignment { at: AT }).unwrap();
    assert_eq!(shape(&back), (None, vec![], vec![1, 2], vec![]));
}

#[test]
fn places_that_cannot_be_are_refused() {
    let image = five();
    let refused = |replicas: &[i32]| reassign(&image, replicas).unwrap_err();
    assert_eq!(refused(&[]), ReassignRefusal::Replicas { at: AT, count: 0 }.into());
    assert_eq!(refused(&[1, 1]), ReassignRefusal::Replicas { at: AT, count: 2 }.into());
    assert_eq!(refused(&[1, 9]), Refusal::UnknownBroker(NodeId(9)));
    let below = ReassignRefusal::BelowMinInsync { at: AT, replicas: 1, min_insync: 2 };
    assert_eq!(refused(&[1]), below.into());
    assert_eq!(reassign(&image, &[1, 2, 3]), Ok(image.clone()), "where it lies already");
    // A topic that is being made smaller cannot demand what it will not have.
    let shrinking = reassign(&alter(&image, &[1, 2]), &[2, 3]).unwrap();
    let configs = BTreeMap::from([("min.insync.replicas".to_owned(), "3".to_owned())]);
    assert!(matches!(
        decide(&shrinking, &Command::ConfigureTopic { id: TOPIC, configs }),
        Err(Refusal::MinInsync { min_insync: 3, replication_factor: 2 })
    ));
}

#[test]
fn what_a_move_can_be_taken_back_to_bounds_what_commits() {
    let image = run(&brokers(4), &Command::CreateTopic(topic(1, 2, &[]))).unwrap();
    let image = reassign(&image, &[3, 4]).unwrap();
    let growing = run(&image, &Command::CancelReassignment { at: AT }).unwrap();
    let growing = reassign(&growing, &[1, 2, 3]).unwrap();
    let configs = BTreeMap::from([("min.insync.replicas".to_owned(), "3".to_owned())]);
    let refused = decide(&growing, &Command::ConfigureTopic { id: TOPIC, configs });
    assert!(matches!(refused, Err(Refusal::MinInsync { min_insync: 3, replication_factor: 2 })));
}

/// A topic of the product, made when there was one broker.
fn internal(partitions: u32) -> CreateTopic {
    let name = TopicName::new("__consumer_offsets").unwrap();
    CreateTopic { name, owner: Owner::Product, ..topic(partitions, 1, &[]) }
}

#[test]
fn topics_of_the_product_get_more_replicas_as_brokers_join() {
    let raise = Command::RaiseReplication { id: TOPIC };
    let image = run(&brokers(1), &Command::CreateTopic(internal(2))).unwrap();
    assert_eq!(decide(&image, &raise), Ok(Vec::new()), "alone it has what can be had");
    let image = unfence(&start(&image, 2, 1), 2);
    let image = start(&unfence(&start(&image, 3, 1), 3), 4, 1);
    let image = run(&image, &raise).unwrap();
    for (_, partition) in image.partitions() {
        assert_eq!(partition.replicas.iter().collect::<BTreeSet<_>>(), nodes(&[1, 2, 3]).iter().collect());
        assert_eq!((partition.leader, &*partition.isr), (Some(NodeId(1)), &nodes(&[1])[..]));
    }
    assert_eq!(decide(&image, &raise), Ok(Vec::new()), "they catch up");
    // One partition has all of them in sync, the other waits still.
    let image = alter(&image, &[1, 2, 3]);
    assert_eq!(decide(&image, &raise), Ok(Vec::new()));
    let second = TopicPartition { partition: PartitionIndex(1), ..AT };
    let mut wanted = wanted(&image, &[1, 2, 3]);
    let of_second = image.partition(second).unwrap();
    (wanted.at, wanted.leader_epoch) = (second, of_second.leader_epoch);
    wanted.partition_epoch = of_second.partition_epoch;
    let image = run(&image, &Command::AlterPartition(wanted)).unwrap();
    assert_eq!(image.topic_by_id(TOPIC).unwrap().replication_factor, 3);
    let image = run(&image, &raise).unwrap();
    assert_eq!(image.topic_by_id(TOPIC).unwrap().min_insync(), 2);
    assert_eq!(decide(&image, &raise), Ok(Vec::new()));
    let of_user = decide(&five(), &raise);
    assert_eq!(of_user, Err(Refusal::NotInternal(TopicName::new("a").unwrap())));
}
