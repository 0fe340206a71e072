//! G4: for each partition a fetch answers what was committed last. Commits of one partition and fetches of it are linearizable: a
//! commit takes effect once between its arrival and its answer; one that was refused never; one of which nobody knows may have, or
//! not.
//!
//! All that may have happened is kept: for each state that the register can be in, which of the commits under way have taken
//! effect. The values are all different. A position may go by itself when it may expire, and at no other time.

use std::collections::{BTreeMap, BTreeSet};

use millrace_types::TopicPartition;

use super::expiry::may_expire;
use super::{Invariant, Scene, Sent, Verdict};
use crate::groups::wire::{Ask, Letter, No, RequestNo, Told};

/// Commits under way at once, from which on the oldest one of unknown outcome counts as decided.
const OPEN_MAX: usize = 6;

/// Index of a value; the first one is that there is none.
type Value = usize;

/// A commit under way: what it writes.
#[derive(Clone, Copy, Debug)]
struct Open {
    request: RequestNo,
    value: Value,
    /// It was answered, and nobody knows.
    in_doubt: bool,
}

#[derive(Debug)]
struct Register {
    /// Text, offset, and when it came.
    values: Vec<(String, u64, u64)>,
    open: Vec<Open>,
    /// What it may be, and which of those under way have taken effect.
    states: BTreeSet<(Value, BTreeSet<RequestNo>)>,
}

impl Default for Register {
    fn default() -> Register {
        let nothing = (String::new(), 0, u64::MAX);
        Register { values: vec![nothing], open: Vec::new(), states: [(0, BTreeSet::new())].into() }
    }
}

impl Register {
    /// Any of those under way may take effect now.
    fn spread(&mut self) {
        let mut fresh: Vec<_> = self.states.iter().cloned().collect();
        while let Some((value, done)) = fresh.pop() {
            for open in self.open.iter().filter(|open| !done.contains(&open.request)) {
                let mut more = done.clone();
                more.insert(open.request);
                if self.states.insert((open.value, more.clone())) {
                    fresh.push((open.value, more));
                }
            }
            self.states.insert((value, done));
        }
    }

    fn begins(&mut self, request: RequestNo, value: (String, u64, u64)) {
        if self.open.len() >= OPEN_MAX
            && let Some(oldest) = self.open.iter().find(|open| open.in_doubt).map(|open| open.request)
        {
            self.spread();
            self.close(oldest);
        }
        self.open.push(Open { request, value: self.values.len(), in_doubt: false });
        self.values.push(value);
    }

    /// Its outcome is part of the states.
    fn close(&mut self, request: RequestNo) {
        self.open.retain(|open| open.request != request);
        let states = std::mem::take(&mut self.states).into_iter();
        self.states = states
            .map(|(value, mut done)| {
                done.remove(&request);
                (value, done)
            })
            .collect();
    }

    fn ends(&mut self, request: RequestNo, taken: bool) {
        if !self.open.iter().any(|open| open.request == request) {
            return;
        }
        if taken {
            self.spread();
        }
        self.states.retain(|(_, done)| done.contains(&request) == taken);
        self.close(request);
    }

    fn read(&mut self, found: Option<&(u64, String)>) -> Verdict {
        self.spread();
        let shown = |value: Value| {
            self.values.get(value).filter(|_| value > 0).map(|(text, offset, _)| (*offset, text.clone()))
        };
        let possible: BTreeSet<Option<(u64, String)>> =
            self.states.iter().map(|(value, _)| shown(*value)).collect();
        let found = found.cloned();
        if !possible.contains(&found) {
            return Err(format!("{found:?} is fetched, of {possible:?} one was due"));
        }
        let values: BTreeSet<Value> =
            self.states.iter().map(|(value, _)| *value).filter(|value| shown(*value) == found).collect();
        self.states.retain(|(value, _)| values.contains(value));
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct Registers {
    of: BTreeMap<TopicPartition, Register>,
}

impl Invariant for Registers {
    fn name(&self) -> &'static str {
        "a fetch answers the last commit"
    }

    fn arrived(&mut self, scene: Scene<'_>, request: RequestNo, sent: &Sent) -> Verdict {
        if let Ask::Commit { position, .. } = &sent.ask {
            let value = (position.text.clone(), position.offset, scene.now);
            self.of.entry(position.partition).or_default().begins(request, value);
        }
        Ok(())
    }

    fn let_out(&mut self, _: Scene<'_>, letter: &Letter, answers: Option<(RequestNo, &Sent)>) -> Verdict {
        let Some((request, sent)) = answers else { return Ok(()) };
        match (&sent.ask, &letter.told) {
            (Ask::Commit { position, .. }, Told::No(No::InDoubt)) => {
                let register = self.of.entry(position.partition).or_default();
                for open in register.open.iter_mut().filter(|open| open.request == request) {
                    open.in_doubt = true;
                }
                Ok(())
            }
            (Ask::Commit { position, .. }, told) => {
                let register = self.of.entry(position.partition).or_default();
                register.ends(request, *told == Told::Done);
                if register.states.is_empty() {
                    return Err(format!("{} was refused, and was fetched before", position.text));
                }
                Ok(())
            }
            (Ask::Fetch { partition }, Told::Committed(found)) => {
                let register = self.of.entry(*partition).or_default();
                register.read(found.as_ref()).map_err(|what| format!("{partition}: {what}"))
            }
            _ => Ok(()),
        }
    }

    fn read_again(&mut self) {
        for register in self.of.values_mut() {
            register.spread();
            while let Some(open) = register.open.first().copied() {
                register.close(open.request);
            }
        }
    }

    fn after(&mut self, scene: Scene<'_>) -> Verdict {
        for (partition, register) in &mut self.of {
            let old = |(value, _): &&(Value, BTreeSet<RequestNo>)| {
                let committed_ms = register.values.get(*value).map_or(u64::MAX, |(_, _, at)| *at);
                *value > 0 && may_expire(scene, *partition, committed_ms)
            };
            let gone: Vec<_> =
                register.states.iter().filter(old).map(|(_, done)| (0, done.clone())).collect();
            register.states.extend(gone);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(register: &mut Register, number: u64) {
        register.begins(RequestNo(number), (number.to_string(), number, 0));
    }

    fn reads(register: &mut Register, number: u64) -> bool {
        register.read(Some(&(number, number.to_string()))).is_ok()
    }

    #[test]
    fn what_was_acknowledged_is_read_and_nothing_older() {
        let mut register = Register::default();
        assert!(register.read(None).is_ok());
        begun(&mut register, 1);
        register.ends(RequestNo(1), true);
        assert!(register.read(None).is_err());
        assert!(reads(&mut register, 1));
        begun(&mut register, 2);
        assert!(reads(&mut register, 1) && reads(&mut register, 2));
        assert!(!reads(&mut register, 1), "it went back");
    }

    #[test]
    fn what_was_refused_is_never_read_and_what_is_in_doubt_may_be() {
        let mut register = Register::default();
        begun(&mut register, 1);
        register.ends(RequestNo(1), false);
        assert!(!reads(&mut register, 1));
        begun(&mut register, 2);
        begun(&mut register, 3);
        register.ends(RequestNo(3), true);
        assert!(reads(&mut register, 3) && reads(&mut register, 2));
        assert!(!reads(&mut register, 3));
        begun(&mut register, 4);
        assert!(reads(&mut register, 4));
        register.ends(RequestNo(4), false);
        assert!(register.states.is_empty(), "refused, and read before");
    }
}
