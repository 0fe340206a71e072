//! What has happened in the runs: a simulation in which nothing goes wrong shows nothing.

use super::wire::{Ask, Letter, No, Told};
use crate::counted::counted;

counted! {
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
