//! Everything reads back; every cut and every stranger is an error that names itself; the bytes stay what they are.

use millrace_types::TopicId;

use super::*;

fn voter(node: i32) -> QuorumVoter {
    QuorumVoter { node: NodeId(node), incarnation: 0x0102_0304_0506_0700 + u64::from(node.unsigned_abs()) }
}

fn at(term: u64, index: u64) -> QuorumPosition {
    QuorumPosition { term, leader: voter(2), index }
}

fn members() -> QuorumMembers {
    let nodes = [1, 2, 3].map(|node| (voter(node), format!("host{node}:9"))).into();
    QuorumMembers { configs: vec![vec![voter(1), voter(2)], vec![voter(2), voter(3)]], nodes }
}

fn records() -> Vec<MetadataRecord> {
    vec![
        MetadataRecord::FeatureLevelRaised { level: 1 },
        MetadataRecord::TopicDeleted { id: TopicId([9; 16]) },
    ]
}

fn entries() -> Vec<QuorumEntry> {
    [
        QuorumPayload::Blank,
        QuorumPayload::Proposal { base: 7, records: records() },
        QuorumPayload::Members(members()),
    ]
    .into_iter()
    .map(|payload| QuorumEntry { at: at(3, 41), payload })
    .collect()
}

fn snapshots() -> Vec<QuorumSnapshot> {
    let full = QuorumSnapshot {
        last: Some(at(5, 77)),
        members: members(),
        members_at: Some(at(4, 70)),
        version: 12,
        records: records(),
    };
    vec![QuorumSnapshot::default(), full]
}

fn votes() -> Vec<QuorumVote> {
    let ballot = QuorumBallot { term: 9, candidate: voter(3), elected: true };
    vec![QuorumVote { own: voter(1), ballot: None }, QuorumVote { own: voter(1), ballot: Some(ballot) }]
}

#[test]
fn everything_reads_back_what_was_written() {
    for entry in entries() {
        assert_eq!(QuorumEntry::decode(&entry.encode()), Ok(entry));
    }
    for snapshot in snapshots() {
        assert_eq!(QuorumSnapshot::decode(&snapshot.encode()), Ok(snapshot));
    }
    for vote in votes() {
        assert_eq!(QuorumVote::decode(&vote.encode()), Ok(vote));
    }
    assert_eq!(decode_quorum_purged(&encode_quorum_purged(at(3, 9))), Ok(at(3, 9)));
}

#[test]
fn no_cut_panics_or_reads_as_the_whole() {
    for entry in entries() {
        let bytes = entry.encode();
        for len in 0..bytes.len() {
            assert_ne!(QuorumEntry::decode(&bytes[..len]).as_ref(), Ok(&entry), "{len}");
        }
    }
    for snapshot in snapshots() {
        let bytes = snapshot.encode();
        for len in 0..bytes.len() {
            assert_ne!(QuorumSnapshot::decode(&bytes[..len]).as_ref(), Ok(&snapshot), "{len}");
        }
    }
    for vote in votes() {
        let bytes = vote.encode();
        for len in 0..bytes.len() {
            assert_ne!(QuorumVote::decode(&bytes[..len]).as_ref(), Ok(&vote), "{len}");
        }
    }
    let bytes = encode_quorum_purged(at(3, 9));
    for len in 0..bytes.len() {
        assert_ne!(decode_quorum_purged(&bytes[..len]), Ok(at(3, 9)), "{len}");
    }
}

#[test]
fn one_kind_is_not_read_as_another() {
    let fact = MetadataRecord::FeatureLevelRaised { level: 1 }.encode();
    assert!(matches!(QuorumEntry::decode(&fact), Err(FrameError::UnknownKind { kind: 4, .. })));
    let vote = votes().remove(0).encode();
    assert!(matches!(QuorumSnapshot::decode(&vote), Err(FrameError::UnknownKind { kind: VOTE, .. })));
    assert!(matches!(decode_quorum_purged(&vote), Err(FrameError::UnknownKind { kind: VOTE, .. })));
    let entry = entries().remove(0).encode();
    assert!(matches!(QuorumVote::decode(&entry), Err(FrameError::UnknownKind { kind: BLANK, .. })));
}

#[test]
fn fields_that_break_their_rule_are_named() {
    let entry = |message: wire::QuorumEntry, kind| QuorumEntry::decode(&encode_frame(kind, 0, &message));
    let nameless = wire::QuorumEntry::default();
    assert!(matches!(entry(nameless, BLANK), Err(FrameError::Invalid { field: "position", .. })));
    let empty = wire::QuorumEntry { at: Some(at(1, 1).to_wire()), ..wire::QuorumEntry::default() };
    assert!(matches!(entry(empty.clone(), PROPOSAL), Err(FrameError::Invalid { field: "records", .. })));
    assert!(matches!(entry(empty.clone(), MEMBERS), Err(FrameError::Invalid { field: "members", .. })));
    let stranger = wire::QuorumVoters { nodes: vec![4] };
    let members = wire::QuorumMembers { configs: vec![stranger], ..members().to_wire() };
    let odd = wire::QuorumEntry { members: Some(members), ..empty.clone() };
    assert!(matches!(entry(odd, MEMBERS), Err(FrameError::Invalid { field: "configs", .. })));
    let twice = wire::QuorumNode { voter: Some(voter(1).to_wire()), address: String::new() };
    let members = wire::QuorumMembers { configs: vec![], nodes: vec![twice.clone(), twice] };
    let odd = wire::QuorumEntry { members: Some(members), ..empty };
    assert!(matches!(entry(odd, MEMBERS), Err(FrameError::Invalid { field: "nodes", .. })));
    let far = QuorumPosition { index: u64::MAX, ..at(1, 1) };
    assert!(matches!(
        decode_quorum_purged(&encode_quorum_purged(far)),
        Err(FrameError::Invalid { field: "index", .. })
    ));
}

fn requests() -> Vec<QuorumRequest> {
    let ballot = QuorumBallot { term: 9, candidate: voter(3), elected: true };
    let asks = [
        QuorumAsk::Append { previous: None, entries: Vec::new(), commit: None },
        QuorumAsk::Append { previous: Some(at(3, 40)), entries: entries(), commit: Some(at(2, 12)) },
        QuorumAsk::Vote { last: Some(at(3, 40)) },
        QuorumAsk::Snapshot(snapshots().remove(1).encode().into()),
    ];
    asks.into_iter().map(|ask| QuorumRequest { to: voter(2), ballot, ask }).collect()
}

fn answers() -> Vec<QuorumAnswer> {
    let ballot = QuorumBallot { term: 9, candidate: voter(3), elected: false };
    vec![
        QuorumAnswer::Appended,
        QuorumAnswer::AppendedUpTo(Some(at(3, 4))),
        QuorumAnswer::AppendedUpTo(None),
        QuorumAnswer::Conflict,
        QuorumAnswer::Newer(ballot),
        QuorumAnswer::Voted { ballot, granted: true, last: Some(at(3, 4)) },
        QuorumAnswer::Installed(ballot),
    ]
}

#[test]
fn what_voters_say_reads_back_and_no_cut_of_it_does() {
    for request in requests() {
        let bytes = request.encode();
        assert_eq!(QuorumRequest::decode(&bytes).as_ref(), Ok(&request));
        for len in 0..bytes.len() {
            assert_ne!(QuorumRequest::decode(&bytes[..len]).as_ref(), Ok(&request), "{len}");
        }
    }
    for answer in answers() {
        let bytes = answer.encode();
        assert_eq!(QuorumAnswer::decode(&bytes).as_ref(), Ok(&answer));
        for len in 0..bytes.len() {
            assert_ne!(QuorumAnswer::decode(&bytes[..len]).as_ref(), Ok(&answer), "{len}");
        }
    }
}

#[test]
fn no_flipped_byte_panics() {
    let requests = requests().into_iter().map(|request| request.encode());
    let answers = answers().into_iter().map(|answer| answer.encode());
    for bytes in requests.chain(answers) {
        for position in 0..bytes.len() {
            for value in [0x00, 0x7f, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[position] = value;
                let _any_request = QuorumRequest::decode(&damaged);
                let _any_answer = QuorumAnswer::decode(&damaged);
            }
        }
    }
}
