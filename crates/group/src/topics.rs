//! What a group knows of topics, and what its members ask of them.

use std::collections::{BTreeMap, BTreeSet};

use millrace_types::{TopicId, TopicName};

use crate::assign::TopicInput;
use crate::ids::Pattern;

/// What one member reads.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Subscription {
    /// Topics by name; they need not exist yet.
    pub names: BTreeSet<TopicName>,
    /// And those whose name a pattern matches.
    pub pattern: Option<Pattern>,
}

/// A topic that exists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicView {
    /// Its id.
    pub id: TopicId,
    /// Its partitions and where they lie.
    pub shape: TopicInput,
}

/// The topics that exist, as of one image. One value may serve all groups.
///
/// Patterns are matched by whoever builds it: `matches` must hold every pattern that a member of the group has or is about to
/// have. A pattern that it does not hold matches nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Topics {
    /// By name.
    pub by_name: BTreeMap<TopicName, TopicView>,
    /// The names that each pattern matches.
    pub matches: BTreeMap<Pattern, BTreeSet<TopicName>>,
}

impl Topics {
    /// Whether the subscription covers a name, whether such a topic exists or not.
    #[must_use]
    pub fn covers(&self, subscription: &Subscription, name: &TopicName) -> bool {
        let matched = subscription.pattern.as_ref().and_then(|pattern| self.matches.get(pattern));
        subscription.names.contains(name) || matched.is_some_and(|names| names.contains(name))
    }

    /// The topics of a subscription that exist.
    pub fn resolve<'a>(
        &'a self,
        subscription: &'a Subscription,
    ) -> impl Iterator<Item = (&'a TopicName, &'a TopicView)> {
        let matched = subscription.pattern.as_ref().and_then(|pattern| self.matches.get(pattern));
        let names: BTreeSet<&TopicName> =
            subscription.names.iter().chain(matched.into_iter().flatten()).collect();
        names.into_iter().filter_map(|name| self.by_name.get_key_value(name))
    }
}

/// Whether the shapes alone matter to the assignor, or also the racks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DigestOver {
    Counts,
    CountsAndRacks,
}

/// A digest of what an assignment was computed over, so that a coordinator that takes over knows whether the topics have changed
/// since. FNV-1a of 64 bits: the input is ours, nobody gains by a collision.
pub(crate) fn digest<'a>(
    topics: impl Iterator<Item = (&'a TopicName, &'a TopicView)>,
    over: DigestOver,
) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    let mut feed = |bytes: &[u8]| {
        // Lengths first, so that no two inputs run together.
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes();
        for byte in length.iter().chain(bytes) {
            state = (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for (name, view) in topics {
        feed(name.as_str().as_bytes());
        feed(&view.id.0);
        feed(&u64::try_from(view.shape.partitions.len()).unwrap_or(u64::MAX).to_le_bytes());
        if over == DigestOver::CountsAndRacks {
            for racks in &view.shape.partitions {
                feed(&[]);
                racks.iter().for_each(|rack| feed(rack.as_str().as_bytes()));
            }
        }
    }
    state
}
