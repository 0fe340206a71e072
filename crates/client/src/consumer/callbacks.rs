//! What an application may want to do when partitions come and go.

use futures::future::BoxFuture;

use super::{AssignedPartition, ConsumerHandle};

/// Told when partitions come and go. Every method has a default that does nothing.
///
/// They run in the background, one at a time, and not inside of a poll: records of other partitions are handed out meanwhile.
/// Heartbeats go on whatever they do. A callback that is not done within three quarters of the rebalance timeout is given up.
pub trait RebalanceCallbacks: Send {
    /// These partitions were assigned. No record of them is handed out before this is done: the place to
    /// [`ConsumerHandle::seek`] or [`ConsumerHandle::pause`].
    fn assigned<'a>(
        &'a mut self,
        group: &'a ConsumerHandle,
        partitions: &'a [AssignedPartition],
    ) -> BoxFuture<'a, ()> {
        let _ = (group, partitions);
        Box::pin(std::future::ready(()))
    }

    /// These partitions go to other members. It is called once the application has come back for more records, or waits for
    /// them, so it is done with what it was handed of them; no more comes. With automatic commits that is committed by now;
    /// otherwise this is the place to commit. The group waits for it: only then does the broker hear that they were let go.
    fn revoked<'a>(
        &'a mut self,
        group: &'a ConsumerHandle,
        partitions: &'a [AssignedPartition],
    ) -> BoxFuture<'a, ()> {
        let _ = (group, partitions);
        Box::pin(std::future::ready(()))
    }

    /// These partitions are gone without having been let go: the broker took the consumer for dead, or the application did not
    /// come back for records in time. Others may have them already; commits for them are refused.
    fn lost<'a>(
        &'a mut self,
        group: &'a ConsumerHandle,
        partitions: &'a [AssignedPartition],
    ) -> BoxFuture<'a, ()> {
        let _ = (group, partitions);
        Box::pin(std::future::ready(()))
    }
}

/// No callbacks.
#[derive(Debug)]
pub(super) struct Silent;

impl RebalanceCallbacks for Silent {}
