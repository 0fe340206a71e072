//! What has happened in the runs: a simulation in which nothing goes wrong shows nothing.

use std::fmt;

use super::wire::{Ask, Letter, No, Told};

macro_rules! marks {
    ($($name:ident: $text:literal,)+) => {
        /// How often each thing happened.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        #[expect(missing_docs, reason = "each is told in words by `Display`")]
        pub struct Marks {
            $(pub $name: u64,)+
        }

        impl Marks {
            /// Adds those of another run.
            pub fn add(&mut self, other: &Marks) {
                $(self.$name += other.$name;)+
            }

            /// What never happened.
            #[must_use]
            pub fn never(&self) -> Vec<&'static str> {
                let mut never = Vec::new();
                $(if self.$name == 0 { never.push($text); })+
                never
            }
        }

        impl fmt::Display for Marks {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(write!(f, "{} {}, ", self.$name, $text)?;)+
                write!(f, "nothing else counted")
            }
        }
    };
}

marks! {
    joined: "joins answered",
    told: "assignments answered",
    news: "assignments told unasked",
    committed: "commits taken",
    stale: "commits refused for their epoch",
    strangers: "commits refused for their member",
    fetched: "positions fetched",
    nothing_there: "fetches that found nothing",
    unknown: "members told that they are none",
    fenced: "static members fenced",
    doubts: "outcomes unknown",
    over: "streams replaced or ended",
    left: "members left",
    died: "members killed",
    paused: "members paused",
    stubborn: "members that did not let go",
    broken: "streams broken",
    changed_minds: "subscriptions changed",
    crashes: "coordinators stopped",
    restarts: "logs read again",
    failed_persists: "persists failed",
    topics: "topics changed",
    lost: "messages lost",
    zombies: "commits held back until their member was somebody else",
    healed: "groups at rest after all",
    returned: "static members that came back to their place",
}

impl Marks {
    pub(super) fn count(&mut self, letter: &Letter, ask: Option<&Ask>) {
        let mark = match (&letter.told, ask) {
            (Told::Assignment(_), Some(Ask::Join { .. })) => &mut self.joined,
            (Told::Assignment(_), Some(_)) => &mut self.told,
            (Told::Assignment(_), None) => &mut self.news,
            (Told::Done, Some(Ask::Commit { .. })) => &mut self.committed,
            (Told::Done, _) => &mut self.left,
            (Told::Committed(Some(_)), _) => &mut self.fetched,
            (Told::Committed(None), _) => &mut self.nothing_there,
            (Told::No(No::Stale), _) => &mut self.stale,
            (Told::No(No::Unknown | No::Fenced), Some(Ask::Commit { .. })) => &mut self.strangers,
            (Told::No(No::Unknown), _) => &mut self.unknown,
            (Told::No(No::InDoubt), _) => &mut self.doubts,
            (Told::No(No::StreamOver), _) => &mut self.over,
            (Told::No(_), _) => return,
        };
        *mark += 1;
    }
}
