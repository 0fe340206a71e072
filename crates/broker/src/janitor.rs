//! The one background task: once a second it lets the data directory seal, sync, roll and unlink, carries out what
//! found no room before, and lets groups forget what is over.

use std::sync::{Arc, Weak};
use std::time::Duration;

use millrace_env::{Env, TaskHandle};

use crate::admission::Admission;
use crate::core::Core;
use crate::groups::Upkeep;
use crate::io_pool::on_pool;

/// The time between two steps.
const INTERVAL: Duration = Duration::from_secs(1);

/// Starts the task. It ends when the broker closes, and keeps no directory open that everybody else has dropped.
pub(crate) fn start(core: &Arc<Core>) -> Box<dyn TaskHandle> {
    let run = run(core.env.clone(), Arc::downgrade(core), Arc::clone(&core.admission));
    core.env.tasks.spawn("janitor", Box::pin(run))
}

async fn run(env: Env, core: Weak<Core>, admission: Arc<Admission>) {
    let Some(retention) = core.upgrade().map(|core| core.config.groups.offsets_retention) else { return };
    let mut upkeep = Upkeep::new(&env, retention);
    loop {
        tokio::select! {
            biased;
            () = admission.closed() => return,
            () = env.clock.sleep(INTERVAL) => {}
        }
        let Some(core) = core.upgrade() else { return };
        let dir = Arc::clone(&core.dir);
        if let Err(error) = on_pool(&env, move || dir.janitor_step()).await {
            tracing::error!(%error, "a janitor step failed");
        }
        core.finish().await;
        upkeep.step(&env, &core.groups).await;
    }
}
