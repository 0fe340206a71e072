//! What replicas fetch of each other, as messages.

use std::time::Duration;

use millrace_broker::{
    Fetch, FetchAnswer, FetchId, FetchRefusal, FollowerEpochEnd, FollowerFetched, PeerCall, PeerRequest,
    RecordsQuestion, ReplicaFetch, ReplicaFetched,
};
use millrace_proto::internal;
use millrace_proto::internal::replica_fetched::Answer;
use millrace_types::limits::{FETCH_BYTES_MAX, PARTITIONS_PER_REQUEST_MAX, PEER_FETCH_WAIT_MS_MAX};
use millrace_types::{ClusterId, NodeId, OffsetRange};

use super::calls::{to_cluster, too_many};
use super::wire::{Malformed, broker_epoch, cluster, leader_epoch, node, offset, partition, to_partition};

pub(super) fn to_fetch_call(
    cluster: Option<ClusterId>,
    from: NodeId,
    fetch: ReplicaFetch,
) -> internal::FetchCall {
    internal::FetchCall {
        cluster: to_cluster(cluster),
        from: from.0,
        wait_ms: u64::try_from(fetch.wait.as_millis()).unwrap_or(u64::MAX),
        bytes_max: fetch.bytes_max as u64,
        fetches: fetch.fetches.into_iter().map(to_fetch).collect(),
    }
}

fn to_fetch(fetch: Fetch) -> internal::ReplicaFetch {
    internal::ReplicaFetch {
        id: fetch.id.0,
        partition: Some(to_partition(fetch.partition)),
        replica: fetch.replica.0,
        broker_epoch: fetch.broker_epoch.0,
        leader_epoch: fetch.leader_epoch.0,
        next: fetch.next.get(),
        last_epoch: fetch.last_epoch.0,
        held: fetch.held.get(),
    }
}

/// What a follower asks.
pub(crate) fn fetch_call(message: internal::FetchCall) -> Result<PeerCall, Malformed> {
    if message.wait_ms > PEER_FETCH_WAIT_MS_MAX {
        let problem = format!("{}, {PEER_FETCH_WAIT_MS_MAX} at most", message.wait_ms);
        return Err(Malformed::new("wait_ms", problem));
    }
    let bytes_max = bytes_max(message.bytes_max)?;
    if message.fetches.len() > PARTITIONS_PER_REQUEST_MAX {
        return Err(too_many(message.fetches.len(), PARTITIONS_PER_REQUEST_MAX));
    }
    let fetch = ReplicaFetch {
        wait: Duration::from_millis(message.wait_ms),
        bytes_max,
        fetches: message.fetches.into_iter().map(fetch).collect::<Result<_, _>>()?,
    };
    Ok(PeerCall {
        cluster: Some(cluster(&message.cluster)?),
        from: node("from", message.from)?,
        request: PeerRequest::Fetch(fetch),
    })
}

fn bytes_max(bytes: u64) -> Result<usize, Malformed> {
    let too_large = || Malformed::new("bytes_max", format!("{bytes}, {FETCH_BYTES_MAX} at most"));
    usize::try_from(bytes).ok().filter(|bytes| *bytes <= FETCH_BYTES_MAX).ok_or_else(too_large)
}

fn fetch(message: internal::ReplicaFetch) -> Result<Fetch, Malformed> {
    Ok(Fetch {
        id: FetchId(message.id),
        partition: partition(message.partition)?,
        replica: node("replica", message.replica)?,
        broker_epoch: broker_epoch("broker_epoch", message.broker_epoch)?,
        leader_epoch: leader_epoch("leader_epoch", message.leader_epoch)?,
        next: offset("next", message.next)?,
        last_epoch: leader_epoch("last_epoch", message.last_epoch)?,
        held: offset("held", message.held)?,
    })
}

pub(super) fn to_records_call(
    cluster: Option<ClusterId>,
    from: NodeId,
    question: RecordsQuestion,
) -> internal::RecordsCall {
    internal::RecordsCall {
        cluster: to_cluster(cluster),
        from: from.0,
        partition: Some(to_partition(question.at)),
        start: question.offsets.start.get(),
        end: question.offsets.end.get(),
        bytes_max: question.bytes_max as u64,
    }
}

/// Which records a broker asks for whose own are damaged.
pub(crate) fn records_call(message: internal::RecordsCall) -> Result<PeerCall, Malformed> {
    let offsets = OffsetRange { start: offset("start", message.start)?, end: offset("end", message.end)? };
    let question = RecordsQuestion {
        at: partition(message.partition)?,
        offsets,
        bytes_max: bytes_max(message.bytes_max)?,
    };
    Ok(PeerCall {
        cluster: Some(cluster(&message.cluster)?),
        from: node("from", message.from)?,
        request: PeerRequest::Records(question),
    })
}

/// What a leader answers; records travel in the memory that they are in.
pub(crate) fn to_fetch_answer(fetched: Vec<ReplicaFetched>) -> internal::FetchAnswer {
    internal::FetchAnswer { fetched: fetched.into_iter().map(to_fetched).collect() }
}

fn to_fetched(fetched: ReplicaFetched) -> internal::ReplicaFetched {
    let answer = match fetched.answer.answer {
        FetchAnswer::Records { from, high_watermark, log_start } => Answer::Records(internal::Records {
            from: from.get(),
            high_watermark: high_watermark.get(),
            log_start: log_start.get(),
        }),
        FetchAnswer::Diverging(FollowerEpochEnd { epoch, end }) => {
            Answer::Diverging(internal::EpochEnd { epoch: epoch.0, end: end.get() })
        }
        FetchAnswer::BelowStart { log_start } => Answer::BelowStart(log_start.get()),
        FetchAnswer::Refused(refusal) => Answer::Refused(to_refusal(refusal).into()),
    };
    internal::ReplicaFetched {
        id: fetched.answer.id.0,
        partition: Some(to_partition(fetched.answer.partition)),
        leader_epoch: fetched.answer.leader_epoch.0,
        answer: Some(answer),
        batches: fetched.batches,
    }
}

fn to_refusal(refusal: FetchRefusal) -> internal::FetchRefusal {
    match refusal {
        FetchRefusal::OtherTopic => internal::FetchRefusal::OtherTopic,
        FetchRefusal::FencedLeaderEpoch => internal::FetchRefusal::FencedLeaderEpoch,
        FetchRefusal::UnknownLeaderEpoch => internal::FetchRefusal::UnknownLeaderEpoch,
        FetchRefusal::StaleBrokerEpoch => internal::FetchRefusal::StaleBrokerEpoch,
        FetchRefusal::NotAReplica => internal::FetchRefusal::NotAReplica,
        FetchRefusal::NotLeader => internal::FetchRefusal::NotLeader,
    }
}

/// What a leader has answered.
pub(crate) fn fetch_answer(message: internal::FetchAnswer) -> Result<Vec<ReplicaFetched>, Malformed> {
    message.fetched.into_iter().map(fetched).collect()
}

fn fetched(message: internal::ReplicaFetched) -> Result<ReplicaFetched, Malformed> {
    let answer = match message.answer.ok_or(Malformed::missing("answer"))? {
        Answer::Records(records) => FetchAnswer::Records {
            from: offset("from", records.from)?,
            high_watermark: offset("high_watermark", records.high_watermark)?,
            log_start: offset("log_start", records.log_start)?,
        },
        Answer::Diverging(end) => FetchAnswer::Diverging(FollowerEpochEnd {
            epoch: leader_epoch("epoch", end.epoch)?,
            end: offset("end", end.end)?,
        }),
        Answer::BelowStart(log_start) => {
            FetchAnswer::BelowStart { log_start: offset("below_start", log_start)? }
        }
        Answer::Refused(number) => FetchAnswer::Refused(refusal(number)?),
    };
    let answer = FollowerFetched {
        id: FetchId(message.id),
        partition: partition(message.partition)?,
        leader_epoch: leader_epoch("leader_epoch", message.leader_epoch)?,
        answer,
    };
    Ok(ReplicaFetched { answer, batches: message.batches })
}

fn refusal(number: i32) -> Result<FetchRefusal, Malformed> {
    Ok(match internal::FetchRefusal::try_from(number) {
        Ok(internal::FetchRefusal::OtherTopic) => FetchRefusal::OtherTopic,
        Ok(internal::FetchRefusal::FencedLeaderEpoch) => FetchRefusal::FencedLeaderEpoch,
        Ok(internal::FetchRefusal::UnknownLeaderEpoch) => FetchRefusal::UnknownLeaderEpoch,
        Ok(internal::FetchRefusal::StaleBrokerEpoch) => FetchRefusal::StaleBrokerEpoch,
        Ok(internal::FetchRefusal::NotAReplica) => FetchRefusal::NotAReplica,
        Ok(internal::FetchRefusal::NotLeader) => FetchRefusal::NotLeader,
        Ok(internal::FetchRefusal::Unspecified) | Err(_) => {
            return Err(Malformed::new("refused", format!("{number}, which has no meaning")));
        }
    })
}

#[cfg(test)]
mod tests;
