//! What must hold, one file each. None of it looks into the code under test but [`target`], which reads what a group has written
//! down; everything else knows only what went in, what came out, and what the members make of it.

mod epochs;
mod expiry;
mod fencing;
mod membership;
mod ownership;
mod register;
mod target;

use std::collections::BTreeMap;

use millrace_group::GroupState;
pub(crate) use target::{covers, partitions};

use super::consumer::Consumer;
use super::lease::SentAt;
use super::wire::{Ask, Letter, RequestNo, StreamNo, Tick, Topic};

/// A request that was sent.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) consumer: usize,
    pub(crate) life: u32,
    pub(crate) stream: StreamNo,
    pub(crate) ask: Ask,
    pub(crate) at: SentAt,
    /// When the coordinator took it first.
    pub(crate) arrived: Option<Tick>,
}

/// What there is to be seen.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) now: u64,
    pub(crate) tick: Tick,
    pub(crate) consumers: &'a [Consumer],
    pub(crate) requests: &'a BTreeMap<RequestNo, Sent>,
    pub(crate) topics: &'a [Topic],
    pub(crate) state: Option<&'a GroupState>,
    pub(crate) retention_ms: u64,
}

impl Scene<'_> {
    /// Whether somebody is certainly a member.
    pub(crate) fn has_members(&self) -> bool {
        self.consumers.iter().any(|consumer| consumer.is_member(self.now))
    }
}

/// What is broken.
pub(crate) type Verdict = Result<(), String>;

pub(crate) trait Invariant {
    fn name(&self) -> &'static str;

    /// The coordinator has taken a request.
    fn arrived(&mut self, _scene: Scene<'_>, _request: RequestNo, _sent: &Sent) -> Verdict {
        Ok(())
    }

    /// It has let something out: an answer comes with its request.
    fn let_out(
        &mut self,
        _scene: Scene<'_>,
        _letter: &Letter,
        _answers: Option<(RequestNo, &Sent)>,
    ) -> Verdict {
        Ok(())
    }

    /// It has read its log again: what was under way has happened, or never will.
    fn read_again(&mut self) {}

    /// Something has happened.
    fn after(&mut self, _scene: Scene<'_>) -> Verdict {
        Ok(())
    }
}

pub(crate) fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(ownership::Ownership),
        Box::new(target::LegalTarget::default()),
        Box::new(epochs::Epochs::default()),
        Box::new(fencing::Fencing::default()),
        Box::new(register::Registers::default()),
        Box::new(membership::Membership),
    ]
}
