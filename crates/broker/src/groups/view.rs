//! What operators do with groups: count, delete.

use std::collections::BTreeMap;

use millrace_group::consumer::Event;
use millrace_group::{Event as OffsetsEvent, Front, partition_of};
use millrace_types::{ErrorCode, GroupId};
use tokio::sync::oneshot;

use super::coordinated::{Coordinated, Group};
use super::membership::answer_of;
use super::{Groups, draft::Answered};
use crate::ApiError;
use crate::admission::InFlight;

/// How many groups and members there are.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// By kind and stage.
    pub(crate) groups: BTreeMap<(&'static str, &'static str), usize>,
    pub(crate) members: usize,
    /// What the members take, as they are written down.
    pub(crate) bytes: usize,
}

/// How far a group is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Nobody is in it.
    Empty,
    /// Somebody is on the way to what it is to own.
    Reconciling,
    /// Everybody owns what it is to own.
    Stable,
}

impl Group {
    /// How far it is.
    pub(crate) fn stage(&self) -> Stage {
        match self.consumer() {
            _ if self.members() == 0 => Stage::Empty,
            Some(group) if group.is_settled() => Stage::Stable,
            _ => Stage::Reconciling,
        }
    }

    /// Who drives it.
    pub(crate) fn front(&self) -> Option<Front> {
        self.state().front()
    }
}

impl Groups {
    /// Counts groups and members.
    pub(crate) fn census(&self) -> Census {
        let mut census = Census::default();
        for kind in ["consumer", "classic"] {
            for stage in ["empty", "reconciling", "stable"] {
                census.groups.insert((kind, stage), 0);
            }
        }
        for partition in &self.partitions {
            partition.each_group(|group| {
                let kind = if group.front() == Some(Front::Classic) { "classic" } else { "consumer" };
                let stage = match group.stage() {
                    Stage::Empty => "empty",
                    Stage::Reconciling => "reconciling",
                    Stage::Stable => "stable",
                };
                *census.groups.entry((kind, stage)).or_default() += 1;
                census.members += group.members();
            });
        }
        census.bytes = self.members_bytes();
        census
    }

    /// Forgets a group that nobody is in, with all that it has committed; answers when that is committed.
    ///
    /// # Errors
    /// GROUP_NOT_EMPTY, GROUP_NOT_FOUND, or as an append.
    pub(crate) async fn delete_group(&self, guard: InFlight, id: &GroupId) -> Result<(), ApiError> {
        let partition = self.partition(partition_of(id))?;
        let (sender, receiver) = oneshot::channel();
        let stepped = partition.step(Some(guard), |value, now, draft| {
            value.catch_up(id, draft, now);
            if let Err(refused) = value.check_nobody(id) {
                draft.reply(sender, Err(refused));
                return Ok(());
            }
            let keys: Vec<_> = value.offsets.of_group(id).map(|(key, _)| key.clone()).collect();
            if value.group(id).is_none() && keys.is_empty() {
                let message = format!("there is no group {id}");
                draft.reply(sender, Err(ApiError::new(ErrorCode::GroupNotFound, message)));
                return Ok(());
            }
            value.step_offsets(OffsetsEvent::Forgotten { keys }, now, draft, None);
            value.step(id, (Event::Delete, None), now, draft);
            draft.reply(sender, Ok(Answered::Done));
            Ok(())
        });
        stepped.await?;
        answer_of(receiver).await.map(|_done| ())
    }
}

impl Coordinated {
    /// Refuses what is only to be done while a group has no members.
    pub(super) fn check_nobody(&self, id: &GroupId) -> Result<(), ApiError> {
        let members = self.group(id).map_or(0, Group::members);
        if members == 0 {
            return Ok(());
        }
        let message = format!("the group has {members} members");
        Err(ApiError::new(ErrorCode::GroupNotEmpty, message))
    }
}
