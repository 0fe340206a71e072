//! Counts what a message would become before it is decoded.
//!
//! Two bytes on the wire can say "one more empty record", which is a hundred bytes in memory: 100 MiB of them would be
//! gigabytes. So the elements of repeated fields are counted on the wire, and a message with too many is refused.

#![deny(clippy::indexing_slicing)]

use millrace_types::limits::MESSAGE_ELEMENTS_MAX;

use crate::v1;

/// Why a message is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// It has more elements than one message may have.
    #[error("the message has more than {MESSAGE_ELEMENTS_MAX} partitions, records and headers together")]
    Elements,
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

impl Shape for v1::GroupMemberRequest {
    // join -> subscription -> topics, join -> resume -> owned -> topics; heartbeat -> progress -> owned -> topics, -> subscription
    const REPEATED: &'static [Repeated] = &[
        repeated(1, &[repeated(5, &[repeated(1, &[])]), repeated(8, &[repeated(3, &[repeated(1, &[])])])]),
        repeated(2, &[repeated(1, &[repeated(3, &[repeated(1, &[])])]), repeated(2, &[repeated(1, &[])])]),
    ];
}

impl Shape for v1::ResetGroupOffsetsRequest {
    const REPEATED: &'static [Repeated] = &[repeated(2, &[])];
}

macro_rules! shapeless {
    ($($message:ident)*) => { $(impl Shape for v1::$message {})* };
}

shapeless! {
    CreatePartitionsRequest AlterTopicResponse CreatePartitionsResponse DeleteRecordsResponse
    InitProducerRequest DeleteTopicRequest ListTopicsRequest DescribeTopicRequest DescribeClusterRequest
    InitProducerResponse ProduceResponse FetchResponse SubscribeResponse ListOffsetsResponse CommitOffsetsResponse
    FetchOffsetsResponse CreateTopicResponse DeleteTopicResponse ListTopicsResponse DescribeTopicResponse DescribeClusterResponse
    ListGroupsRequest DescribeGroupRequest DeleteGroupRequest GroupLagRequest
    GroupMemberResponse ListGroupsResponse DescribeGroupResponse DeleteGroupResponse ResetGroupOffsetsResponse GroupLagResponse
}

/// Refuses a message of type `M` that would become too many elements.
///
/// # Errors
/// [`ShapeError`].
pub fn check_shape<M: Shape>(message: &[u8]) -> Result<(), ShapeError> {
    let mut left = MESSAGE_ELEMENTS_MAX;
    count(message, M::REPEATED, &mut left)
}

fn count(mut rest: &[u8], repeated: &'static [Repeated], left: &mut usize) -> Result<(), ShapeError> {
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
            *left = left.checked_sub(1).ok_or(ShapeError::Elements)?;
            count(payload, counted.inner, left)?;
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
        assert_eq!(check_shape::<v1::ProduceRequest>(&produce(most + 1, 0)), Err(ShapeError::Elements));
        assert_eq!(check_shape::<v1::ProduceRequest>(&produce(most / 2, 1)), Ok(()));
        assert_eq!(check_shape::<v1::ProduceRequest>(&produce(most / 2 + 1, 1)), Err(ShapeError::Elements));
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
        assert_eq!(check_shape::<v1::ProduceRequest>(&bomb), Err(ShapeError::Elements));
        assert_eq!(check_shape::<v1::FetchRequest>(&bomb), Err(ShapeError::Elements));
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

    #[test]
    fn groups_and_endless_numbers_are_malformed() {
        for bytes in [&[0x0b, 0x0c][..], &[0xff; 11], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0x09, 1]] {
            assert_eq!(check_shape::<v1::ProduceRequest>(bytes), Err(ShapeError::Malformed), "{bytes:?}");
        }
    }
}
