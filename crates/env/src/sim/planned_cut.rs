//! A power cut before a certain call, so that a history is cut before every one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::disk::SimDisk;
use super::power::Survival;
use crate::counting::{CallKind, Calls};

/// A power cut that is planned, until it is dropped. It takes the place of every other hook of [`Calls::on_call`].
#[derive(Debug)]
pub struct PlannedCut {
    calls: Arc<Calls>,
    made: Arc<AtomicU64>,
    at: u64,
}

impl PlannedCut {
    pub(super) fn new(calls: &Arc<Calls>, disk: &SimDisk, at: u64, survival: Survival) -> PlannedCut {
        let made = Arc::new(AtomicU64::new(0));
        for kind in CallKind::ALL {
            let (disk, made) = (disk.clone(), Arc::clone(&made));
            let hook = move |_: &_| {
                if made.fetch_add(1, Ordering::SeqCst) == at {
                    disk.power_cut(survival);
                }
            };
            calls.on_call(kind, Box::new(hook));
        }
        PlannedCut { calls: Arc::clone(calls), made, at }
    }

    /// Whether the power was cut: so many calls were made.
    #[must_use]
    pub fn happened(&self) -> bool {
        self.made.load(Ordering::SeqCst) > self.at
    }
}

impl Drop for PlannedCut {
    fn drop(&mut self) {
        CallKind::ALL.into_iter().for_each(|kind| self.calls.remove_hook(kind));
    }
}
