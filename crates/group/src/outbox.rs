//! Persist first, then answer: what a step lets others see waits for every persist that was asked for before it.
//!
//! ```text
//!   pushed:     persist 0 │ reply a │ reply b │ persist 1 │ reply c
//!   committed 0 ──► a, b may go              committed 1 ──► c may go
//! ```
//! That holds over steps: an answer that itself wrote nothing may rest on what an earlier step wrote and the log has not
//! committed yet. If a persist fails, the outbox is dropped with the value, and all who wait in it hear that the outcome is
//! unknown.

use std::collections::VecDeque;

/// Names a persist, in the order of the pushes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PersistTicket(u64);

/// What waits, in order.
#[derive(Clone, Debug)]
pub struct Outbox<T> {
    asked: u64,
    committed: u64,
    /// Each with the number of persists that must be committed.
    waiting: VecDeque<(u64, T)>,
}

impl<T> Default for Outbox<T> {
    fn default() -> Outbox<T> {
        Outbox { asked: 0, committed: 0, waiting: VecDeque::new() }
    }
}

impl<T> Outbox<T> {
    /// A persist was asked for; all that is pushed from now on waits for it.
    pub fn persist(&mut self) -> PersistTicket {
        self.asked += 1;
        PersistTicket(self.asked)
    }

    /// Adds what others may see once all persists until now are committed.
    pub fn push(&mut self, item: T) {
        self.waiting.push_back((self.asked, item));
    }

    /// The persist, and with it every earlier one, is committed.
    pub fn committed(&mut self, ticket: PersistTicket) {
        self.committed = self.committed.max(ticket.0);
    }

    /// The newest persist was refused whole and is undone: what was pushed behind it rests on those before it alone.
    pub fn undone(&mut self, ticket: PersistTicket) {
        if ticket.0 == self.asked && self.committed < self.asked {
            self.asked -= 1;
            for (needs, _) in &mut self.waiting {
                *needs = (*needs).min(self.asked);
            }
        }
    }

    /// The next that may go.
    pub fn pop(&mut self) -> Option<T> {
        let committed = self.committed;
        #[cfg(feature = "teeth")]
        let committed = millrace_types::planted!(ToldBeforePersisted, u64::MAX, else committed);
        self.waiting.pop_front_if(|(needs, _)| *needs <= committed).map(|(_, item)| item)
    }

    /// All that wait, whatever they wait for: what they rest on is gone.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.waiting.drain(..).map(|(_, item)| item)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_before_what_it_rests_on_is_committed() {
        let mut outbox = Outbox::default();
        outbox.push("free");
        let first = outbox.persist();
        outbox.push("a");
        outbox.push("b");
        let second = outbox.persist();
        outbox.push("c");
        assert_eq!(outbox.pop(), Some("free"));
        assert_eq!(outbox.pop(), None);
        outbox.committed(first);
        assert_eq!((outbox.pop(), outbox.pop(), outbox.pop()), (Some("a"), Some("b"), None));
        outbox.committed(second);
        outbox.committed(first);
        assert_eq!((outbox.pop(), outbox.len()), (Some("c"), 0));
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_rests_on_a_persist_that_is_undone_waits_for_those_before_it() {
        let mut outbox = Outbox::default();
        let first = outbox.persist();
        let second = outbox.persist();
        outbox.push("a");
        outbox.undone(first);
        outbox.undone(second);
        assert_eq!(outbox.pop(), None);
        outbox.committed(first);
        assert_eq!(outbox.pop(), Some("a"));
        outbox.undone(first);
        let third = outbox.persist();
        outbox.push("b");
        assert_eq!(outbox.pop(), None, "the number was used again");
        outbox.committed(third);
        assert_eq!(outbox.pop(), Some("b"));
    }
}
