//! A classic group that has come to life: its value, what the log says of it, and who waits for its answers.
//!
//! A join waits for the others, a sync for the leader: their senders stay here until the value answers. What is answered leaves
//! through the outbox, behind the records of its step. If the value is dropped the senders go with it, and whoever waits hears
//! that it must ask again.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use millrace_group::classic::{
    ClassicConfig, ClassicEffect, ClassicEvent, ClassicGroup, ClassicRefusal, ClassicState, RequestId,
};
use millrace_group::{CommitRefused, Committer, GroupEpoch, GroupState, Moment, Now};
use millrace_types::{ErrorCode, GroupId};
use tokio::sync::oneshot;

use super::coordinated::{Coordinated, Group};
use super::draft::{Answer, Answered, Draft};
use crate::ApiError;

/// A request of ours, which nobody waits for.
const NOBODY: RequestId = RequestId(u64::MAX);

#[derive(Debug)]
pub(crate) struct LiveClassic {
    group: ClassicGroup,
    /// What the log says of it, or will.
    written: GroupState,
    waiting: BTreeMap<RequestId, oneshot::Sender<Answer>>,
    bytes: usize,
    pub(super) deadline: Option<Moment>,
}

impl LiveClassic {
    /// One of which nothing is written down. Its generations begin behind `floor`.
    pub(super) fn begin(config: ClassicConfig, floor: GroupEpoch, now: Now) -> LiveClassic {
        let state = ClassicState { generation: floor, ..ClassicState::default() };
        LiveClassic::of(ClassicGroup::restore(config, state, now), GroupState::default())
    }

    /// One that is written down.
    pub(super) fn restore(config: ClassicConfig, written: GroupState, now: Now) -> LiveClassic {
        let state = written.classic.clone().unwrap_or_default();
        LiveClassic::of(ClassicGroup::restore(config, state, now), written)
    }

    fn of(group: ClassicGroup, written: GroupState) -> LiveClassic {
        let bytes = group.members_bytes();
        LiveClassic { group, written, waiting: BTreeMap::new(), bytes, deadline: None }
    }

    pub(crate) fn group(&self) -> &ClassicGroup {
        &self.group
    }

    /// What is written down of it.
    pub(super) fn written(&self) -> &GroupState {
        &self.written
    }

    /// What its members take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is left of it.
    pub(super) fn is_over(&self) -> bool {
        self.group.is_deserted() && self.written.is_forgotten()
    }

    pub(super) fn check_commit(&self, who: &Committer) -> Result<(), ApiError> {
        self.group.check_commit(who).map_err(|refused| match &refused {
            CommitRefused::StaleEpoch { .. } => {
                ApiError::new(ErrorCode::StaleGeneration, refused.to_string())
            }
            _ => refused.into(),
        })
    }
}

impl Coordinated {
    /// Steps a classic group that is there; `reply` waits for the answer to `request`. Answers nothing if it is not.
    pub(super) fn step_classic(
        &mut self,
        id: &GroupId,
        (event, request, reply): (ClassicEvent, RequestId, Option<oneshot::Sender<Answer>>),
        now: Now,
        draft: &mut Draft,
    ) {
        let Some(Group::Classic(live)) = self.groups.get_mut(id) else { return };
        live.waiting.extend(reply.map(|reply| (request, reply)));
        let only_heard = matches!(event, ClassicEvent::Heartbeat(..));
        let effects = live.group.step(event, now);
        let mut persisted = None;
        for effect in effects {
            match effect {
                // Each replaces the one before it: the log needs the last only.
                ClassicEffect::Persist(records) => persisted = Some(records),
                ClassicEffect::Reply(request, answer) => {
                    let Some(reply) = live.waiting.remove(&request) else { continue };
                    let answer = match answer {
                        Ok(answer) => Ok(Answered::Classic(answer)),
                        Err(ClassicRefusal::MemberIdRequired { member }) => Ok(Answered::ComeBackAs(member)),
                        Err(refusal) => Err(refusal.into()),
                    };
                    draft.reply_of_many(reply, answer);
                }
            }
        }
        let generation = |state: &GroupState| state.classic.as_ref().map(|classic| classic.generation);
        let before = generation(&live.written);
        for record in persisted.into_iter().flatten() {
            draft.group_record(record.encode(id));
            live.written.apply(record);
        }
        if generation(&live.written) > before {
            self.rules.counters.epoch_begun();
        }
        if !only_heard {
            let bytes = live.group.members_bytes();
            self.rules.totals.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.rules.totals.bytes.fetch_sub(std::mem::replace(&mut live.bytes, bytes), Ordering::Relaxed);
        }
        self.after_step(id);
    }

    pub(super) fn expire_classic(&mut self, id: &GroupId, now: Now, draft: &mut Draft) {
        self.step_classic(id, (ClassicEvent::Deadline, NOBODY, None), now, draft);
    }

    pub(super) fn delete_classic(&mut self, id: &GroupId, now: Now, draft: &mut Draft) {
        self.step_classic(id, (ClassicEvent::Delete(NOBODY), NOBODY, None), now, draft);
    }

    /// Nobody waits for the answer to that any more, if it was not given yet.
    pub(super) fn hung_up(&mut self, id: &GroupId, request: RequestId, now: Now, draft: &mut Draft) {
        let Some(Group::Classic(live)) = self.groups.get_mut(id) else { return };
        if live.waiting.remove(&request).is_some() {
            self.step_classic(id, (ClassicEvent::HungUp(request), request, None), now, draft);
        }
    }
}
