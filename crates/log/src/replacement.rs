//! A new segment in the place of others: what compaction and mending have in common.
//!
//! ```text
//!   output   the new segment beside the old ones, with its indexes and its seal
//!   swap     in the place of the old ones, so that a crash leaves the one or the other
//! ```
#![deny(clippy::indexing_slicing)]

mod output;
mod swap;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;

use crate::format::seal::Seal;
use crate::handles::FileSlot;
use crate::inner::LogInner;
use crate::recovery::unlink_segment;
use crate::segment::{Body, Offsets, SealedPart, Segment, Stage};

pub(crate) use output::Output;
pub(crate) use swap::{discard, finish_swap};

/// The right to write a segment beside those of a log. One at a time has it: the files have names.
#[derive(Debug)]
pub(crate) struct Beside(Arc<LogInner>);

impl Beside {
    /// `None` if another one has it.
    pub(crate) fn take(log: &Arc<LogInner>) -> Option<Beside> {
        let had = log.written_beside.swap(true, Ordering::SeqCst);
        (!had).then(|| Beside(Arc::clone(log)))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.written_beside.store(false, Ordering::SeqCst);
    }
}

/// Puts a segment whose files are written and synced in the place of `old`: none, if it fills a gap. The caller holds `upkeep`, and
/// has seen that the old ones are there.
///
/// # Errors
/// If it is not certain which of them count: then the directory has failed, as only a start can sort the files out.
pub(crate) fn put_in_place(
    inner: &Arc<LogInner>,
    old: &[Arc<Segment>],
    (seal, body): (Seal, Body),
) -> io::Result<()> {
    swap::commit(&*inner.shared.env.fs, &inner.path, &seal)?;
    replace(inner, old, (seal, body)).inspect_err(|e| {
        let source = io::Error::new(e.kind(), e.to_string());
        let _failed = inner.fail("putting a new segment in the place of others", source);
    })
}

fn replace(inner: &Arc<LogInner>, old: &[Arc<Segment>], (seal, body): (Seal, Body)) -> io::Result<()> {
    let fs = &*inner.shared.env.fs;
    let base = seal.records.base;
    let offsets = if seal.compacted.is_some() { Offsets::WithHoles } else { Offsets::Dense };
    let sealed = SealedPart::just_sealed(seal, &inner.shared.handles);
    let new = Arc::new(Segment {
        base,
        dir: Arc::clone(&inner.path),
        slot: Arc::new(FileSlot::closed(&inner.shared.handles)),
        inherited_bytes: 0,
        offsets,
        body: RwLock::new(Body { stage: Stage::Sealed(Arc::new(sealed)), ..body }),
    });
    {
        // Readers who find a segment lost wait for the writer, and then plan anew.
        let _writer = inner.turn();
        old.iter().for_each(|segment| segment.lose());
        swap::rename_files(fs, &inner.path, base)?;
        let mut view = inner.view.write();
        let is_old = |segment: &Arc<Segment>| old.iter().any(|gone| Arc::ptr_eq(gone, segment));
        let mut segments: Vec<_> = view.segments.iter().filter(|one| !is_old(one)).map(Arc::clone).collect();
        let at = segments.partition_point(|segment| segment.base < base);
        segments.insert(at, new);
        view.segments = Arc::new(segments);
    }
    swap::rename_seal(fs, &inner.path, base)?;
    for gone in old.iter().filter(|segment| segment.base != base) {
        unlink_segment(fs, &inner.path, gone.base)?;
    }
    Ok(())
}
