//! G6: a position goes only when its time is over and nobody who is certainly there reads its topic.

use millrace_types::TopicPartition;

use super::Scene;
use super::target::covers;

/// Whether what was committed at `committed_ms` may go now.
pub(crate) fn may_expire(scene: Scene<'_>, partition: TopicPartition, committed_ms: u64) -> bool {
    let is_read = || {
        let topic = scene.topics.iter().find(|topic| topic.id == partition.topic);
        topic.is_some_and(|topic| {
            let there = scene.consumers.iter().filter(|consumer| consumer.is_member(scene.now));
            there
                .filter(|consumer| covers(&consumer.wants, topic))
                .any(|consumer| consumer.wanted.as_ref().is_none_or(|wanted| covers(wanted, topic)))
        })
    };
    scene.now.saturating_sub(committed_ms) >= scene.retention_ms && !is_read()
}
