//! G5: nobody is answered by a coordinator that does not know yet what it has written: who certainly is a member is never told that it
//! is none. (What was acknowledged and is missing after a start shows in the registers.)

use super::{Invariant, Scene, Sent, Verdict};
use crate::groups::wire::{Ask, Letter, No, RequestNo, Told};

pub(crate) struct Membership;

impl Invariant for Membership {
    fn name(&self) -> &'static str {
        "nobody is put out without a cause"
    }

    fn let_out(&mut self, scene: Scene<'_>, letter: &Letter, answers: Option<(RequestNo, &Sent)>) -> Verdict {
        let (Told::No(No::Unknown), Some((_, sent))) = (&letter.told, answers) else { return Ok(()) };
        let member = match &sent.ask {
            Ask::Heartbeat { member, .. } | Ask::Resume { member, .. } => Some(member),
            Ask::Commit { who, .. } => who.member.as_ref(),
            _ => None,
        };
        let Some(consumer) = scene.consumers.get(sent.consumer) else { return Ok(()) };
        if member.is_some() && consumer.id.as_ref() == member && consumer.is_member(scene.now) {
            return Err(format!("consumer {} is told that it is no member", consumer.number));
        }
        Ok(())
    }
}
