//! A simulated member: what it knows, what it believes to own, and what follows from what it hears.
//!
//! It behaves as a good client does: it draws a new id for each beginning, takes nothing from an older assignment than the newest
//! that it has heard, lets go before it says so, and commits with the epoch that it has.

use std::collections::BTreeSet;

use millrace_group::consumer::{Assignment, Leaving};
use millrace_group::{Committer, GroupEpoch, InstanceId, MemberId, Profile, Subscription};
use millrace_types::TopicPartition;

use super::lease::Lease;
use super::wire::{Ask, Progress, RequestNo, StreamNo};

/// What it was told, and what it has made of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Belief {
    pub(crate) epoch: GroupEpoch,
    pub(crate) heard: u64,
    pub(crate) told: BTreeSet<TopicPartition>,
    pub(crate) owned: BTreeSet<TopicPartition>,
}

/// What it does with its partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Manner {
    /// It lets go when it is told to.
    #[default]
    Prompt,
    /// It takes longer than it may.
    Stubborn,
}

#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) number: usize,
    pub(crate) running: bool,
    /// Another life of it has its place.
    pub(crate) fenced: bool,
    /// Counts its beginnings.
    pub(crate) life: u32,
    pub(crate) id: Option<MemberId>,
    pub(crate) instance: Option<InstanceId>,
    pub(crate) wants: Subscription,
    /// What it wanted before, until it is certain that the change is known.
    pub(crate) wanted: Option<Subscription>,
    pub(crate) rebalance_timeout_ms: u64,
    pub(crate) manner: Manner,
    pub(crate) paused_until: u64,
    pub(crate) stream: StreamNo,
    /// The newest request on the stream.
    pub(crate) newest: Option<RequestNo>,
    pub(crate) belief: Option<Belief>,
    pub(crate) lease: Lease,
}

impl Consumer {
    pub(crate) fn new(number: usize, instance: Option<InstanceId>, wants: Subscription) -> Consumer {
        Consumer {
            number,
            running: false,
            fenced: false,
            life: 0,
            id: None,
            instance,
            wants,
            wanted: None,
            rebalance_timeout_ms: 0,
            manner: Manner::Prompt,
            paused_until: 0,
            stream: StreamNo(0),
            newest: None,
            belief: None,
            lease: Lease::default(),
        }
    }

    fn profile(&self) -> Profile {
        Profile {
            instance: self.instance.clone(),
            subscription: self.wants.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            ..Profile::default()
        }
    }

    /// Knows nothing any more.
    pub(crate) fn forget(&mut self) {
        self.belief = None;
        self.newest = None;
        self.wanted = None;
        self.lease = Lease::default();
    }

    /// Comes as a new member.
    pub(crate) fn begin(&mut self) -> Option<Ask> {
        self.forget();
        self.life += 1;
        let member = MemberId::new(&format!("c{}-{}", self.number, self.life)).ok()?;
        self.id = Some(member.clone());
        Some(Ask::Join { member, profile: self.profile() })
    }

    fn progress(&self) -> Option<Progress> {
        let Belief { epoch, heard, owned, .. } = self.belief.as_ref()?;
        Some(Progress { epoch: *epoch, heard: *heard, owned: owned.clone() })
    }

    /// Comes back on another stream.
    pub(crate) fn resume(&self) -> Option<Ask> {
        let (member, progress) = (self.id.clone()?, self.progress()?);
        Some(Ask::Resume { member, profile: self.profile(), progress })
    }

    pub(crate) fn heartbeat(&self) -> Option<Ask> {
        let (member, progress) = (self.id.clone()?, self.progress()?);
        let wants = self.wanted.is_some().then(|| self.wants.clone());
        Some(Ask::Heartbeat { member, instance: self.instance.clone(), progress, wants })
    }

    pub(crate) fn leave(&self, leaving: Leaving) -> Option<Ask> {
        let (member, epoch) = (self.id.clone()?, self.belief.as_ref()?.epoch);
        Some(Ask::Leave { member, instance: self.instance.clone(), epoch, leaving })
    }

    pub(crate) fn committer(&self) -> Option<Committer> {
        let epoch = Some(self.belief.as_ref()?.epoch);
        Some(Committer { member: self.id.clone(), instance: self.instance.clone(), epoch })
    }

    /// Takes an assignment, unless it has heard a newer one.
    pub(crate) fn hear(&mut self, assignment: &Assignment) -> bool {
        let belief = self.belief.get_or_insert_default();
        if assignment.revision < belief.heard {
            return false;
        }
        (belief.epoch, belief.heard) = (assignment.epoch, assignment.revision);
        belief.told.clone_from(&assignment.assigned);
        true
    }

    /// Whether it owns something else than it was told.
    pub(crate) fn is_behind(&self) -> bool {
        self.belief.as_ref().is_some_and(|belief| belief.told != belief.owned)
    }

    /// Lets go of what it was told to, and takes up the rest.
    pub(crate) fn reconcile(&mut self) {
        if let Some(belief) = &mut self.belief {
            belief.owned.clone_from(&belief.told);
        }
    }

    /// What it certainly owns at `now`, if it is right.
    pub(crate) fn holds(&self, now: u64) -> Option<&BTreeSet<TopicPartition>> {
        let belief = self.belief.as_ref().filter(|_| self.is_member(now))?;
        Some(&belief.owned)
    }

    /// Whether it certainly is a member.
    pub(crate) fn is_member(&self, now: u64) -> bool {
        self.running && self.lease.holds(now, self.rebalance_timeout_ms)
    }
}
