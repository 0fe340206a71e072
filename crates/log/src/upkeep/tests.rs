//! The janitor beside others.

use std::sync::Arc;
use std::time::Duration;

use crate::LogConfig;
use crate::fixture::{batch, fresh, partition, small};

#[test]
fn a_log_may_be_deleted_while_the_janitor_is_at_it() {
    let (sim, dir, log) = fresh(1);
    let large = vec![7; 40_000];
    for _ in 0..4 {
        log.append(batch(&[&large], None)).unwrap().wait().unwrap();
    }
    let inner = Arc::clone(log.inner());
    assert!(!inner.sync.lock().rolled.is_empty(), "there is something to seal");
    log.configure(LogConfig { segment_ms: 1, ..small() }).unwrap();
    sim.clock().advance(Duration::from_secs(1));
    // What the janitor does once it has found the log open.
    dir.delete(partition(0)).unwrap();
    inner.roll_if_old();
    inner.tend_files().unwrap();
    assert_eq!(inner.shared.failure.append_error(), None, "the directory goes on");
}
