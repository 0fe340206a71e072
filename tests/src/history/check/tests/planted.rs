//! At least three histories for each anomaly.

use super::super::super::Analysis::{self, *};

/// A history and all that is to be found in it.
pub(super) struct Planted {
    pub(super) finds: &'static [Analysis],
    pub(super) script: &'static str,
}

const fn plant(finds: &'static [Analysis], script: &'static str) -> Planted {
    Planted { finds, script }
}

pub(super) const ALL: [Planted; 53] = [
    // C1: refused for good and read, before or after that was said (then also C14); sent by nobody; sent elsewhere.
    plant(
        &[AbortedRead],
        "10 a send 1 p0
        11 r assign p0@0
        15 r polled 12 p0: 0=1
        20 a failed 1",
    ),
    plant(&[AbortedRead], "10 r assign p0@0 \n 20 r polled 12 p0: 0=77"),
    plant(&[AbortedRead], "10 r assign p0@0 \n 20 r polled 12 p0: 0=?"),
    plant(
        &[AbortedRead],
        "10 a send 1 p0
        20 a unknown 1
        21 r assign p1@0
        30 r polled 22 p1: 0=1",
    ),
    // C14: the same, and whoever read it read it later.
    plant(
        &[AbortedRead, DefiniteErrorSeen],
        "10 a send 1 p0
        20 a failed 1
        21 r assign p0@0
        30 r polled 25 p0: 0=1",
    ),
    plant(
        &[AbortedRead, DefiniteErrorSeen],
        "10 a send 1 p0
        11 a send 2 p0
        20 a failed 1
        21 a acked 2 1
        25 r assign p0@0
        30 r polled 26
        40 r polled 31 p0: 0=1 1=2",
    ),
    plant(
        &[AbortedRead, DefiniteErrorSeen],
        "10 a send 1 p0
        12 a failed 1
        13 b send 2 p0
        14 b acked 2 0
        20 f assign p0@0
        30 f polled 20 p0: 0=2 1=1
        31 f whole 20 p0 0..2",
    ),
    // C2: by two acknowledgements, an acknowledgement and a reading, two readings.
    plant(
        &[InconsistentOffsets],
        "10 a send 1 p0
        10 b send 2 p0
        20 a acked 1 0
        20 b acked 2 0",
    ),
    plant(
        &[InconsistentOffsets],
        "10 a send 1 p0
        10 b send 2 p0
        20 a acked 1 0
        21 b unknown 2
        22 r assign p0@0
        30 r polled 25 p0: 0=2",
    ),
    plant(
        &[InconsistentOffsets],
        "10 a send 1 p0
        10 b send 2 p0
        15 r assign p0@0
        16 s assign p0@0
        20 r polled 18 p0: 0=1
        21 s polled 18 p0: 0=2",
    ),
    // C3: in one partition, in two readings, by an acknowledgement and a reading.
    plant(
        &[Duplicate],
        "10 a send 1 p0
        20 a acked 1 0
        21 r assign p0@0
        30 r polled 22 p0: 0=1 1=1",
    ),
    plant(
        &[Duplicate],
        "10 a send 1 p0
        11 r assign p0@0
        12 s assign p0@4
        20 r polled 12 p0: 3=1
        21 s polled 12 p0: 4=1",
    ),
    plant(
        &[Duplicate],
        "10 a send 1 p0
        20 a acked 1 3
        21 r assign p0@4
        22 r polled 21 p0: 4=1",
    ),
    // C4: behind it was read, it was not.
    plant(
        &[LostWrite],
        "10 a send 1 p0
        11 a send 2 p0
        20 a acked 1 0
        21 a acked 2 1
        22 r assign p0@1
        30 r polled 25 p0: 1=2",
    ),
    plant(
        &[LostWrite, PollSkip],
        "10 a send 1 p0
        11 a send 2 p0
        12 a send 3 p0
        20 a acked 1 0
        21 a acked 2 1
        22 a acked 3 2
        23 r assign p0@0
        30 r polled 25 p0: 0=1
        31 r polled 30 p0: 2=3",
    ),
    plant(
        &[LostWrite, InternalPollSkip, ChainDiffers],
        "10 a send 1 p0
        11 a send 2 p0
        12 a send 3 p0
        20 a acked 1 0
        21 a acked 2 1
        22 a acked 3 2
        23 f assign p0@0
        30 f polled 25 p0: 0=1 2=3
        31 f whole 25 p0 0..3",
    ),
    // C5: the suffix is gone, the partition is empty (twice: one was not told where it lies), the offset is another's.
    plant(
        &[Unseen],
        "10 a send 1 p0
        11 a send 2 p0
        20 a acked 1 0
        21 a acked 2 1
        30 f assign p0@0
        40 f polled 31 p0: 0=1
        41 f whole 31 p0 0..1",
    ),
    plant(
        &[Unseen],
        "10 a send 1 p0
        20 a acked 1 0
        30 f assign p0@0
        40 f polled 31
        41 f whole 31 p0 0..0",
    ),
    plant(
        &[Unseen],
        "10 a send 1 p0
        20 a acked 1
        30 f assign p0@0
        40 f polled 31
        41 f whole 31 p0 0..0",
    ),
    plant(
        &[InconsistentOffsets, Unseen, ChainDiffers],
        "10 a send 1 p0
        20 a acked 1 0
        25 b send 2 p0
        26 b unknown 2
        30 f assign p0@0
        40 f polled 31 p0: 0=2
        41 f whole 31 p0 0..1",
    ),
    // C6: without a move, behind a seek, after an empty poll, behind where a member was told to begin.
    plant(
        &[PollSkip],
        "10 a send 1 p0
        11 a send 2 p0
        12 a send 3 p0
        15 r assign p0@0
        16 s assign p0@0
        20 r polled 16 p0: 0=1
        21 s polled 16 p0: 0=1 1=2 2=3
        22 r polled 21 p0: 2=3",
    ),
    plant(
        &[PollSkip],
        "10 a send 1 p0
        11 a send 2 p0
        12 a send 3 p0
        16 s assign p0@0
        21 s polled 16 p0: 0=1 1=2 2=3
        22 s seek p0@1
        23 s polled 22 p0: 2=3",
    ),
    plant(
        &[PollSkip],
        "10 a send 1 p0
        11 a send 2 p0
        12 a send 3 p0
        16 s assign p0@0
        21 s polled 16 p0: 0=1 1=2 2=3
        22 r assign p0@0
        23 r polled 22 p0: 0=1
        24 r polled 23
        25 r polled 24 p0: 2=3",
    ),
    plant(
        &[PollSkip],
        "10 a send 1 p0
        11 a send 2 p0
        16 s assign p0@0
        21 s polled 16 p0: 0=1 1=2
        22 g assigned p0@0
        23 g polled 22 p0: 1=2",
    ),
    // C7.
    plant(
        &[NonmonotonicPoll],
        "10 a send 1 p0
        11 a send 2 p0
        15 r assign p0@0
        20 r polled 16 p0: 0=1 1=2
        21 r polled 20 p0: 0=1 1=2",
    ),
    plant(
        &[NonmonotonicPoll],
        "10 a send 1 p0
        11 a send 2 p0
        15 g assigned p0
        20 g polled 16 p0: 0=1 1=2
        21 g polled 20 p0: 1=2",
    ),
    plant(
        &[NonmonotonicPoll],
        "10 a send 1 p0
        11 a send 2 p1
        15 r assign p0@0 p1@0
        20 r polled 16 p0: 0=1
        21 r seek p1@0
        22 r polled 21 p1: 0=2
        23 r polled 22 p0: 0=1",
    ),
    plant(&[NonmonotonicPoll], "10 a send 1 p0 \n 15 r assign p0@5 \n 20 r polled 16 p0: 4=1"),
    // C8.
    plant(
        &[InternalPollSkip],
        "10 a send 1 p0
        11 a send 2 p0
        12 a send 3 p0
        15 s assign p0@0
        20 s polled 16 p0: 0=1 1=2 2=3
        25 r assign p0@0
        26 r polled 25 p0: 0=1 2=3",
    ),
    plant(
        &[InternalPollSkip],
        "10 a send 1 p0
        11 a send 2 p0
        12 a send 3 p1
        13 a send 4 p0
        15 s assign p0@0 p1@0
        20 s polled 16 p0: 0=1 1=2 2=4 ; p1: 0=3
        25 g assigned p0 p1
        26 g polled 25 p0: 0=1 2=4 ; p1: 0=3",
    ),
    plant(
        &[LostWrite, InternalPollSkip],
        "10 a send 1 p0
        11 a send 2 p0
        12 a send 3 p0
        14 a acked 2 4
        25 r assign p0@0
        26 r polled 25 p0: 0=1 9=3",
    ),
    // C9.
    plant(
        &[InternalNonmonotonicPoll],
        "10 a send 1 p0
        11 a send 2 p0
        15 r assign p0@0
        20 r polled 16 p0: 0=1 1=2 0=1",
    ),
    plant(
        &[InternalNonmonotonicPoll],
        "10 a send 1 p0
        15 r assign p0
        20 r polled 16 p0: 0=1 0=1",
    ),
    plant(
        &[InternalNonmonotonicPoll],
        "10 a send 1 p0
        11 a send 2 p0
        15 g assigned p0
        20 g polled 16 p0: 1=2 0=1",
    ),
    // C10: under way together.
    plant(
        &[InternalNonmonotonicSend],
        "10 a send 1 p0
        11 a send 2 p0
        20 a acked 1 1
        21 a acked 2 0",
    ),
    plant(
        &[InternalNonmonotonicSend],
        "10 a send 1 p0
        11 a send 2 p0
        12 a send 3 p0
        20 a acked 2 6
        21 a acked 1 5
        22 a acked 3 4",
    ),
    plant(
        &[InternalNonmonotonicSend],
        "10 a send 1 p0
        11 a send 9 p1
        12 a send 2 p0
        13 a send 3 p0
        20 a acked 1 7
        21 a acked 9 0
        22 a unknown 2
        23 a acked 3 6",
    ),
    // C11, which is C15 as well.
    plant(
        &[NonmonotonicSend, OffsetNotAbove],
        "10 a send 1 p0
        20 a acked 1 5
        21 a send 2 p0
        22 a acked 2 4",
    ),
    plant(
        &[InconsistentOffsets, NonmonotonicSend, OffsetNotAbove],
        "10 a send 1 p0
        20 a acked 1 5
        21 a send 2 p0
        22 a acked 2 5",
    ),
    plant(
        &[NonmonotonicSend, OffsetNotAbove],
        "10 a send 1 p0
        20 a acked 1 5
        21 a send 2 p0
        22 a acked 2 6
        23 a send 3 p0
        24 a acked 3 0",
    ),
    // C12: a suffix, a record in the middle, and what is another's now.
    plant(
        &[PrecommittedRead],
        "10 a send 1 p0
        11 a unknown 1
        12 r assign p0@0
        13 r polled 12 p0: 0=1
        20 f assign p0@0
        30 f polled 20
        31 f whole 20 p0 0..0",
    ),
    plant(
        &[InternalPollSkip, PrecommittedRead, ChainDiffers],
        "10 a send 1 p0
        11 a send 2 p0
        12 a send 3 p0
        13 r assign p0@0
        14 r polled 13 p0: 0=1 1=2 2=3
        20 f assign p0@0
        30 f polled 20 p0: 0=1 2=3
        31 f whole 20 p0 0..3",
    ),
    plant(
        &[InconsistentOffsets, PrecommittedRead, ChainDiffers],
        "10 a send 1 p0
        11 b send 2 p0
        13 r assign p0@0
        14 r polled 13 p0: 0=1
        20 f assign p0@0
        30 f polled 20 p0: 0=2
        31 f whole 20 p0 0..1",
    ),
    // C13: alone, by another client, in a cycle of two clients.
    plant(
        &[Cycle, OffsetNotAbove],
        "5 r assign p0@0
        10 r polled 6 p0: 0=1
        11 a send 1 p0
        12 a acked 1 0",
    ),
    plant(
        &[Cycle],
        "5 r assign p0@0
        10 r polled 6 p0: 0=1
        11 r send 1 p0
        12 r unknown 1",
    ),
    plant(
        &[Cycle],
        "1 a assign p0@0
        2 b assign p1@0
        10 a polled 6 p0: 0=2
        11 a send 1 p1
        12 b polled 11 p1: 0=1
        13 b send 2 p0",
    ),
    // C15: another client's acknowledgement, and a reading. (C16 has three above, and a chain that is wrong by itself.)
    plant(
        &[OffsetNotAbove],
        "10 a send 1 p0
        20 a acked 1 5
        21 b send 2 p0
        22 b acked 2 4",
    ),
    plant(
        &[LostWrite, OffsetNotAbove],
        "10 a send 1 p0
        11 r assign p0@5
        19 r polled 11 p0: 5=1
        21 b send 2 p0
        22 b acked 2 4
        23 a acked 1 5",
    ),
    plant(
        &[OffsetNotAbove],
        "10 a send 1 p0
        11 b send 2 p0
        20 a acked 1 9
        21 c send 3 p0
        22 b acked 2 10
        23 c acked 3 8",
    ),
    plant(&[ChainDiffers], "10 f assign p0@0 \n 30 f polled 20 \n 31 f whole 20 p0 0..0 chain=5"),
    // Told of a loss: at the beginning, after reading, as a member of a group.
    plant(&[ThrownOut], "10 r assign p0@0 \n 30 r thrown p0"),
    plant(
        &[ThrownOut],
        "10 a send 1 p0
        11 r assign p0@0
        12 r polled 11 p0: 0=1
        13 r thrown p0
        14 r assign p0@1",
    ),
    plant(&[ThrownOut], "10 g assigned p0 \n 30 g thrown p0 \n 31 g revoked p0"),
];
