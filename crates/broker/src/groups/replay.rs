//! Reading one partition of `__consumer_offsets`: one pass gives offsets and groups.
//!
//! Where the log is damaged, the newest commit of any group may lie in the damage, and an older one must not be answered for it.
//! So what was committed *before* the last damage is forgotten and in *doubt*: asked for it, a group hears CORRUPT until it
//! commits anew. What was committed behind the damage is certainly the newest, and is served.
//!
//! Members are in doubt as a whole: a record of one says little without the others. They are dropped and join again, with an
//! epoch that was never given before. How high may those have been? Whoever raises an epoch writes a record, so that none is
//! higher than the offset at which the log ends; nor, as no group lives to see it, than [`EPOCHS_PLAUSIBLE`]. The next
//! step writes down that they were dropped, so that the members who join then are not dropped by the next start.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_group::{GroupEpoch, GroupOffsets, GroupRecord, GroupState, Stored, decode_record};
use millrace_log::Log;
use millrace_record::Record;
use millrace_types::{GroupId, Offset};

use crate::ApiError;
use crate::replay::{damaged, replay_around};

/// More changes than any group goes through: one each second makes thirty years.
const EPOCHS_PLAUSIBLE: i32 = 1 << 30;

/// A partition that was read back.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    pub(super) offsets: GroupOffsets,
    pub(super) groups: BTreeMap<GroupId, GroupState>,
    /// No group begins with this epoch or a lower one.
    pub(super) epoch_floor: GroupEpoch,
    pub(super) doubt: Option<ApiError>,
    /// Whether members were dropped, and the log does not say so yet.
    pub(super) dropped: bool,
}

/// What a start has found of one partition: its log and what is in it, or why there is none.
pub(crate) type FoundOffsets = Result<(Arc<Log>, Result<Replayed, ApiError>), ApiError>;

/// The fold.
#[derive(Debug, Default)]
struct Fold {
    replayed: Replayed,
    /// The highest epoch that was seen of any group.
    seen: GroupEpoch,
    /// Where members came into doubt.
    doubt_from: Option<Offset>,
}

/// Builds the value of one partition from its log. Blocks.
///
/// # Errors
/// If the medium does not give it.
pub(crate) fn replay_groups(log: &Log) -> Result<Replayed, ApiError> {
    let mut fold = Fold::default();
    let mut at = log.offsets().log_start;
    replay_around(log, |record| match record {
        Ok(record) => {
            at = record.offset;
            fold.take(log, &record);
        }
        Err(doubt) => fold.damage(at, doubt),
    })?;
    Ok(fold.end(log.offsets().end))
}

impl Fold {
    fn take(&mut self, log: &Log, record: &Record) {
        let described = |error: String| damaged(log, format!("offset {}: {error}", record.offset));
        let Some(key) = record.key.as_deref() else {
            return self.damage(record.offset, described("a record has no key".to_owned()));
        };
        let value = record.value.as_deref();
        match decode_record(key, value) {
            Ok(Stored::Nothing) => {
                if let Err(error) = self.replayed.offsets.replay(Some(key), value) {
                    self.damage(record.offset, described(error.to_string()));
                }
            }
            Ok(Stored::Of(group, record)) => self.group(group, record),
            Ok(Stored::MembersDropped(floor)) => {
                self.replayed.groups.clear();
                self.replayed.epoch_floor = self.replayed.epoch_floor.max(floor);
                self.doubt_from = None;
            }
            Err(error) => self.doubt_members(record.offset, &described(error.to_string())),
        }
    }

    fn group(&mut self, group: GroupId, record: GroupRecord) {
        let epoch = match &record {
            GroupRecord::Meta(Some(meta)) => meta.epoch,
            GroupRecord::Current { value: Some(current), .. } => current.epoch,
            GroupRecord::Classic(Some(classic)) => classic.generation,
            _ => GroupEpoch(0),
        };
        self.seen = self.seen.max(epoch);
        let state = self.replayed.groups.entry(group.clone()).or_default();
        state.apply(record);
        if state.is_forgotten() {
            self.replayed.groups.remove(&group);
        }
    }

    fn damage(&mut self, at: Offset, doubt: ApiError) {
        tracing::error!(%doubt, "committed offsets from before this place are not served any more");
        self.replayed.offsets = GroupOffsets::default();
        self.doubt_members(at, &doubt);
        self.replayed.doubt = Some(doubt);
    }

    fn doubt_members(&mut self, at: Offset, doubt: &ApiError) {
        tracing::error!(%doubt, "the members of these groups must join again");
        self.doubt_from.get_or_insert(at);
    }

    fn end(mut self, end: Offset) -> Replayed {
        if let Some(from) = self.doubt_from {
            self.replayed.groups.clear();
            let count = |offsets: i64| i32::try_from(offsets).unwrap_or(i32::MAX);
            let by_offset = GroupEpoch(count(end.get()).min(EPOCHS_PLAUSIBLE));
            let unseen = count(end.get().saturating_sub(from.get()));
            let by_record = GroupEpoch(self.seen.0.saturating_add(unseen.min(EPOCHS_PLAUSIBLE)));
            let floor = &mut self.replayed.epoch_floor;
            *floor = by_offset.max(by_record).max(*floor);
            self.replayed.dropped = true;
        }
        self.replayed
    }
}
