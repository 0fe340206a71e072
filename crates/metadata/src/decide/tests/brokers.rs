//! Runs of brokers, their epochs, and what becomes of partitions when they come and go.

use super::*;
use crate::{RegisterRefusal, StandingRefusal};

#[test]
fn an_epoch_is_given_once_and_to_one_run() {
    let image = brokers(2);
    assert_eq!((epoch_of(&image, 1), epoch_of(&image, 2)), (BrokerEpoch(1), BrokerEpoch(2)));
    // The answer was lost, and the same run asks again.
    assert_eq!(decide(&image, &Command::StartBroker(start_of(1, 1))), Ok(Vec::new()));
    let other = StartBroker { internal: "elsewhere:1".to_owned(), ..start_of(1, 1) };
    let other = decide(&image, &Command::StartBroker(other));
    assert_eq!(other, Err(RegisterRefusal::OtherWords(NodeId(1)).into()));
    let image = start(&image, 1, 2);
    assert_eq!(epoch_of(&image, 1), BrokerEpoch(3));
    let twice = MetadataRecord::BrokerUnfenced(crate::BrokerRun { node: NodeId(1), epoch: BrokerEpoch(1) });
    assert!(image.clone().apply(&twice).is_err());
}

#[test]
fn a_run_begins_only_after_the_one_before_was_fenced() {
    let image = three();
    let records = decide(&image, &Command::StartBroker(start_of(1, 2))).unwrap();
    let [fenced @ MetadataRecord::BrokerFenced(_), started @ MetadataRecord::BrokerStarted(_)] = &records[..]
    else {
        panic!("{records:?}")
    };
    assert!(image.clone().apply(started).is_err(), "not without the fence");
    let after = image.apply(fenced).unwrap().apply(started).unwrap();
    assert_eq!(shape(&after), (Some(2), vec![2, 3], vec![], vec![]));
    assert_eq!(
        shape(&unfence(&after, 1)),
        (Some(2), vec![2, 3], vec![], vec![]),
        "out until the leader says"
    );
}

#[test]
fn a_node_id_is_not_taken_from_a_directory_that_is_in_use() {
    let image = three();
    let moved = StartBroker { directory: DirectoryId([9; 16]), ..start_of(1, 2) };
    let refused = decide(&image, &Command::StartBroker(moved.clone()));
    let directory = DirectoryId([1; 16]);
    assert_eq!(refused, Err(RegisterRefusal::InUse { node: NodeId(1), directory }.into()));
    let fenced = fence(&fence(&fence(&image, 2), 3), 1);
    assert_eq!(shape(&fenced), (None, vec![], vec![1, 3], vec![]));
    let of_another = StartBroker { directory: DirectoryId([2; 16]), ..start_of(1, 2) };
    let refused = decide(&fenced, &Command::StartBroker(of_another));
    let (node, of) = (NodeId(1), NodeId(2));
    let directory = DirectoryId([2; 16]);
    assert_eq!(refused, Err(RegisterRefusal::AnothersDirectory { node, directory, of }.into()));
    let image = run(&fenced, &Command::StartBroker(moved)).unwrap();
    assert_eq!(shape(&image), (None, vec![], vec![3], vec![1]), "an empty directory holds nothing");
}

#[test]
fn a_broker_is_unfenced_once_it_knows_that_it_was_fenced() {
    let image = start(&brokers(1), 1, 2);
    let (node, epoch, needed) = (NodeId(1), epoch_of(&image, 1), image.version());
    let behind = decide(&image, &Command::UnfenceBroker { node, epoch, applied: needed - 1 });
    assert_eq!(behind, Err(StandingRefusal::Behind { node, applied: needed - 1, needed }.into()));
    let image = run(&image, &Command::UnfenceBroker { node, epoch, applied: needed }).unwrap();
    assert_eq!(decide(&image, &Command::UnfenceBroker { node, epoch, applied: 0 }), Ok(Vec::new()));
    for command in [
        Command::FenceBroker { node, epoch: BrokerEpoch(1) },
        Command::UnfenceBroker { node, epoch: BrokerEpoch(1), applied: needed },
        Command::DrainBroker { node, epoch: BrokerEpoch(1) },
    ] {
        let stale = StandingRefusal::StaleBrokerEpoch { node, given: BrokerEpoch(1), current: epoch };
        assert_eq!(decide(&image, &command), Err(stale.into()));
    }
    let drained = drain(&image, 1);
    let refused = decide(&drained, &Command::UnfenceBroker { node, epoch, applied: drained.version() });
    assert_eq!(refused, Err(StandingRefusal::Draining(node).into()));
}

#[test]
fn the_partitions_of_a_broker_follow_from_one_record() {
    let image = run(&brokers(3), &Command::CreateTopic(topic(6, 3, &[]))).unwrap();
    let fence_one = Command::FenceBroker { node: NodeId(1), epoch: BrokerEpoch(1) };
    assert_eq!(decide(&image, &fence_one).unwrap().len(), 1);
    let after = run(&image, &fence_one).unwrap();
    let leaders = |image: &Image| -> Vec<i32> {
        let topic = image.topic_by_id(TOPIC).unwrap();
        topic.partitions.iter().map(|partition| partition.leader.unwrap().0).collect()
    };
    assert_eq!(leaders(&image), [1, 2, 3, 1, 2, 3]);
    assert_eq!(leaders(&after), [2, 2, 3, 3, 2, 3], "the others share what it led");
    for (before, after) in
        image.topic_by_id(TOPIC).unwrap().partitions.iter().zip(&after.topic_by_id(TOPIC).unwrap().partitions)
    {
        let moved = before.leader != after.leader;
        assert_eq!(after.partition_epoch, before.partition_epoch + 1);
        assert_eq!(after.leader_epoch.0, before.leader_epoch.0 + i32::from(moved));
    }
}

#[test]
fn who_drains_hands_over_and_comes_back_with_its_next_run() {
    let image = drain(&three(), 1);
    assert_eq!(shape(&image), (Some(2), vec![2, 3], vec![], vec![]));
    let alone = drain(&drain(&image, 2), 3);
    assert_eq!(shape(&alone), (None, vec![], vec![2, 3], vec![]));
    let back = unfence(&start(&alone, 3, 2), 3);
    assert_eq!(shape(&back), (Some(3), vec![3], vec![2], vec![]));
}

#[test]
fn what_a_run_may_have_lost_makes_it_no_leader() {
    let os = [("sync.mode", "os")];
    let at_all = [AT].into();
    for (configs, losses, damaged, eligible) in [
        (&[][..], Losses::Nothing, BTreeSet::new(), true),
        (&[], Losses::Unsynced, BTreeSet::new(), true),
        (&[], Losses::Unsynced, at_all, false),
        (&[], Losses::Anything, BTreeSet::new(), false),
        (&os, Losses::Nothing, BTreeSet::new(), true),
        (&os, Losses::Unsynced, BTreeSet::new(), false),
    ] {
        let image = run(&brokers(1), &Command::CreateTopic(topic(1, 1, configs))).unwrap();
        let again = StartBroker { losses, damaged, ..start_of(1, 2) };
        let image = unfence(&run(&image, &Command::StartBroker(again)).unwrap(), 1);
        let expected =
            if eligible { (Some(1), vec![1], vec![], vec![]) } else { (None, vec![], vec![], vec![1]) };
        assert_eq!(shape(&image), expected, "{configs:?} {losses:?}");
    }
}

#[test]
fn a_topic_that_was_not_always_synced_is_not_taken_for_one_that_was() {
    let image = run(&brokers(1), &Command::CreateTopic(topic(1, 1, &[("sync.mode", "os")]))).unwrap();
    let image = run(&image, &Command::ConfigureTopic { id: TOPIC, configs: BTreeMap::new() }).unwrap();
    let again = StartBroker { losses: Losses::Unsynced, ..start_of(1, 2) };
    let image = unfence(&run(&image, &Command::StartBroker(again)).unwrap(), 1);
    assert_eq!(shape(&image), (None, vec![], vec![], vec![1]));
}

#[test]
fn a_broker_that_was_alone_gets_its_first_epoch() {
    let alone = Command::RegisterBroker {
        node: NodeId(1),
        directory: DirectoryId([1; 16]),
        grpc: "127.0.0.1:7070".to_owned(),
    };
    let image = run(&raised(), &alone).unwrap();
    let image = run(&image, &Command::CreateTopic(topic(2, 1, &[]))).unwrap();
    assert_eq!((epoch_of(&image, 1), shape(&image).0), (BrokerEpoch::NONE, Some(1)));
    assert_eq!(shape(&alter(&image, &[1])).1, [1]);
    let image = start(&image, 1, 1);
    assert_eq!(shape(&image), (None, vec![], vec![1], vec![]));
    let image = unfence(&image, 1);
    assert_eq!((shape(&image).0, partition(&image).leader_epoch), (Some(1), LeaderEpoch(2)));
    assert_eq!(decide(&image, &alone), Err(RegisterRefusal::EpochNeeded(NodeId(1)).into()));
}

#[test]
fn a_broker_is_removed_when_it_is_fenced_and_holds_nothing() {
    let remove = Command::RemoveBroker { node: NodeId(1) };
    let image = three();
    assert_eq!(decide(&image, &remove), Err(RegisterRefusal::NotFenced(NodeId(1)).into()));
    let image = fence(&image, 1);
    let holds = RegisterRefusal::HoldsPartitions { node: NodeId(1), partitions: 1 };
    assert_eq!(decide(&image, &remove), Err(holds.into()));
    let image = run(&image, &Command::DeleteTopic { id: TOPIC }).unwrap();
    let image = run(&image, &remove).unwrap();
    assert_eq!(image.brokers().count(), 2);
    assert_eq!(epoch_of(&start(&image, 1, 2), 1), BrokerEpoch(4), "its epochs do not come again");
}

#[test]
fn a_topic_lies_on_active_brokers_first() {
    let image = drain(&fence(&brokers(5), 1), 4);
    let image = run(&image, &Command::CreateTopic(topic(3, 4, &[]))).unwrap();
    for partition in &image.topic_by_id(TOPIC).unwrap().partitions {
        assert_eq!(partition.replicas.len(), 4);
        let isr: BTreeSet<_> = partition.isr.iter().map(|node| node.0).collect();
        assert_eq!(isr, BTreeSet::from([2, 3, 5]));
        assert_eq!(partition.leader, partition.replicas.first().copied());
    }
    let nobody = fence(&brokers(1), 1);
    assert_eq!(decide(&nobody, &Command::CreateTopic(topic(1, 1, &[]))), Err(Refusal::NoActiveBroker));
}

#[test]
fn an_older_cluster_writes_no_records_of_this_kind() {
    let image = run(&Image::default(), &Command::RaiseFeatureLevel { level: 2 }).unwrap();
    let refused = decide(&image, &Command::StartBroker(start_of(1, 1)));
    assert_eq!(refused, Err(Refusal::FeatureLevelTooLow { wanted: 3, found: 2 }));
}
