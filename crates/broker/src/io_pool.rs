//! Blocking work on the bounded I/O pool, and work that must end whoever gives up on it.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use millrace_env::{BoxFuture, Env};
use millrace_types::ErrorCode;
use tokio::sync::oneshot;

use crate::ApiError;

/// Pieces of one operation's work that are on the pool at once.
const WIDTH: usize = 16;

/// Runs `work` on the I/O pool.
///
/// # Errors
/// Indefinite, if the work panicked.
pub(crate) async fn on_pool<T, F>(env: &Env, work: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let run = Box::new(move || {
        // Nobody to receive: whoever asked has given up.
        let _sent = sender.send(work());
    });
    env.tasks.on_io_pool(run).await;
    receiver.await.map_err(|_| lost())
}

/// Runs `work` for every item on the I/O pool, some of them side by side; answers in the order of the items.
///
/// # Errors
/// Indefinite, if the work panicked.
pub(crate) async fn each_on_pool<I, T, F>(env: &Env, items: Vec<I>, work: F) -> Result<Vec<T>, ApiError>
where
    I: Send + 'static,
    T: Send + 'static,
    F: Fn(I) -> T + Send + Sync + 'static,
{
    let work = Arc::new(work);
    let mut waiting = items.into_iter().enumerate();
    let start = |(index, item): (usize, I)| {
        let work = Arc::clone(&work);
        async move { (index, on_pool(env, move || work(item)).await) }
    };
    let mut running: FuturesUnordered<_> = waiting.by_ref().take(WIDTH).map(&start).collect();
    let mut done = Vec::new();
    while let Some((index, result)) = running.next().await {
        done.push((index, result?));
        running.extend(waiting.next().map(&start));
    }
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// Runs `future` as a task of its own, so that it ends also when the caller is dropped half-way (a client that
/// disconnects must not leave a topic half made).
///
/// # Errors
/// The future's own, or an indefinite one if it panicked.
pub(crate) async fn to_its_end<T: Send + 'static>(
    env: &Env,
    name: &'static str,
    future: BoxFuture<Result<T, ApiError>>,
) -> Result<T, ApiError> {
    let (sender, receiver) = oneshot::channel();
    let run = async move {
        let _sent = sender.send(future.await);
    };
    let _task = env.tasks.spawn(name, Box::pin(run));
    receiver.await.map_err(|_| lost())?
}

fn lost() -> ApiError {
    ApiError::new(ErrorCode::OutcomeUnknown, "the broker lost track of its own work; its log says why")
}
