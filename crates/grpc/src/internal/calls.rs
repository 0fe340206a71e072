//! What brokers ask of each other and what they answer, as messages.

use bytes::Bytes;
use millrace_broker::{
    Greeted, Greeting, HeartbeatAnswer, MetadataRecord, PeerAnswer, PeerCall, PeerHeartbeat, PeerRequest,
    ProposalOutcome, Proposed, ReplicaTail,
};
use millrace_proto::internal;
use millrace_proto::internal::decide_answer::Answer;
use millrace_proto::internal::decide_call::Request;
use millrace_proto::internal::proposal_outcome::Outcome;
use millrace_types::ClusterId;
use millrace_types::limits::PARTITIONS_PER_BROKER_MAX;

use super::commands::{command, to_command};
use super::fetches::{to_fetch_call, to_records_call};
use super::wire::{
    Malformed, api_error, broker_epoch, bytes_of, cluster, leader_epoch, node, offset, partition, shortened,
    to_partition, to_voter, voter,
};
use crate::error_map::error_in_answer;

/// A call as it travels.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Message {
    /// By the connection for what decides.
    Decide(internal::DecideCall),
    /// By the connection for records.
    Fetch(internal::FetchCall),
    /// By the same.
    Records(internal::RecordsCall),
}

impl From<PeerCall> for Message {
    fn from(call: PeerCall) -> Message {
        let request = match call.request {
            PeerRequest::Fetch(fetch) => {
                return Message::Fetch(to_fetch_call(call.cluster, call.from, fetch));
            }
            PeerRequest::Records(question) => {
                return Message::Records(to_records_call(call.cluster, call.from, question));
            }
            PeerRequest::Greet(greeting) => Request::Greeting(internal::Greeting {
                voter: greeting.voter.map(to_voter),
                internal: greeting.internal,
            }),
            PeerRequest::Propose(commands) => {
                let commands = commands.into_iter().map(to_command).collect();
                Request::Proposals(internal::Proposals { commands })
            }
            PeerRequest::Heartbeat(heartbeat) => Request::Heartbeat(internal::Heartbeat {
                node: heartbeat.node.0,
                epoch: heartbeat.epoch.0,
                applied: heartbeat.applied,
                draining: heartbeat.draining,
            }),
            PeerRequest::Tails(partitions) => {
                let partitions = partitions.into_iter().map(to_partition).collect();
                Request::Tails(internal::TailsQuestion { partitions })
            }
        };
        Message::Decide(internal::DecideCall {
            cluster: to_cluster(call.cluster),
            from: call.from.0,
            request: Some(request),
        })
    }
}

/// No bytes for who does not know the cluster yet.
pub(super) fn to_cluster(cluster: Option<ClusterId>) -> Bytes {
    cluster.map(|id| bytes_of(id.0)).unwrap_or_default()
}

/// What another broker asks, but for records.
pub(crate) fn decide_call(message: internal::DecideCall) -> Result<PeerCall, Malformed> {
    let request = match message.request.ok_or(Malformed::missing("request"))? {
        Request::Greeting(greeting) => PeerRequest::Greet(Greeting {
            voter: greeting.voter.as_ref().map(voter).transpose()?,
            internal: greeting.internal,
        }),
        Request::Proposals(proposals) => {
            PeerRequest::Propose(proposals.commands.into_iter().map(command).collect::<Result<_, _>>()?)
        }
        Request::Heartbeat(heartbeat) => PeerRequest::Heartbeat(PeerHeartbeat {
            node: node("node", heartbeat.node)?,
            epoch: broker_epoch("epoch", heartbeat.epoch)?,
            applied: heartbeat.applied,
            draining: heartbeat.draining,
        }),
        Request::Tails(question) => {
            let (count, max) = (question.partitions.len(), PARTITIONS_PER_BROKER_MAX as usize);
            if count > max {
                return Err(too_many(count, max));
            }
            let partitions = question.partitions.into_iter().map(|at| partition(Some(at)));
            PeerRequest::Tails(partitions.collect::<Result<_, _>>()?)
        }
    };
    let cluster = match (&*message.cluster, &request) {
        ([], PeerRequest::Greet(_)) => None,
        (bytes, _) => Some(cluster(bytes)?),
    };
    Ok(PeerCall { cluster, from: node("from", message.from)?, request })
}

pub(super) fn too_many(partitions: usize, max: usize) -> Malformed {
    Malformed::new("partitions", format!("{partitions}, {max} at most"))
}

/// The answer as it travels; `None` if it is one of records.
pub(crate) fn to_decide_answer(answer: PeerAnswer) -> Option<internal::DecideAnswer> {
    let answer = match answer {
        PeerAnswer::Fetched(_) | PeerAnswer::Records(_) => return None,
        PeerAnswer::Greeted(greeted) => Answer::Greeted(internal::Greeted {
            cluster: bytes_of(greeted.cluster.0),
            leader: greeted.leader.map(|(node, internal)| internal::QuorumLeader { node: node.0, internal }),
        }),
        PeerAnswer::Proposed(proposed) => Answer::Proposed(internal::Proposed {
            version: proposed.version,
            outcomes: proposed.outcomes.into_iter().map(to_outcome).collect(),
        }),
        PeerAnswer::Heartbeat(answer) => Answer::Heartbeat(internal::HeartbeatAnswer {
            registered: answer.registered,
            active: answer.active,
            may_stop: answer.may_stop,
        }),
        PeerAnswer::Tails(tails) => {
            let tail = |tail: ReplicaTail| internal::Tail {
                at: Some(to_partition(tail.at)),
                last_epoch: tail.last_epoch.0,
                end: tail.end.get(),
            };
            Answer::Tails(internal::Tails { tails: tails.into_iter().map(tail).collect() })
        }
    };
    Some(internal::DecideAnswer { answer: Some(answer) })
}

fn to_outcome(outcome: ProposalOutcome) -> internal::ProposalOutcome {
    let outcome = match outcome {
        Ok(records) => {
            let records = records.iter().map(|record| record.encode().into()).collect();
            Outcome::Records(internal::MetadataRecords { records })
        }
        Err(error) => Outcome::Refused(error_in_answer(shortened(error))),
    };
    internal::ProposalOutcome { outcome: Some(outcome) }
}

/// What another broker answers, but for records.
pub(crate) fn decide_answer(message: internal::DecideAnswer) -> Result<PeerAnswer, Malformed> {
    Ok(match message.answer.ok_or(Malformed::missing("answer"))? {
        Answer::Greeted(greeted) => {
            let leader = greeted.leader.map(|leader| Ok((node("leader", leader.node)?, leader.internal)));
            PeerAnswer::Greeted(Greeted { cluster: cluster(&greeted.cluster)?, leader: leader.transpose()? })
        }
        Answer::Proposed(proposed) => PeerAnswer::Proposed(Proposed {
            version: proposed.version,
            outcomes: proposed.outcomes.into_iter().map(outcome).collect::<Result<_, _>>()?,
        }),
        Answer::Heartbeat(answer) => PeerAnswer::Heartbeat(HeartbeatAnswer {
            registered: answer.registered,
            active: answer.active,
            may_stop: answer.may_stop,
        }),
        Answer::Tails(tails) => {
            PeerAnswer::Tails(tails.tails.into_iter().map(tail).collect::<Result<_, _>>()?)
        }
    })
}

fn outcome(message: internal::ProposalOutcome) -> Result<ProposalOutcome, Malformed> {
    Ok(match message.outcome.ok_or(Malformed::missing("outcome"))? {
        Outcome::Refused(error) => Err(api_error(error)),
        Outcome::Records(records) => {
            let decode = |bytes: &Bytes| {
                MetadataRecord::decode(bytes).map_err(|error| Malformed::new("records", error))
            };
            Ok(records.records.iter().map(decode).collect::<Result<_, _>>()?)
        }
    })
}

fn tail(message: internal::Tail) -> Result<ReplicaTail, Malformed> {
    Ok(ReplicaTail {
        at: partition(message.at)?,
        last_epoch: leader_epoch("last_epoch", message.last_epoch)?,
        end: offset("end", message.end)?,
    })
}

#[cfg(test)]
mod tests;
