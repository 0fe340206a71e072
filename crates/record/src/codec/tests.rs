//! Every codec: round trip, cut at every byte, flipped bits, bombs.

use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use proptest::prelude::*;

use super::*;

const MIB: usize = 1024 * 1024;

const CODECS: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

fn compressed(codec: Compression, input: &[u8]) -> Bytes {
    let mut out = b"before".to_vec();
    compress(codec, input, &mut out).unwrap();
    assert!(out.starts_with(b"before"), "{codec} appends");
    Bytes::from(out).slice(6..)
}

/// Half text that repeats, half bytes that do not.
fn mixed(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    let text = b"departure,arrival,carrier,".iter().copied().cycle();
    let mut out: Vec<u8> = text.take(len / 2).collect();
    out.extend(noise.take(len - len / 2));
    out
}

#[test]
fn what_was_compressed_comes_back() {
    for codec in CODECS {
        for len in [0, 1, 100, 32 * 1024, 32 * 1024 + 1, 3 * MIB] {
            let input = mixed(len);
            let output = decompress(codec, compressed(codec, &input), len).unwrap();
            assert!(output == input, "{codec} {len}");
        }
    }
}

#[test]
fn the_cap_is_exact() {
    for codec in CODECS {
        for len in [1, 1000, 70_000, 200_000] {
            let payload = compressed(codec, &mixed(len));
            assert!(decompress(codec, payload.clone(), len).is_ok(), "{codec} {len}");
            let over = decompress(codec, payload, len - 1);
            assert_eq!(over, Err(DecompressError::TooLarge { codec, max: len - 1 }), "{len}");
        }
    }
}

#[test]
fn every_cut_is_an_error() {
    let input = mixed(70_000);
    for codec in CODECS {
        let payload = compressed(codec, &input);
        // All cuts near both ends and one in 1009 between them: some of the streams are 40 KB long.
        let near_an_end = |len: &usize| *len < 100 || *len + 100 > payload.len() || len.is_multiple_of(1009);
        for len in (0..payload.len()).filter(near_an_end) {
            let cut = decompress(codec, payload.slice(..len), MIB);
            // Snappy has no end mark: a stream that ends behind a block is a shorter whole one.
            let whole_blocks =
                codec == Compression::Snappy && cut.as_ref().is_ok_and(|out| input.starts_with(out));
            assert!(cut.is_err() || whole_blocks, "{codec} cut at {len}");
        }
    }
}

#[test]
fn the_only_cuts_that_snappy_cannot_see_lie_between_blocks() {
    let input = [b'x'; 70_000];
    let payload = compressed(Compression::Snappy, &input);
    let seems_whole = |len: &usize| decompress(Compression::Snappy, payload.slice(..*len), MIB).is_ok();
    let whole = (0..payload.len()).filter(seems_whole).count();
    assert_eq!(
        whole, 3,
        "behind the header and behind the first two of three blocks; the record count finds them"
    );
}

#[test]
fn an_empty_payload_is_no_stream() {
    for codec in CODECS {
        assert!(decompress(codec, Bytes::new(), MIB).is_err(), "{codec}");
    }
}

#[test]
fn bombs_are_refused_at_the_cap() {
    let zeros = vec![0; 20 * MIB];
    for codec in CODECS {
        let payload = compressed(codec, &zeros);
        assert!(payload.len() < MIB, "{codec}: {} bytes", payload.len());
        for max in [0, 100, MIB, 20 * MIB - 1] {
            let expected = DecompressError::TooLarge { codec, max };
            assert_eq!(decompress(codec, payload.clone(), max), Err(expected));
        }
        assert!(decompress(codec, payload, 20 * MIB).is_ok(), "{codec}");
    }
}

#[test]
fn a_zstd_frame_that_hides_its_size_is_read_and_capped() {
    let zeros = vec![0; 20 * MIB];
    let mut encoder = ::zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.write_all(&zeros).unwrap();
    let payload = Bytes::from(encoder.finish().unwrap());
    assert_eq!(::zstd::bulk::Decompressor::upper_bound(&payload), None);
    let codec = Compression::Zstd;
    let expected = DecompressError::TooLarge { codec, max: 20 * MIB - 1 };
    assert_eq!(decompress(codec, payload.clone(), 20 * MIB - 1), Err(expected));
    assert_eq!(decompress(codec, payload.clone(), 20 * MIB).map(|out| out.len()), Ok(20 * MIB));
    for len in 0..payload.len() {
        assert!(decompress(codec, payload.slice(..len), MIB).is_err(), "cut at {len}");
    }
}

#[test]
fn a_zstd_frame_that_claims_to_be_empty_and_is_not_ends() {
    // One segment, content size 0, and one block of 2,075,821 repeated bytes.
    let payload = Bytes::from_static(b"\x28\xb5\x2f\xfd\x20\x00\x6b\x65\xfd\x53");
    for bytes_max in [0, 1, 1000, 4 * MIB] {
        assert!(decompress(Compression::Zstd, payload.clone(), bytes_max).is_err(), "{bytes_max}");
    }
}

#[test]
fn a_snappy_block_that_claims_too_much_is_refused_before_room_is_made() {
    // A bare block: a varint of 64 MiB, then next to nothing.
    let claim = Bytes::from_static(&[0x80, 0x80, 0x80, 0x20, 0x00, b'x']);
    assert!(matches!(
        decompress(Compression::Snappy, claim, 64 * MIB),
        Err(DecompressError::Corrupt { codec: Compression::Snappy, .. })
    ));
}

#[test]
fn bare_snappy_is_read() {
    let input = mixed(100_000);
    let payload = snap::raw::Encoder::new().compress_vec(&input).unwrap();
    assert!(decompress(Compression::Snappy, payload.into(), 100_000).unwrap() == input);
}

#[test]
fn concatenated_streams_are_read_as_one() {
    for codec in CODECS {
        let streams = [compressed(codec, b"abc"), compressed(codec, b"def")].concat();
        assert_eq!(decompress(codec, streams.into(), MIB).as_deref(), Ok(&b"abcdef"[..]), "{codec}");
    }
}

#[test]
fn an_lz4_block_without_content_does_not_end_the_stream() {
    let payload = compressed(Compression::Lz4, b"abc");
    let header = 7;
    let empty_stored = [0, 0, 0, 0x80];
    let empty_compressed = [1, 0, 0, 0, 0];
    for block in [&empty_stored[..], &empty_compressed] {
        let bytes = [&payload[..header], block, &payload[header..]].concat();
        let output = decompress(Compression::Lz4, bytes.into(), MIB);
        assert_eq!(output.as_deref(), Ok(&b"abc"[..]), "{block:?}");
    }
}

#[test]
fn lz4_frames_of_every_shape_are_read_and_every_cut_found() {
    let input = mixed(300_000);
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB] {
            for (blocks, content) in [(false, false), (true, false), (false, true), (true, true)] {
                let info = FrameInfo::new()
                    .block_mode(mode)
                    .block_size(size)
                    .block_checksums(blocks)
                    .content_checksum(content)
                    .content_size(content.then_some(input.len() as u64));
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&input).unwrap();
                let payload = Bytes::from(encoder.finish().unwrap());
                let output = decompress(Compression::Lz4, payload.clone(), input.len()).unwrap();
                assert!(output == input, "{mode:?} {size:?} {blocks} {content}");
                for len in
                    (0..payload.len()).filter(|len| len.is_multiple_of(9973) || len + 20 > payload.len())
                {
                    let cut = decompress(Compression::Lz4, payload.slice(..len), input.len());
                    assert!(cut.is_err(), "{mode:?} {size:?} {blocks} {content} cut at {len}");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(codec in 0..4_usize, input: Vec<u8>, flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let codec = CODECS[codec];
        let _ = decompress(codec, Bytes::from(input.clone()), 4096);
        let mut payload = compressed(codec, &input).to_vec();
        for (index, byte) in flips {
            *index.get_mut(&mut payload) = byte;
        }
        if let Ok(output) = decompress(codec, payload.into(), 4096) {
            prop_assert!(output.len() <= 4096);
        }
    }

    #[test]
    fn any_bytes_come_back(codec in 0..4_usize, input: Vec<u8>) {
        let codec = CODECS[codec];
        prop_assert_eq!(decompress(codec, compressed(codec, &input), input.len()), Ok(Bytes::from(input)));
    }
}
