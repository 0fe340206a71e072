//! What the members of a fleet know, in one place.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::timeout;

/// A partition of a topic, by id.
pub type Part = (Bytes, i32);

/// A member as it sees itself.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Its id; empty before it was told.
    pub member: String,
    /// The epoch that it was told last.
    pub epoch: i32,
    /// What it owns.
    pub owned: Vec<Part>,
    /// How many more it was told to wait for.
    pub waiting: u32,
    /// How often what it owns has changed.
    pub changes: u64,
    /// How many partitions it was told to let go.
    pub revoked: u64,
    /// How often it was told to heartbeat.
    pub interval: Duration,
}

/// All members added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Members that were told what to own.
    pub members: usize,
    /// Partitions that they own together.
    pub owned: usize,
    /// Partitions that they wait for.
    pub waiting: usize,
}

/// What crossed the wire.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Heartbeats sent.
    pub heartbeats: u64,
    /// Assignments heard.
    pub assignments: u64,
    /// Members that were fenced or forgotten and had to join anew.
    pub fenced: u64,
}

#[derive(Debug, Default)]
struct Inner {
    views: Vec<Option<View>>,
    sums: Sums,
    traffic: Traffic,
    lost: Option<String>,
}

/// The views of all members of a fleet.
#[derive(Debug, Default)]
pub struct Board {
    inner: Mutex<Inner>,
    changed: Notify,
}

impl Board {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All members added up.
    pub fn sums(&self) -> Sums {
        self.inner().sums
    }

    /// What crossed the wire so far.
    pub fn traffic(&self) -> Traffic {
        self.inner().traffic
    }

    /// A member, if it is one now.
    pub fn view(&self, seat: usize) -> Option<View> {
        self.inner().views.get(seat).cloned().flatten()
    }

    /// Who owns what.
    ///
    /// # Errors
    /// A partition has two owners.
    pub fn owners(&self) -> Result<BTreeMap<Part, usize>> {
        let mut owners = BTreeMap::new();
        for (seat, view) in self.inner().views.iter().enumerate() {
            for part in view.iter().flat_map(|view| &view.owned) {
                if let Some(other) = owners.insert(part.clone(), seat) {
                    bail!("members {other} and {seat} own partition {} at once", part.1);
                }
            }
        }
        Ok(owners)
    }

    /// Waits until the members are as wanted.
    ///
    /// # Errors
    /// A member was lost, or it takes too long.
    pub async fn until(&self, patience: Duration, wanted: impl Fn(&Sums) -> bool) -> Result<()> {
        let reached = async {
            loop {
                let changed = self.changed.notified();
                {
                    let inner = self.inner();
                    if let Some(lost) = &inner.lost {
                        bail!("a member was lost: {lost}");
                    }
                    if wanted(&inner.sums) {
                        return Ok(());
                    }
                }
                changed.await;
            }
        };
        match timeout(patience, reached).await {
            Ok(reached) => reached,
            Err(_) => Err(anyhow::anyhow!("it stays at {:?}", self.sums()))
                .with_context(|| format!("waited for {} s", patience.as_secs())),
        }
    }

    pub(super) fn heartbeat(&self) {
        self.inner().traffic.heartbeats += 1;
    }

    /// Puts a member's view in place of the one before.
    pub(super) fn put(&self, seat: usize, view: View) {
        let mut inner = self.inner();
        inner.traffic.assignments += 1;
        if inner.views.len() <= seat {
            inner.views.resize(seat + 1, None);
        }
        inner.take_out(seat);
        inner.sums.members += 1;
        inner.sums.owned += view.owned.len();
        inner.sums.waiting += usize::try_from(view.waiting).unwrap_or(0);
        if let Some(place) = inner.views.get_mut(seat) {
            *place = Some(view);
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// It was fenced and comes again.
    pub(super) fn fenced(&self, seat: usize) {
        self.inner().traffic.fenced += 1;
        self.remove(seat, None);
    }

    /// It is no member any more; `lost` says why if nobody wanted that.
    pub(super) fn remove(&self, seat: usize, lost: Option<String>) {
        let mut inner = self.inner();
        inner.take_out(seat);
        inner.lost = inner.lost.take().or(lost.map(|lost| format!("{seat}: {lost}")));
        drop(inner);
        self.changed.notify_one();
    }
}

impl Inner {
    fn take_out(&mut self, seat: usize) {
        if let Some(view) = self.views.get_mut(seat).and_then(Option::take) {
            self.sums.members -= 1;
            self.sums.owned -= view.owned.len();
            self.sums.waiting -= usize::try_from(view.waiting).unwrap_or(0);
        }
    }
}
