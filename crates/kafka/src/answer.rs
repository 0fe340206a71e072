//! An answer on its way out: a rope of pieces that follow each other. Record bytes are pieces of their own, never copied; large
//! runs of them are ranges of the files in which they lie.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use millrace_broker::{Extent, FileRange};
use millrace_kafka_wire::{ApiRequest, Message, ResponseHeader, WireError, Writer};
use millrace_types::limits::FETCH_BYTES_MAX;

/// Stands for records while an answer is encoded: it gives them their length, and nothing ever reads it. (It takes
/// address space, no memory: zeros that nobody touches.)
static HOLLOW: [u8; FETCH_BYTES_MAX] = [0; FETCH_BYTES_MAX];

/// The least that is worth a piece of its own. Below, the encoder copies; a run of records is never so small that this
/// matters.
const PIECE_BYTES_MIN: usize = 1024;

/// Bytes that follow each other.
#[derive(Debug, Default)]
pub(crate) struct Rope {
    pieces: VecDeque<Extent>,
    bytes: usize,
}

/// What is to be sent next.
pub(crate) enum Front<'a> {
    /// So many slices were filled.
    Slices(usize),
    File(&'a FileRange),
}

impl Rope {
    pub(crate) fn push(&mut self, piece: impl Into<Extent>) {
        let piece = piece.into();
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }

    pub(crate) fn append(&mut self, mut other: Rope) {
        self.bytes += other.bytes;
        self.pieces.append(&mut other.pieces);
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The first pieces: those in memory, as many as `slices` takes, or one of a file.
    pub(crate) fn front<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> Front<'a> {
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            match piece {
                Extent::Memory(bytes) => *slice = IoSlice::new(bytes),
                Extent::File(range) if count == 0 => return Front::File(range),
                Extent::File(_) => break,
            }
            count += 1;
        }
        Front::Slices(count)
    }

    /// So many bytes were sent.
    pub(crate) fn advance(&mut self, mut sent: usize) {
        self.bytes = self.bytes.saturating_sub(sent);
        while let Some(piece) = self.pieces.front_mut() {
            if sent < piece.len() {
                match piece {
                    Extent::Memory(bytes) => bytes.advance(sent),
                    Extent::File(range) => range.skip(sent),
                }
                return;
            }
            sent -= piece.len();
            self.pieces.pop_front();
        }
    }
}

/// Records that an answer carries in several extents.
#[derive(Debug, Default)]
pub(crate) struct Records {
    waiting: VecDeque<Vec<Extent>>,
}

impl Records {
    /// Stands for `extents` in a message that [`encode`] is going to write. Hand them in in the order in which the
    /// message carries them.
    pub(crate) fn stand_for(&mut self, extents: Vec<Extent>) -> Bytes {
        let bytes: usize = extents.iter().map(Extent::len).sum();
        match HOLLOW.get(..bytes) {
            Some(hollow) if bytes >= PIECE_BYTES_MIN => {
                self.waiting.push_back(extents);
                Bytes::from_static(hollow)
            }
            // Few bytes are copied by the encoder anyway, and never lie in a file; more than an answer may carry do not come.
            _ => {
                let in_memory = extents.iter().map_while(|extent| match extent {
                    Extent::Memory(bytes) => Some(bytes.clone()),
                    Extent::File(_) => None,
                });
                in_memory.collect::<Vec<_>>().concat().into()
            }
        }
    }
}

/// The frame that answers a request: length, header, body.
///
/// # Errors
/// [`WireError`]: the answer cannot be said in this version, which is a bug of ours.
pub(crate) fn encode<R: ApiRequest>(
    correlation: i32,
    version: i16,
    body: &R::Response,
    mut records: Records,
) -> Result<Rope, WireError> {
    let mut writer = Writer::new();
    let header = ResponseHeader { correlation_id: correlation, ..ResponseHeader::default() };
    header.write(&mut writer, R::response_header_version(version))?;
    body.write(&mut writer, version)?;
    let mut runs = writer.into_runs().into_iter();
    let mut rope = Rope::default();
    // The header makes the first run a short one.
    let first = runs.next().unwrap_or_default();
    let rest: usize = runs.as_slice().iter().map(Bytes::len).sum();
    let mut head = BytesMut::with_capacity(4 + first.len());
    head.put_u32(u32::try_from(first.len() + rest).unwrap_or(u32::MAX));
    head.put_slice(&first);
    rope.push(head.freeze());
    let hollow = HOLLOW.as_ptr_range();
    for run in runs {
        if hollow.contains(&run.as_ptr()) {
            records.waiting.pop_front().into_iter().flatten().for_each(|extent| rope.push(extent));
        } else {
            rope.push(run);
        }
    }
    Ok(rope)
}
