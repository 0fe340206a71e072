//! Counts what a message would become before it is decoded.
//!
//! Two bytes on the wire can say "one more empty record", which is a hundred bytes in memory: 100 MiB of them would be
//! gigabytes. So the elements of repeated fields are counted on the wire, and a message with too many is refused.

#![deny(clippy::indexing_slicing)]

use millrace_types::limits::{MEMBER_MESSAGE_ELEMENTS_MAX, MESSAGE_ELEMENTS_MAX, PARTITIONS_PER_REQUEST_MAX};

use crate::{internal, v1};

/// Why a message is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// It has more elements than one message may have.
    #[error("the message repeats more than {max} things (topics, partitions, records, headers) together")]
    Elements {
        /// The most that are allowed.
        max: usize,
    },
    /// It is no protobuf.
    #[error("the message is malformed protobuf")]
    Malformed,
}

/// A field whose occurrences count, and the fields to be counted inside of it.
#[derive(Debug)]
pub struct Repeated {
    field: u64,
    inner: &'static [Repeated],
}

const fn repeated(field: u64, inner: &'static [Repeated]) -> Repeated {
    Repeated { field, inner }
}

/// Which fields of a message have to be counted before it is decoded.
pub trait Shape {
    /// The fields; none for messages that cannot grow, or that only come from a broker.
    const REPEATED: &'static [Repeated] = &[];
    /// How many of them there may be together.
    const ELEMENTS_MAX: usize = MESSAGE_ELEMENTS_MAX;
}

impl Shape for v1::ProduceRequest {
    // partitions -> record list -> records -> headers
    const REPEATED: &'static [Repeated] = &[repeated(1, &[repeated(4, &[repeated(1, &[repeated(3, &[])])])])];
}

impl Shape for v1::FetchRequest {
    const REPEATED: &'static [Repeated] = &[repeated(1, &[])];
}

impl Shape for v1::SubscribeRequest {
    const REPEATED: &'static [Repeated] = &[repeated(1, &[])];
}

impl Shape for v1::ListOffsetsRequest {
    const REPEATED: &'static [Repeated] = &[repeated(1, &[])];
}

impl Shape for v1::CommitOffsetsRequest {
    const REPEATED: &'static [Repeated] = &[repeated(2, &[])];
}

impl Shape for v1::FetchOffsetsRequest {
    const REPEATED: &'static [Repeated] = &[repeated(2, &[])];
}

impl Shape for v1::CreateTopicRequest {
    const REPEATED: &'static [Repeated] = &[repeated(4, &[])];
}

impl Shape for v1::AlterTopicRequest {
    const REPEATED: &'static [Repeated] = &[repeated(2, &[])];
}

impl Shape for v1::DeleteRecordsRequest {
    const REPEATED: &'static [Repeated] = &[repeated(1, &[])];
}

impl Shape for v1::ReassignPartitionsRequest {
    // partitions; their replicas are packed numbers.
    const REPEATED: &'static [Repeated] = &[repeated(1, &[])];
    const ELEMENTS_MAX: usize = PARTITIONS_PER_REQUEST_MAX;
}

/// What a member says that it owns: topics.
const OWNED: &[Repeated] = &[repeated(3, &[repeated(1, &[])])];

impl Shape for v1::GroupMemberRequest {
    // join -> (subscription -> names, resume -> owned), heartbeat -> (progress -> owned, subscription -> names)
    const REPEATED: &'static [Repeated] = &[
        repeated(1, &[repeated(5, &[repeated(1, &[])]), repeated(8, OWNED)]),
        repeated(2, &[repeated(1, OWNED), repeated(2, &[repeated(1, &[])])]),
    ];
    const ELEMENTS_MAX: usize = MEMBER_MESSAGE_ELEMENTS_MAX;
}

impl Shape for v1::ResetGroupOffsetsRequest {
    const REPEATED: &'static [Repeated] = &[repeated(2, &[])];
    const ELEMENTS_MAX: usize = MEMBER_MESSAGE_ELEMENTS_MAX;
}

macro_rules! shapeless {
    ($($message:ident)*) => { $(impl Shape for v1::$message {})* };
}

shapeless! {
    CreatePartitionsRequest AlterTopicResponse CreatePartitionsResponse DeleteRecordsResponse
    InitProducerRequest DeleteTopicRequest ListTopicsRequest DescribeTopicRequest DescribeClusterRequest
    InitProducerResponse ProduceResponse FetchResponse SubscribeResponse ListOffsetsResponse CommitOffsetsResponse
    FetchOffsetsResponse CreateTopicResponse DeleteTopicResponse ListTopicsResponse DescribeTopicResponse DescribeClusterResponse
    ClusterStatusRequest PlanMovesRequest ElectLeaderRequest RemoveBrokerRequest
    ClusterStatusResponse PlanMovesResponse ReassignPartitionsResponse ElectLeaderResponse RemoveBrokerResponse
    ListGroupsRequest DescribeGroupRequest DeleteGroupRequest GroupLagRequest
    GroupMemberResponse ListGroupsResponse DescribeGroupResponse DeleteGroupResponse ResetGroupOffsetsResponse GroupLagResponse
}

impl Shape for internal::DecideCall {
    // proposals -> commands -> (maps, changes, damaged, isr, ends); tails -> partitions
    const REPEATED: &'static [Repeated] = &[
        repeated(
            4,
            &[repeated(
                1,
                &[
                    repeated(1, &[repeated(5, &[])]),
                    repeated(3, &[repeated(2, &[])]),
                    repeated(4, &[repeated(2, &[])]),
                    repeated(7, &[repeated(8, &[])]),
                    repeated(12, &[repeated(6, &[])]),
                    repeated(16, &[repeated(2, &[])]),
                ],
            )],
        ),
        repeated(6, &[repeated(1, &[])]),
    ];
}

impl Shape for internal::DecideAnswer {
    // proposed -> outcomes -> records -> each; tails -> each
    const REPEATED: &'static [Repeated] =
        &[repeated(2, &[repeated(2, &[repeated(1, &[repeated(1, &[])])])]), repeated(4, &[repeated(1, &[])])];
}

impl Shape for internal::FetchCall {
    const REPEATED: &'static [Repeated] = &[repeated(5, &[])];
    const ELEMENTS_MAX: usize = PARTITIONS_PER_REQUEST_MAX;
}

impl Shape for internal::FetchAnswer {
    const REPEATED: &'static [Repeated] = &[repeated(1, &[])];
    const ELEMENTS_MAX: usize = PARTITIONS_PER_REQUEST_MAX;
}

impl Shape for internal::RecordsCall {}
impl Shape for internal::RecordsAnswer {}
impl Shape for internal::QuorumCall {}
impl Shape for internal::QuorumPart {}
impl Shape for internal::QuorumReply {}

/// Refuses a message of type `M` that would become too many elements.
///
/// # Errors
/// [`ShapeError`].
pub fn check_shape<M: Shape>(message: &[u8]) -> Result<(), ShapeError> {
    let mut budget = Budget { left: M::ELEMENTS_MAX, max: M::ELEMENTS_MAX };
    count(message, M::REPEATED, &mut budget)
}

struct Budget {
    left: usize,
    max: usize,
}

fn count(mut rest: &[u8], repeated: &'static [Repeated], budget: &mut Budget) -> Result<(), ShapeError> {
    if repeated.is_empty() {
        return Ok(());
    }
    while !rest.is_empty() {
        let (key, after) = varint(rest)?;
        let (payload, after) = match key & 7 {
            0 => (None, varint(after)?.1),
            1 => (None, after.get(8..).ok_or(ShapeError::Malformed)?),
            5 => (None, after.get(4..).ok_or(ShapeError::Malformed)?),
            2 => {
                let (length, after) = varint(after)?;
                let length = usize::try_from(length).map_err(|_| ShapeError::Malformed)?;
                let (payload, after) = after.split_at_checked(length).ok_or(ShapeError::Malformed)?;
                (Some(payload), after)
            }
            // Groups, which our messages do not have and nobody writes any more.
            _ => return Err(ShapeError::Malformed),
        };
        rest = after;
        let Some(payload) = payload else { continue };
        if let Some(counted) = repeated.iter().find(|repeated| repeated.field == key >> 3) {
            let elements = || ShapeError::Elements { max: budget.max };
            budget.left = budget.left.checked_sub(1).ok_or_else(elements)?;
            count(payload, counted.inner, budget)?;
        }
    }
    Ok(())
}

/// Base 128, least significant first, ten bytes at most.
fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), ShapeError> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((value, bytes.get(index + 1..).unwrap_or_default()));
        }
    }
    Err(ShapeError::Malformed)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message;

    use super::*;

    const TOO_MANY: ShapeError = ShapeError::Elements { max: MESSAGE_ELEMENTS_MAX };

    fn produce(records: usize, headers: usize) -> Vec<u8> {
        let header = v1::Header { key: "k".to_owned(), value: None };
        let record = v1::Record { headers: vec![header; headers], ..Default::default() };
        let list = v1::RecordList { records: vec![record; records] };
        let data = Some(v1::partition_produce::Data::Records(list));
        let partition = v1::PartitionProduce { partition: 3, data, ..Default::default() };
        v1::ProduceRequest { partitions: vec![partition], ..Default::default() }.encode_to_vec()
    }

    #[test]
    fn elements_are_counted_at_every_depth() {
        // The partition and its list count as well.
        let most = MESSAGE_ELEMENTS_MAX - 2;
        assert_eq!(check_shape::<v1::ProduceRequest>(&produce(most, 0)), Ok(()));
        assert_eq!(check_shape::<v1::ProduceRequest>(&produce(most + 1, 0)), Err(TOO_MANY));
        assert_eq!(check_shape::<v1::ProduceRequest>(&produce(most / 2, 1)), Ok(()));
        assert_eq!(check_shape::<v1::ProduceRequest>(&produce(most / 2 + 1, 1)), Err(TOO_MANY));
    }

    #[test]
    fn a_batch_is_one_element_however_large() {
        let data = Some(v1::partition_produce::Data::Batch(Bytes::from(vec![0x0a; 1 << 20])));
        let partition = v1::PartitionProduce { data, ..Default::default() };
        let message = v1::ProduceRequest { partitions: vec![partition], ..Default::default() };
        assert_eq!(check_shape::<v1::ProduceRequest>(&message.encode_to_vec()), Ok(()));
    }

    #[test]
    fn a_bomb_of_empty_partitions_is_refused() {
        let bomb = [0x0a, 0x00].repeat(MESSAGE_ELEMENTS_MAX + 1);
        assert_eq!(check_shape::<v1::ProduceRequest>(&bomb), Err(TOO_MANY));
        assert_eq!(check_shape::<v1::FetchRequest>(&bomb), Err(TOO_MANY));
    }

    #[test]
    fn whatever_prost_decodes_is_not_called_malformed() {
        let whole = produce(3, 2);
        for length in 0..=whole.len() {
            let cut = &whole[..length];
            if v1::ProduceRequest::decode(cut).is_ok() {
                assert_eq!(check_shape::<v1::ProduceRequest>(cut), Ok(()), "cut at {length}");
            }
        }
    }

    fn member(topics: usize) -> (v1::MemberProgress, v1::GroupSubscription) {
        let topics = vec![v1::TopicPartitions { topic: None, partitions: vec![1, 2, 3] }; topics];
        let names = vec![String::new(); topics.len()];
        let owned = Some(v1::OwnedPartitions { topics });
        let progress = v1::MemberProgress { owned, ..Default::default() };
        (progress, v1::GroupSubscription { topics: names, ..Default::default() })
    }

    #[test]
    fn what_a_member_names_is_counted_in_every_message_of_it() {
        use v1::group_member_request::Request;
        let too_many = Err(ShapeError::Elements { max: MEMBER_MESSAGE_ELEMENTS_MAX });
        for (topics, expected) in
            [(MEMBER_MESSAGE_ELEMENTS_MAX / 2 - 3, Ok(())), (MEMBER_MESSAGE_ELEMENTS_MAX / 2 + 1, too_many)]
        {
            let (progress, subscription) = member(topics);
            let join = v1::JoinGroup {
                subscription: Some(subscription.clone()),
                resume: Some(progress.clone()),
                ..Default::default()
            };
            let heartbeat = v1::GroupHeartbeat { progress: Some(progress), subscription: Some(subscription) };
            for request in [Request::Join(join), Request::Heartbeat(heartbeat)] {
                let message = v1::GroupMemberRequest { request: Some(request) }.encode_to_vec();
                assert_eq!(check_shape::<v1::GroupMemberRequest>(&message), expected);
            }
        }
        let topics = vec![v1::TopicPartitions::default(); MEMBER_MESSAGE_ELEMENTS_MAX + 1];
        let reset = v1::ResetGroupOffsetsRequest { topics, ..Default::default() }.encode_to_vec();
        assert_eq!(check_shape::<v1::ResetGroupOffsetsRequest>(&reset), too_many);
    }

    #[test]
    fn groups_and_endless_numbers_are_malformed() {
        for bytes in [&[0x0b, 0x0c][..], &[0xff; 11], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0x09, 1]] {
            assert_eq!(check_shape::<v1::ProduceRequest>(bytes), Err(ShapeError::Malformed), "{bytes:?}");
        }
    }
}
