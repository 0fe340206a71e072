//! Range: each topic is cut into consecutive pieces, one for each subscriber.

use millrace_types::TopicPartition;

use super::{AssignInput, Target, dealing_order};

pub(super) fn assign(input: &AssignInput) -> Target {
    let mut target: Target = input.members.keys().map(|id| (id.clone(), Default::default())).collect();
    let members = dealing_order(input);
    for (&topic, shape) in &input.topics {
        let subscribers: Vec<_> =
            members.iter().filter(|(_, member)| member.topics.contains(&topic)).collect();
        if subscribers.is_empty() {
            continue;
        }
        let (share, extra) =
            (shape.partitions.len() / subscribers.len(), shape.partitions.len() % subscribers.len());
        let mut indexes = shape.indexes();
        for (place, (id, _)) in subscribers.into_iter().enumerate() {
            let count = share + usize::from(place < extra);
            if let Some(owned) = target.get_mut(*id) {
                owned.extend(
                    indexes.by_ref().take(count).map(|partition| TopicPartition { topic, partition }),
                );
            }
        }
    }
    target
}
