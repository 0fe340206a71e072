//! The producer state at the end of a log: the newest snapshot that opens, and the headers behind it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use millrace_env::{Fs, FsExt};
use millrace_types::{Offset, TimestampMs};

use crate::format::producer_snapshot;
use crate::names::{SegmentFile, segment_file};
use crate::producers::{BatchFacts, ProducerState};
use crate::segment::{Segment, Walk};

/// Where producer state is built from.
#[derive(Debug)]
pub(crate) struct ReplayRequest<'a> {
    pub(crate) fs: &'a dyn Fs,
    pub(crate) dir: &'a Path,
    pub(crate) segments: &'a [Arc<Segment>],
    /// Base offsets of the snapshots, rising.
    pub(crate) snapshots: &'a [Offset],
    pub(crate) log_start: Offset,
    pub(crate) end: Offset,
    pub(crate) now: TimestampMs,
}

/// The state, and how many bytes it took to build it.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) state: ProducerState,
    pub(crate) from: Offset,
    pub(crate) bytes_read: u64,
}

/// Builds the state as it is at `end`.
pub(crate) fn replay(request: &ReplayRequest<'_>) -> io::Result<Replayed> {
    let (mut state, from) = start(request);
    let mut bytes_read = 0;
    for segment in request.segments.iter().filter(|segment| segment.end() > from) {
        let (size, position) = {
            let body = segment.body.read();
            let position = if from <= segment.base { 0 } else { position_near(segment, &body, from) };
            (body.size, position)
        };
        let file = segment.file()?;
        let mut walk = Walk::new(&*file, position, segment.base, size).offsets(segment.offsets);
        loop {
            match walk.step()? {
                Ok((spot, _)) if spot.last < from => {}
                Ok((spot, _)) if spot.base >= request.end => break,
                Ok((spot, header)) => state.apply(&BatchFacts::of(&header), spot.base, request.now),
                // Damage: what lies behind it in this segment is not known to this state. A retry of it may be
                // refused as out of order; nothing is stored twice.
                Err(_) => break,
            }
        }
        bytes_read += walk.bytes_read();
    }
    Ok(Replayed { state, from, bytes_read })
}

/// The newest snapshot at or before the end, or the state of a log that begins at its start.
fn start(request: &ReplayRequest<'_>) -> (ProducerState, Offset) {
    let first = request.segments.first().map_or(request.log_start, |segment| segment.base);
    // A snapshot from before the first segment lacks what was trimmed since: it would refuse what is right.
    let usable = request.snapshots.iter().rev().filter(|base| first <= **base && **base <= request.end);
    for base in usable {
        let path = request.dir.join(segment_file(*base, SegmentFile::Producers));
        let decoded = request
            .fs
            .read_small(&path, producer_snapshot::BYTES_MAX)
            .map_err(|e| e.to_string())
            .and_then(|bytes| producer_snapshot::decode(&bytes).map_err(|e| e.to_string()));
        match decoded {
            Ok((offset, state)) if offset == *base => return (state, offset),
            Ok((offset, _)) => {
                tracing::warn!(path = %path.display(), %offset, "a snapshot under another's name")
            }
            Err(error) => tracing::warn!(path = %path.display(), error, "a producer snapshot does not open"),
        }
    }
    if first == Offset::ZERO {
        (ProducerState::new(), Offset::ZERO)
    } else {
        (ProducerState::lost(request.now), first)
    }
}

/// A batch boundary at or before the batch of `offset`, from an index that recovery has just trusted; else the start.
fn position_near(segment: &Segment, body: &crate::segment::Body, offset: Offset) -> u64 {
    match &body.stage {
        crate::segment::Stage::Live(indexes) => {
            let entry = indexes.offset_index().lookup(segment.base, offset.saturating_sub(1));
            entry.map_or(0, |entry| entry.position.into())
        }
        crate::segment::Stage::Sealed(_) => 0,
    }
}
