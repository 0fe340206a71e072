//! Frames that no honest client sends to a Kafka port, drawn from a seed.
//!
//! Most begin as a valid request of some operation and version, because noise gets no farther than the header.

mod bombs;
mod templates;

use crate::Seed;
use crate::kafka_door::framed;
pub use bombs::{answered, bomb};
pub use templates::{Victim, templates};

/// What is done to the port with one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attack {
    /// What it is, for the report.
    pub kind: Kind,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The ways of being hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Random bytes, as they are.
    Noise,
    /// Random bytes behind a right length.
    FramedNoise,
    /// A request that ends too soon for its length.
    Cut,
    /// A request that ends too soon, and whose length says so.
    CutShort,
    /// A request in which a few bytes are others.
    Mutated,
    /// A request with a number somewhere that is negative, or as large as can be.
    Count,
    /// A request of an operation or a version that does not exist.
    Version,
    /// A length that is negative, too small or far too large, and a few bytes behind it.
    Length,
    /// Small on the wire and large in memory.
    Bomb,
    /// Half of a request, and the connection stays open.
    HeldOpen,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 10] = [
        Kind::Noise,
        Kind::FramedNoise,
        Kind::Cut,
        Kind::CutShort,
        Kind::Mutated,
        Kind::Count,
        Kind::Version,
        Kind::Length,
        Kind::Bomb,
        Kind::HeldOpen,
    ];
}

/// Numbers that decoders have believed, as they stand in four bytes.
const COUNTS: [[u8; 4]; 10] = [
    [0xff, 0xff, 0xff, 0xff],
    [0xff, 0xff, 0xff, 0xfe],
    [0x80, 0, 0, 0],
    [0x7f, 0xff, 0xff, 0xff],
    [0x40, 0, 0, 0],
    [0, 0xff, 0xff, 0xff],
    [0, 0, 0, 0],
    // In groups of seven bits: large, and without an end.
    [0xff, 0xff, 0xff, 0x7f],
    [0x80, 0x80, 0x80, 0x80],
    [0xfe, 0xff, 0xff, 0xff],
];
const LENGTHS: [i32; 9] = [-1, i32::MIN, i32::MAX, 0, 1, 7, 100 * 1024 * 1024, 104_857_601, 1 << 30];

/// Draws frames.
#[derive(Debug, Clone)]
pub struct Hostile {
    templates: Vec<Vec<u8>>,
    bombs: Vec<Vec<u8>>,
}

impl Hostile {
    /// Frames against the door that serves `victim`.
    #[must_use]
    pub fn against(victim: &Victim) -> Hostile {
        Hostile { templates: templates::templates(victim), bombs: bombs::bombs(victim) }
    }

    /// How many requests of how many versions the frames are made of.
    #[must_use]
    pub fn templates(&self) -> usize {
        self.templates.len()
    }

    /// The next one.
    #[must_use]
    pub fn draw(&self, seed: &mut Seed) -> Attack {
        let kind = match seed.between(0, 100) {
            0..5 => Kind::Noise,
            5..10 => Kind::FramedNoise,
            10..20 => Kind::Cut,
            20..30 => Kind::CutShort,
            30..60 => Kind::Mutated,
            60..83 => Kind::Count,
            83..90 => Kind::Version,
            90..96 => Kind::Length,
            96..98 => Kind::Bomb,
            _ => Kind::HeldOpen,
        };
        Attack { kind, bytes: self.bytes(kind, seed) }
    }

    fn bytes(&self, kind: Kind, seed: &mut Seed) -> Vec<u8> {
        let mut frame = pick(&self.templates, seed).clone();
        let length = frame.len() as u64;
        match kind {
            Kind::Noise => noise(seed),
            Kind::FramedNoise => framed(&noise(seed)),
            Kind::Cut | Kind::HeldOpen => {
                frame.truncate(place(seed.between(1, length)));
                frame
            }
            Kind::CutShort => framed(&frame[4..place(seed.between(4, length))]),
            Kind::Mutated => {
                for _ in 0..seed.between(1, 8) {
                    let at = place(seed.between(4, length));
                    frame[at] = byte(seed);
                }
                frame
            }
            Kind::Count => {
                // Behind the operation, the version and the correlation id; one in two near the front, where arrays begin.
                let end = if seed.between(0, 2) == 0 { length.min(80) } else { length };
                let at = place(seed.between(12, end.max(13)));
                let number = COUNTS[place(seed.between(0, COUNTS.len() as u64))];
                for (byte, other) in frame[at..].iter_mut().zip(number) {
                    *byte = other;
                }
                frame
            }
            Kind::Version => {
                // The operation, or only its version.
                let from = if seed.between(0, 3) == 0 { 4 } else { 6 };
                frame[from..8].fill_with(|| byte(seed));
                frame
            }
            Kind::Length => {
                let length = LENGTHS[place(seed.between(0, LENGTHS.len() as u64))];
                frame[..4].copy_from_slice(&length.to_be_bytes());
                frame
            }
            Kind::Bomb => pick(&self.bombs, seed).clone(),
        }
    }
}

fn pick<'a>(list: &'a [Vec<u8>], seed: &mut Seed) -> &'a Vec<u8> {
    &list[place(seed.between(0, list.len() as u64))]
}

fn place(number: u64) -> usize {
    usize::try_from(number).expect("a place in a frame")
}

fn byte(seed: &mut Seed) -> u8 {
    seed.draw().to_be_bytes()[0]
}

fn noise(seed: &mut Seed) -> Vec<u8> {
    let length = seed.between(1, 400);
    (0..length).map(|_| byte(seed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_frames_and_each_kind_comes() {
        let hostile = Hostile::against(&Victim { topic: "victim".to_owned(), id: [7; 16] });
        let draw = || -> Vec<Attack> {
            let mut seed = Seed::new(1);
            (0..2_000).map(|_| hostile.draw(&mut seed)).collect()
        };
        let attacks = draw();
        assert_eq!(attacks, draw());
        for kind in Kind::ALL {
            assert!(attacks.iter().any(|attack| attack.kind == kind), "{kind:?}");
        }
    }
}
