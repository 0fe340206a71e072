//! Every node folds the same facts in the same order: there is one image of each version, whoever shows it and whenever.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_metadata::Image;
use millrace_types::NodeId;

/// The images that were seen.
#[derive(Debug, Default)]
pub(in crate::quorum) struct Images {
    by_version: BTreeMap<u64, (NodeId, Arc<Image>)>,
}

impl Images {
    pub(in crate::quorum) fn see(&mut self, node: NodeId, image: Arc<Image>) -> Result<(), String> {
        let version = image.version();
        let (first, known) = self.by_version.entry(version).or_insert_with(|| (node, Arc::clone(&image)));
        if Arc::ptr_eq(known, &image) || **known == *image {
            return Ok(());
        }
        let first = first.0;
        Err(format!("nodes {first} and {} have folded different images of version {version}", node.0))
    }
}
