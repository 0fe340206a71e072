//! The image and what it was folded from.
//!
//! A snapshot holds the facts in the order in which they were folded: what folded once folds again, whatever the fold
//! derives from them.

use std::sync::Arc;

use millrace_metadata::{ApplyError, Image, MetadataRecord};

/// An image with its facts. Cloning shares both.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    image: Arc<Image>,
    /// What each applied entry has brought, oldest first.
    history: Vec<Arc<[MetadataRecord]>>,
}

impl Facts {
    /// Folds the facts of a snapshot.
    pub(crate) fn restore(records: Vec<MetadataRecord>) -> Result<Facts, ApplyError> {
        let mut facts = Facts::default();
        facts.fold(records)?;
        Ok(facts)
    }

    pub(crate) fn image(&self) -> &Arc<Image> {
        &self.image
    }

    /// Folds all of `records`, or none of them.
    pub(crate) fn fold(&mut self, records: Vec<MetadataRecord>) -> Result<(), ApplyError> {
        let image = records.iter().try_fold(Image::clone(&self.image), Image::apply)?;
        self.image = Arc::new(image);
        if !records.is_empty() {
            self.history.push(records.into());
        }
        Ok(())
    }

    /// What folds into this image.
    pub(crate) fn records(&self) -> Vec<MetadataRecord> {
        self.history.iter().flat_map(|records| records.iter().cloned()).collect()
    }
}
