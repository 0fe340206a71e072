//! The one timer of the data directory: it begins the syncs by which topics with `sync.mode=interval=MS,BYTES` keep to
//! their milliseconds. It sleeps without a timer while nothing is due.

use std::sync::{Arc, Weak};

use millrace_env::{Env, Monotonic, TaskHandle};
use millrace_log::LogDir;

use crate::admission::Admission;

/// Starts the task. It ends when the broker closes, and keeps no directory open that everybody else has dropped.
pub(crate) fn start(env: &Env, dir: &Arc<LogDir>, admission: Arc<Admission>) -> Box<dyn TaskHandle> {
    let (inner, dir) = (env.clone(), Arc::downgrade(dir));
    env.tasks.spawn("sync timer", Box::pin(run(inner, dir, admission)))
}

async fn run(env: Env, dir: Weak<LogDir>, admission: Arc<Admission>) {
    loop {
        let Some(open) = dir.upgrade() else { return };
        // Short: the syncs run on threads of their own.
        open.sync_due();
        let at = open.sync_due_at();
        let sooner = open.sync_due_sooner(at);
        drop(open);
        tokio::select! {
            biased;
            () = admission.closed() => return,
            () = sooner => {}
            () = sleep_until(&env, at) => {}
        }
    }
}

async fn sleep_until(env: &Env, at: Option<Monotonic>) {
    match at {
        Some(at) => env.clock.sleep(at.since(env.clock.monotonic())).await,
        None => std::future::pending().await,
    }
}
