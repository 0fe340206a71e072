//! Which of the two kinds a group is of, and how one that nobody is in becomes the other.
//!
//! Offsets do not care. The counter of epochs goes on over the change, so that a generation never has the number of an earlier
//! epoch, and a commit of before is refused after it.

use crate::classic::ClassicState;
use crate::state::{GroupMeta, GroupRecord, GroupState};

/// Who drives a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Front {
    /// [`crate::consumer`]: the coordinator assigns.
    Consumer,
    /// [`crate::classic`]: a member assigns.
    Classic,
}

/// Why a group does not become one of the other kind: Kafka's `GROUP_ID_NOT_FOUND` or `INCONSISTENT_GROUP_PROTOCOL`, by who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the group has {members} members that are assigned in another way")]
pub struct FrontError {
    /// How many.
    pub members: usize,
}

impl GroupState {
    /// What the group is; `None` if nothing is written down of it.
    #[must_use]
    pub fn front(&self) -> Option<Front> {
        match (&self.classic, self.meta == GroupMeta::default()) {
            (Some(_), _) => Some(Front::Classic),
            (None, false) => Some(Front::Consumer),
            (None, true) => None,
        }
    }

    /// The records, one batch, after which the group is of that kind; none if it is or may be so already. To be applied
    /// and persisted before the group is restored from them.
    ///
    /// # Errors
    /// [`FrontError`]: it has members of the other kind.
    pub fn become_front(&self, front: Front) -> Result<Vec<GroupRecord>, FrontError> {
        match (self.front(), front) {
            (None, _) | (Some(Front::Consumer), Front::Consumer) | (Some(Front::Classic), Front::Classic) => {
                Ok(Vec::new())
            }
            (Some(Front::Consumer), Front::Classic) => self.to_classic(),
            (Some(Front::Classic), Front::Consumer) => self.to_consumer(),
        }
    }

    fn to_classic(&self) -> Result<Vec<GroupRecord>, FrontError> {
        let members = self.members.len();
        if members > 0 {
            return Err(FrontError { members });
        }
        let GroupMeta { epoch: generation, emptied_at, .. } = self.meta;
        let state = ClassicState { generation, emptied_at, ..ClassicState::default() };
        Ok(vec![GroupRecord::Meta(None), GroupRecord::Classic(Some(state))])
    }

    fn to_consumer(&self) -> Result<Vec<GroupRecord>, FrontError> {
        let Some(classic) = &self.classic else { return Ok(Vec::new()) };
        let members = classic.members.len();
        if members > 0 {
            return Err(FrontError { members });
        }
        let (epoch, emptied_at) = (classic.generation, classic.emptied_at);
        let meta = GroupMeta { epoch, emptied_at, ..GroupMeta::default() };
        Ok(vec![GroupRecord::Classic(None), GroupRecord::Meta(Some(meta))])
    }
}

#[cfg(test)]
mod tests {
    use millrace_types::TimestampMs;

    use super::*;
    use crate::classic::ClassicMember;
    use crate::ids::{GroupEpoch, MemberId};

    fn applied(state: &GroupState, records: Vec<GroupRecord>) -> GroupState {
        let mut state = state.clone();
        records.into_iter().for_each(|record| state.apply(record));
        state
    }

    #[test]
    fn an_empty_group_changes_its_kind_and_goes_on_counting() {
        assert_eq!(GroupState::default().become_front(Front::Classic), Ok(Vec::new()));
        let emptied_at = Some(TimestampMs(7));
        let meta = GroupMeta { epoch: GroupEpoch(9), emptied_at, ..GroupMeta::default() };
        let consumer = GroupState { meta, ..GroupState::default() };
        assert_eq!(consumer.front(), Some(Front::Consumer));
        let classic = applied(&consumer, consumer.become_front(Front::Classic).unwrap());
        assert_eq!(classic.front(), Some(Front::Classic));
        assert_eq!(classic.become_front(Front::Classic), Ok(Vec::new()));
        let state = classic.classic.clone().unwrap();
        assert_eq!((state.generation, state.emptied_at), (GroupEpoch(9), emptied_at));
        let back = applied(&classic, classic.become_front(Front::Consumer).unwrap());
        assert_eq!((back.front(), back.meta), (Some(Front::Consumer), meta));
    }

    #[test]
    fn a_group_with_members_keeps_its_kind() {
        let member = MemberId::new("a").unwrap();
        let members = [(member.clone(), ClassicMember::default())].into();
        let classic = ClassicState { members, ..ClassicState::default() };
        let mut state = GroupState { classic: Some(classic), ..GroupState::default() };
        assert_eq!(state.become_front(Front::Consumer), Err(FrontError { members: 1 }));
        state.classic = None;
        state.meta.epoch = GroupEpoch(1);
        state.members.insert(member, crate::state::Profile::default());
        assert_eq!(state.become_front(Front::Classic), Err(FrontError { members: 1 }));
    }
}
