//! A consumer, as clients of Kafka are: it joins, syncs, beats, commits, and believes what it was told last.

use std::collections::BTreeSet;

use millrace_group::classic::{ClassicAnswer, ClassicRefusal, Role};
use millrace_group::{CommitRefused, Committer, GroupEpoch, InstanceId, MemberId, Stranger};

use super::{Ask, PARTITIONS, RequestNo, Told, read_share, share};

/// What it is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Doing {
    /// It is to join.
    Nothing,
    Joining(RequestNo),
    /// It has been told a generation, and is to sync.
    Joined,
    Syncing(RequestNo),
    Reading,
}

#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) instance: Option<InstanceId>,
    pub(super) running: bool,
    pub(super) paused_until: u64,
    pub(super) id: Option<MemberId>,
    pub(super) generation: Option<GroupEpoch>,
    pub(super) doing: Doing,
    /// Since when.
    pub(super) since: u64,
    /// By the leader, for the next sync.
    assignments: Vec<(MemberId, bytes::Bytes)>,
    pub(super) owned: BTreeSet<u32>,
}

impl Client {
    pub(super) fn new(instance: Option<InstanceId>) -> Client {
        Client {
            instance,
            running: true,
            paused_until: 0,
            id: None,
            generation: None,
            doing: Doing::Nothing,
            since: 0,
            assignments: Vec::new(),
            owned: BTreeSet::new(),
        }
    }

    /// It begins a new life.
    pub(super) fn forget(&mut self) {
        (self.id, self.generation) = (None, None);
        self.give_up();
    }

    /// It is to join again, as who it is.
    pub(super) fn give_up(&mut self) {
        self.doing = Doing::Nothing;
        self.owned.clear();
        self.assignments.clear();
    }

    pub(super) fn who(&self) -> Option<Committer> {
        let (member, epoch) = (self.id.clone(), self.generation);
        member.is_some().then(|| Committer { member, instance: self.instance.clone(), epoch })
    }

    /// What it waits for, if it does.
    pub(super) fn waits_for(&self) -> Option<RequestNo> {
        match self.doing {
            Doing::Joining(request) | Doing::Syncing(request) => Some(request),
            Doing::Nothing | Doing::Joined | Doing::Reading => None,
        }
    }

    /// The next request of its way into the group.
    pub(super) fn next(&mut self, request: RequestNo, now: u64) -> Option<Ask> {
        let ask = match self.doing {
            Doing::Nothing => {
                self.doing = Doing::Joining(request);
                Ask::Join { member: self.id.clone(), instance: self.instance.clone() }
            }
            Doing::Joined => {
                self.doing = Doing::Syncing(request);
                Ask::Sync { who: self.who()?, assignments: std::mem::take(&mut self.assignments) }
            }
            Doing::Joining(_) | Doing::Syncing(_) | Doing::Reading => return None,
        };
        self.since = now;
        Some(ask)
    }

    /// Hears an answer; `ask` is what it has asked.
    pub(super) fn hear(&mut self, request: RequestNo, ask: &Ask, told: &Told) {
        let waited_for = self.waits_for() == Some(request);
        match (ask, told) {
            (Ask::Join { .. } | Ask::Sync { .. }, _) if !waited_for => {}
            (_, Told::Of(answer)) => match &**answer {
                Ok(ClassicAnswer::Joined { member, generation, role, .. }) => {
                    (self.id, self.generation) = (Some(member.clone()), Some(*generation));
                    self.doing = Doing::Joined;
                    if let Role::Leader(members) = role {
                        self.assign(generation.0, member, members.iter().map(|(id, _, _)| id));
                    }
                }
                Ok(ClassicAnswer::Synced { assignment, .. }) => {
                    self.doing = Doing::Reading;
                    let partitions = read_share(assignment).map(|(_, _, partitions)| partitions);
                    self.owned = partitions.into_iter().flatten().collect();
                }
                Ok(ClassicAnswer::Done) => {}
                Err(refusal) => self.refused(ask, refusal),
            },
            (Ask::Join { .. } | Ask::Sync { .. }, Told::Loading) => self.give_up(),
            (_, Told::Refused(CommitRefused::Stranger(stranger))) if self.is_mine(ask) => {
                self.lost(stranger);
            }
            (_, Told::Refused(CommitRefused::StaleEpoch { .. })) if self.is_mine(ask) => self.give_up(),
            (_, Told::Refused(_) | Told::Committed | Told::Loading) => {}
        }
    }

    /// Whether that was asked as who it is now.
    fn is_mine(&self, ask: &Ask) -> bool {
        match ask {
            Ask::Beat(who) | Ask::Commit(who) | Ask::Leave(who) | Ask::Sync { who, .. } => {
                who.member == self.id && who.epoch == self.generation && self.doing == Doing::Reading
                    || self.waits_for().is_some() && matches!(ask, Ask::Sync { .. })
            }
            Ask::Join { .. } => true,
        }
    }

    fn refused(&mut self, ask: &Ask, refusal: &ClassicRefusal) {
        if !self.is_mine(ask) {
            return;
        }
        match refusal {
            ClassicRefusal::MemberIdRequired { member } => {
                self.id = Some(member.clone());
                self.doing = Doing::Nothing;
            }
            ClassicRefusal::Stranger(stranger) => self.lost(stranger),
            _ => self.give_up(),
        }
    }

    fn lost(&mut self, stranger: &Stranger) {
        self.forget();
        // Another life of it is there, and this one ends.
        self.running = !matches!(stranger, Stranger::FencedInstance { .. });
    }

    fn assign<'a>(
        &mut self,
        generation: i32,
        leader: &MemberId,
        members: impl Iterator<Item = &'a MemberId> + Clone,
    ) {
        let count = u32::try_from(members.clone().count()).unwrap_or(1).max(1);
        let of = |place: u32| -> Vec<u32> { (0..PARTITIONS).filter(|p| p % count == place).collect() };
        let each = (0..).zip(members);
        self.assignments =
            each.map(|(place, id)| (id.clone(), share(generation, leader, &of(place)))).collect();
    }
}
