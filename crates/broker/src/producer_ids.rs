//! Producer ids, handed out from blocks that are taken by a metadata record first: none twice, whatever crashes.

use millrace_metadata::{Command, MetadataRecord};
use millrace_types::{ErrorCode, NodeId, ProducerId, limits};
use parking_lot::Mutex;

use crate::ApiError;
use crate::metadata::Metadata;

/// What is left of the current block. A restart forgets it; the next block begins behind it.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    left: Mutex<Left>,
    /// Held while a block is taken, so that a crowd takes one.
    refilling: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Left {
    next: i64,
    end: i64,
}

impl ProducerIds {
    /// An id that nobody had before. Not to be dropped half-way.
    ///
    /// # Errors
    /// As a proposal.
    pub(crate) async fn take(&self, node: NodeId, metadata: &Metadata) -> Result<ProducerId, ApiError> {
        loop {
            if let Some(id) = self.take_from_block() {
                return Ok(id);
            }
            let _refilling = self.refilling.lock().await;
            if let Some(id) = self.take_from_block() {
                return Ok(id);
            }
            let command = Command::TakeProducerIds { node, count: limits::PRODUCER_ID_BLOCK };
            let records = metadata.propose(&command).await?;
            let Some(MetadataRecord::ProducerIdsTaken(block)) = records.first() else {
                return Err(ApiError::new(ErrorCode::Internal, "no block of producer ids was taken"));
            };
            let end = block.first.0.saturating_add(i64::from(block.count));
            *self.left.lock() = Left { next: block.first.0, end };
        }
    }

    fn take_from_block(&self) -> Option<ProducerId> {
        let mut left = self.left.lock();
        let id = left.next;
        if id >= left.end {
            return None;
        }
        left.next += 1;
        Some(ProducerId(id))
    }
}
