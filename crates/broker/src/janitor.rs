//! The one background task: once a second it lets the data directory seal, sync, roll and unlink.

use std::sync::{Arc, Weak};
use std::time::Duration;

use millrace_env::{Env, TaskHandle};
use millrace_log::LogDir;

use crate::admission::Admission;
use crate::io_pool::on_pool;

/// The time between two steps.
const INTERVAL: Duration = Duration::from_secs(1);

/// Starts the task. It ends when the broker closes, and keeps no directory open that everybody else has dropped.
pub(crate) fn start(env: &Env, dir: Weak<LogDir>, admission: Arc<Admission>) -> Box<dyn TaskHandle> {
    let inner = env.clone();
    env.tasks.spawn("janitor", Box::pin(run(inner, dir, admission)))
}

async fn run(env: Env, dir: Weak<LogDir>, admission: Arc<Admission>) {
    loop {
        tokio::select! {
            biased;
            () = admission.closed() => return,
            () = env.clock.sleep(INTERVAL) => {}
        }
        let Some(dir) = dir.upgrade() else { return };
        if let Err(error) = on_pool(&env, move || dir.janitor_step()).await {
            tracing::error!(%error, "a janitor step failed");
        }
    }
}
