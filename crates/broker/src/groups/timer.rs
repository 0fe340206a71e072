//! The one timer over all groups of the node: their deadlines, and the topics that have changed.
//!
//! It looks at the clock of the groups at least twice in the longest gap that this clock counts, and sleeps without a timer
//! while no group has a member.

use std::sync::{Arc, Weak};
use std::time::Duration;

use millrace_env::{Env, TaskHandle};
use millrace_types::GroupId;
use millrace_types::limits::GROUP_CLOCK_GAP_MS_MAX;
use tokio::sync::watch;

use super::partition::GroupsPartition;
use crate::core::Core;

/// The longest time between two looks at the clock.
const LOOK: Duration = Duration::from_millis(GROUP_CLOCK_GAP_MS_MAX / 2);

/// Starts the task. It ends when the broker closes, and keeps no directory open that everybody else has dropped.
pub(crate) fn start(core: &Arc<Core>) -> Box<dyn TaskHandle> {
    let changes = core.metadata.changes();
    core.env.tasks.spawn("group timer", Box::pin(run(Arc::downgrade(core), changes)))
}

async fn run(weak: Weak<Core>, mut changes: watch::Receiver<u64>) {
    loop {
        let Some(core) = weak.upgrade() else { return };
        let wait = core.groups.next_deadline();
        let (env, admission, woken) = (core.env.clone(), Arc::clone(&core.admission), core.groups.woken());
        drop(core);
        tokio::select! {
            biased;
            () = admission.closed() => return,
            changed = changes.changed() => {
                let (Some(core), Ok(())) = (weak.upgrade(), changed) else { return };
                core.groups.follow_topics(&core.metadata.image()).await;
            }
            () = woken.notified() => {}
            () = sleep(&env, wait) => {}
        }
        let Some(core) = weak.upgrade() else { return };
        core.groups.expire_members().await;
    }
}

async fn sleep(env: &Env, wait: Option<Duration>) {
    match wait {
        // Never quite at once: a deadline that cannot be kept now is tried again.
        Some(wait) => env.clock.sleep(wait.clamp(Duration::from_millis(1), LOOK)).await,
        None => std::future::pending().await,
    }
}

impl GroupsPartition {
    pub(super) async fn expire_members(self: &Arc<Self>) {
        for group in self.overdue() {
            self.expire_members_of(&group).await;
        }
    }

    async fn expire_members_of(self: &Arc<Self>, group: &GroupId) {
        let stepped = self.step(None, |value, now, draft| {
            value.expire(group, now, draft);
            Ok(())
        });
        if let Err(error) = stepped.await {
            tracing::debug!(%error, %group, "a deadline could not be kept");
        }
    }
}
