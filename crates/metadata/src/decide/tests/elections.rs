//! Who leads: by the standing of the brokers, and by elections that are asked for.

use millrace_types::Offset;

use super::*;
use crate::{ElectRefusal, ReplicaEnd};

#[test]
fn the_leader_comes_from_the_in_sync_replicas_then_from_the_eligible_ones() {
    let image = fence(&three(), 1);
    assert_eq!(shape(&image), (Some(2), vec![2, 3], vec![], vec![]));
    let image = fence(&image, 2);
    assert_eq!(shape(&image), (Some(3), vec![3], vec![2], vec![]));
    let image = fence(&image, 3);
    assert_eq!(shape(&image), (None, vec![], vec![2, 3], vec![]));
    assert_eq!(
        shape(&unfence(&image, 1)),
        (None, vec![], vec![2, 3], vec![]),
        "1 missed what 2 and 3 committed"
    );
    let image = unfence(&image, 2);
    assert_eq!(shape(&image), (Some(2), vec![2], vec![3], vec![]));
    assert_eq!(partition(&image).leader_epoch, LeaderEpoch(4), "each leader has an epoch, nobody too");
}

#[test]
fn an_eligible_replica_takes_over_at_once_if_it_is_active() {
    let image = alter(&three(), &[1]);
    assert_eq!(shape(&image), (Some(1), vec![1], vec![2, 3], vec![]));
    assert_eq!(shape(&fence(&image, 1)), (Some(2), vec![2], vec![1, 3], vec![]));
}

#[test]
fn the_preferred_leader_gets_its_partition_back_when_it_is_in_sync() {
    let prefer = Command::ElectPreferred { at: AT };
    let image = unfence(&fence(&three(), 1), 1);
    let refused = decide(&image, &prefer);
    assert_eq!(refused, Err(ElectRefusal::PreferredNotInSync { at: AT, node: NodeId(1) }.into()));
    let image = alter(&image, &[2, 3, 1]);
    let epoch = partition(&image).leader_epoch;
    let image = run(&image, &prefer).unwrap();
    assert_eq!(shape(&image).0, Some(1));
    assert_eq!(partition(&image).leader_epoch, epoch.next());
    assert_eq!(decide(&image, &prefer), Ok(Vec::new()));
}

/// Nobody leads; 2 and 3 were the last to hold everything, and 3 has lost something since.
fn three_lost_something() -> Image {
    let image = fence(&fence(&fence(&three(), 1), 2), 3);
    let lossy = StartBroker { damaged: [AT].into(), ..start_of(3, 2) };
    unfence(&run(&image, &Command::StartBroker(lossy)).unwrap(), 3)
}

#[test]
fn who_accepts_a_loss_says_so_and_the_partition_remembers() {
    let image = three_lost_something();
    assert_eq!(shape(&image), (None, vec![], vec![2], vec![3]));
    let unclean = |node| Command::ElectUnclean { at: AT, node: NodeId(node) };
    let refused = decide(&image, &unclean(1));
    assert_eq!(refused, Err(ElectRefusal::NoCandidate { at: AT, node: NodeId(1) }.into()), "it is fenced");
    let after = run(&image, &unclean(3)).unwrap();
    assert_eq!(shape(&after), (Some(3), vec![3], vec![], vec![]));
    let lossy = partition(&after).lossy.clone().unwrap();
    assert_eq!((lossy.leader_epoch, lossy.given_up), (partition(&after).leader_epoch, nodes(&[2])));
    let refused = decide(&after, &unclean(3));
    assert_eq!(refused, Err(ElectRefusal::HasLeader { at: AT, leader: NodeId(3) }.into()));
    // What is said of it stays until the next one.
    let later = alter(&unfence(&after, 2), &[3, 2]);
    assert!(partition(&later).lossy.is_some());
}

#[test]
fn of_those_last_known_to_hold_everything_the_longest_log_leads() {
    let image = three_lost_something();
    let end = |image: &Image, node, leader_epoch, end| ReplicaEnd {
        node: NodeId(node),
        epoch: epoch_of(image, node),
        leader_epoch: LeaderEpoch(leader_epoch),
        end: Offset::new(end).unwrap(),
    };
    let recover = |image: &Image, ends| decide(image, &Command::RecoverLeader { at: AT, ends });
    let refused = recover(&image, vec![end(&image, 3, 1, 5)]);
    assert_eq!(refused, Err(ElectRefusal::StillEligible { at: AT, node: NodeId(2) }.into()));
    let lossy = StartBroker { damaged: [AT].into(), ..start_of(2, 2) };
    let image = run(&image, &Command::StartBroker(lossy)).unwrap();
    assert_eq!(shape(&image), (None, vec![], vec![], vec![2, 3]));
    let unknown = |node| Err(ElectRefusal::EndUnknown { at: AT, node: NodeId(node) }.into());
    let both = vec![end(&image, 2, 2, 5), end(&image, 3, 1, 9)];
    assert_eq!(recover(&image, both.clone()), unknown(2), "it is fenced");
    let image = unfence(&image, 2);
    assert_eq!(recover(&image, both[..1].to_vec()), unknown(3));
    let of_old_run = ReplicaEnd { epoch: BrokerEpoch(2), ..both[0] };
    assert_eq!(recover(&image, vec![of_old_run, both[1]]), unknown(2));
    let after = run(&image, &Command::RecoverLeader { at: AT, ends: both }).unwrap();
    assert_eq!(shape(&after), (Some(2), vec![2], vec![], vec![]), "the newer epoch counts before the end");
    assert_eq!(partition(&after).lossy.clone().unwrap().given_up, nodes(&[3]));
    let nobody = fence(&three(), 1);
    assert!(matches!(recover(&nobody, Vec::new()), Err(Refusal::Elect(ElectRefusal::HasLeader { .. }))));
}

#[test]
fn commands_that_come_together_are_decided_one_after_the_other() {
    let image = three();
    let asks = [wanted(&image, &[1, 2]), wanted(&image, &[1, 3])].map(Command::AlterPartition);
    let answers = decide_each(&image, &asks).unwrap();
    assert_eq!(answers.len(), 2);
    let after = answers[0].iter().flatten().try_fold(image.clone(), Image::apply).unwrap();
    assert_eq!(shape(&after).1, [1, 2]);
    assert_eq!(answers[1], decide(&after, &asks[1]), "the second is about a partition as it was");
    assert!(answers[1].is_err());
}

#[test]
fn a_partition_is_away_while_its_preferred_leader_could_lead_and_does_not() {
    let image = three();
    assert!(!partition(&image).is_away());
    let image = unfence(&fence(&image, 1), 1);
    assert!(!partition(&image).is_away(), "it is not in sync");
    let image = alter(&image, &[2, 3, 1]);
    assert!(partition(&image).is_away());
    assert!(!partition(&run(&image, &Command::ElectPreferred { at: AT }).unwrap()).is_away());
}
