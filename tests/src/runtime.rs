//! The runtime on which a suite runs its clients.

/// Runs `work` to its end on a runtime of two workers, which ends with it: what still runs there then is left behind.
///
/// # Panics
/// When the runtime cannot be made.
pub fn on_two_workers<W: Future>(work: W) -> W::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}
