//! What the fuzz targets call: the conversions of a door, from the bytes of a message to the broker's words and back.
//!
//! Compiled only where the fuzzer builds (`cfg(fuzzing)`), so that no handler need be public.

use bytes::Bytes;
use millrace_broker::{ConnectionId, Fetched};
use millrace_env::Monotonic;
use millrace_proto::v1;
use millrace_types::Offset;
use prost::Message as _;

use crate::caller::{Caller, Peer};
use crate::decode::{Wanted, decode_partition};
use crate::group_parts;
use crate::handlers::{
    commit_offsets, fetch, fetch_offsets, list_offsets, produce, reset_group_offsets, subscribe,
};

/// Takes a produce apart; true if the broker would have been asked.
pub fn produce(message: Bytes) -> bool {
    let bytes = message.len();
    let Ok(request) = v1::ProduceRequest::decode(message) else { return false };
    matches!(produce::take(request, bytes), Ok((_, Some(_))))
}

/// Takes a fetch apart; how many of its partitions can be read.
pub fn fetch(message: Bytes) -> usize {
    let Ok(request) = v1::FetchRequest::decode(message) else { return 0 };
    request.partitions.iter().flat_map(fetch::question).count()
}

/// Takes a subscription apart; how many of its partitions can be read.
pub fn subscribe(message: Bytes) -> usize {
    let Ok(request) = v1::SubscribeRequest::decode(message) else { return 0 };
    request.partitions.iter().flat_map(subscribe::question).count()
}

/// Takes the requests about offsets apart, whichever of them the bytes are.
pub fn offsets(message: Bytes) -> usize {
    let listed = v1::ListOffsetsRequest::decode(message.clone()).unwrap_or_default();
    let committed = v1::CommitOffsetsRequest::decode(message.clone()).unwrap_or_default();
    let fetched = v1::FetchOffsetsRequest::decode(message).unwrap_or_default();
    listed.queries.iter().flat_map(list_offsets::query).count()
        + committed.offsets.iter().flat_map(commit_offsets::commit).count()
        + fetched.partitions.iter().flat_map(fetch_offsets::question).count()
}

/// Takes the messages of a member, and a reset, apart, whichever of them the bytes are; whether any can be read.
pub fn groups(message: Bytes) -> bool {
    use v1::group_member_request::Request;
    let said = v1::GroupMemberRequest::decode(message.clone()).unwrap_or_default();
    let member = match said.request {
        Some(Request::Join(join)) => group_parts::join(join, &nobody()).is_ok(),
        Some(Request::Heartbeat(heartbeat)) => {
            heartbeat.progress.is_some_and(|progress| group_parts::progress(progress).is_ok())
                && heartbeat.subscription.is_none_or(|wanted| group_parts::subscription(wanted).is_ok())
        }
        _ => false,
    };
    let reset = v1::ResetGroupOffsetsRequest::decode(message.clone());
    let committer = v1::MemberRef::decode(message);
    member
        || reset.is_ok_and(|reset| reset_group_offsets::reset(reset).is_ok())
        || committer.is_ok_and(|member| group_parts::committer(Some(member)).is_ok())
}

/// Takes a message between brokers apart, and holds what can be read against what is written of it.
pub fn internal_message(kind: u8, message: Bytes) -> bool {
    crate::internal::read_and_write(kind, message)
}

fn nobody() -> Caller {
    let peer = Peer { connection: ConnectionId(0), host: "".into() };
    Caller::of(&http::HeaderMap::new(), &peer, Monotonic::default())
}

/// Turns stored batches into plain records, as a fetch that asks for records does; answers where the next one starts.
pub fn stored_batches(batches: Bytes, from: Offset, end: Option<Offset>, bytes_max: usize) -> Option<Offset> {
    let fetched = Fetched {
        extents: vec![batches],
        next_offset: from,
        high_watermark: Offset::MAX,
        last_stable: Offset::MAX,
        log_start: Offset::ZERO,
    };
    decode_partition(fetched, Wanted { from, end, bytes_max }).ok().map(|decoded| decoded.next_offset)
}
