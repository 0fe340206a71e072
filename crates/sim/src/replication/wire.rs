//! Messages as values, and the records as the oracle reads them: by their place in the bytes, not by the code under test.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use millrace_metadata::Losses;
use millrace_record::{Batch, BatchBuilder, BatchOptions, Checks, NO_HEADERS, Origin, ProducerStamp};
use millrace_replication::{
    Alter, AlterAnswer, Brokers, Fetch, Fetched, PartitionView,
    reads::{Position, Served},
};
use millrace_types::limits::BATCH_BYTES_MAX;
use millrace_types::{BrokerEpoch, NodeId, Offset, ProducerEpoch, ProducerId, TimestampMs, TopicId};

/// What a record is known by: no two appends have the same.
pub(crate) type Value = u64;

/// A record of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    pub(crate) epoch: i32,
}

impl Entry {
    /// In the place of one that was deleted.
    pub(crate) const DELETED: Entry = Entry { value: 0, epoch: -1 };
}

/// A client's request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct RequestNo(pub(crate) u64);

/// What is known of the cluster at one version of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    pub(crate) version: u64,
    /// The partition as it is now: of one name, under one id after the other.
    pub(crate) view: Arc<PartitionView>,
    pub(crate) brokers: Arc<Brokers>,
}

/// Who wants to be a broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Registration {
    pub(crate) node: NodeId,
    /// Which run of it: an answer may be lost.
    pub(crate) run: u64,
    /// What its logs may have lost.
    pub(crate) losses: Losses,
    /// Which disk it is: another one is another data directory.
    pub(crate) disk: u64,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Message {
    // To brokers.
    Fetch(Fetch),
    Fetched(Fetched, Bytes),
    Altered(TopicId, AlterAnswer),
    Registered { run: u64, epoch: BrokerEpoch },
    Metadata(Arc<Known>),
    Produce { from: usize, request: RequestNo, topic: TopicId, batch: Produced },
    Read { from: usize, request: RequestNo, topic: TopicId, position: Position },
    Latest { from: usize, request: RequestNo, topic: TopicId },
    // To the controller.
    Alter(Alter),
    Register(Registration),
    Heartbeat { node: NodeId, epoch: BrokerEpoch, version: u64, stopping: bool },
    // To clients.
    Answer { client: usize, request: RequestNo, topic: TopicId, node: NodeId, answer: Answer },
}

/// What a producer sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Produced {
    pub(crate) value: Value,
    /// Its producer id and sequence, if it is idempotent.
    pub(crate) stamp: Option<(i64, i32)>,
    pub(crate) acks_all: bool,
}

/// What a client hears.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Answer {
    Committed(Offset),
    /// The record was not written and will not be.
    No,
    /// Nobody knows.
    InDoubt,
    Read {
        asked: Position,
        served: Served,
        entries: Vec<Entry>,
    },
    Latest {
        epoch: i32,
        offset: Offset,
    },
    LatestUnknown,
}

/// Where a message goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    Node(NodeId),
    Controller,
    Client(usize),
}

/// A batch of one record.
pub(crate) fn batch(produced: Produced) -> Result<Batch, String> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let value = produced.value.to_be_bytes();
    builder
        .append(TimestampMs(1_000), None, Some(value.as_slice()), NO_HEADERS)
        .map_err(|error| error.to_string())?;
    if let Some((id, sequence)) = produced.stamp {
        let id = ProducerId(id);
        builder.set_producer(ProducerStamp { id, epoch: ProducerEpoch(0), base_sequence: sequence });
    }
    let checks = Checks { bytes_max: BATCH_BYTES_MAX, origin: Origin::Client };
    let built = builder.build().map_err(|error| error.to_string())?;
    Batch::check(built.into_bytes(), &checks).map_err(|error| error.to_string())
}

/// The records in stored batches, each with its offset. Every batch holds one record: a value of eight bytes, then the number of
/// its headers, none.
pub(crate) fn entries(bytes: &[u8]) -> Result<BTreeMap<Offset, Entry>, String> {
    let mut entries = BTreeMap::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let field = |at: usize, len: usize| rest.get(at..at + len).ok_or("a batch is cut");
        let base = i64::from_be_bytes(field(0, 8)?.try_into().map_err(|_| "no offset")?);
        let length = i32::from_be_bytes(field(8, 4)?.try_into().map_err(|_| "no length")?);
        let epoch = i32::from_be_bytes(field(12, 4)?.try_into().map_err(|_| "no epoch")?);
        let size = 12 + usize::try_from(length).map_err(|_| "a negative length")?;
        let value = size.checked_sub(9).ok_or("a batch without a value")?;
        let value = u64::from_be_bytes(field(value, 8)?.try_into().map_err(|_| "no value")?);
        let base = Offset::new(base).ok_or("a negative offset")?;
        entries.insert(base, Entry { value, epoch });
        rest = rest.get(size..).ok_or("a batch is cut")?;
    }
    Ok(entries)
}
