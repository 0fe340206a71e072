//! The members that can be reached: one stream each, with what it has not heard yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_group::MemberId;
use millrace_group::consumer::LostBecause;
use millrace_types::{ErrorCode, GroupId};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::ApiError;

/// A member's end of the line.
#[derive(Debug, Default)]
pub(super) struct Stream {
    news: Mutex<News>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct News {
    /// Counts what the member would hear.
    due: u64,
    /// Why it is no member any more.
    lost: Option<ApiError>,
    /// Whether nobody listens any more.
    closed: bool,
}

impl Stream {
    /// How often there was news, unless the member is lost.
    pub(super) fn due(&self) -> Result<u64, ApiError> {
        let news = self.news.lock();
        news.lost.as_ref().map_or(Ok(news.due), |lost| Err(lost.clone()))
    }

    /// To be asked for before [`Stream::due`], and awaited behind it.
    pub(super) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    fn tell(&self) {
        self.news.lock().due += 1;
        self.changed.notify_waiters();
    }

    fn lose(&self, why: ApiError) {
        self.news.lock().lost.get_or_insert(why);
        self.changed.notify_waiters();
    }

    /// Nobody listens any more.
    pub(super) fn close(&self) {
        self.news.lock().closed = true;
    }
}

/// The streams of one partition's groups.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: BTreeMap<(GroupId, MemberId), Arc<Stream>>,
}

impl Streams {
    /// The member is reached by this stream now, and by no other. One that was closed meanwhile is not taken.
    pub(super) fn open(&mut self, group: GroupId, member: MemberId, stream: Arc<Stream>) {
        if stream.news.lock().closed {
            return;
        }
        if let Some(before) = self.open.insert((group, member), Arc::clone(&stream))
            && !Arc::ptr_eq(&before, &stream)
        {
            let message = "the member has come back on another stream";
            before.lose(ApiError::new(ErrorCode::FencedMemberEpoch, message));
        }
    }

    /// Whether the member was reached by this stream, which is closed.
    pub(super) fn close(&mut self, group: &GroupId, member: &MemberId, stream: &Arc<Stream>) -> bool {
        let key = (group.clone(), member.clone());
        let is_it = self.open.get(&key).is_some_and(|open| Arc::ptr_eq(open, stream));
        if is_it {
            self.open.remove(&key);
        }
        is_it
    }

    /// The member would hear something new.
    pub(super) fn tell(&self, group: &GroupId, member: &MemberId) {
        if let Some(stream) = self.open.get(&(group.clone(), member.clone())) {
            stream.tell();
        }
    }

    /// The member is none any more.
    pub(super) fn lose(&mut self, group: &GroupId, member: &MemberId, because: LostBecause) {
        if let Some(stream) = self.open.remove(&(group.clone(), member.clone())) {
            stream.lose(lost(member, because));
        }
    }

    /// The groups were read again from their log: who is still a member asks anew, who is none hears it.
    pub(super) fn after_rebuild(&mut self, is_member: impl Fn(&GroupId, &MemberId) -> bool) {
        self.open.retain(|(group, member), stream| {
            let stays = is_member(group, member);
            if stays {
                stream.tell();
            } else {
                let message = format!("{member} is not a member of the group");
                stream.lose(ApiError::new(ErrorCode::UnknownMember, message));
            }
            stays
        });
    }

    /// Nothing will be heard any more.
    pub(super) fn lose_all(&mut self, why: &ApiError) {
        for (_, stream) in std::mem::take(&mut self.open) {
            stream.lose(why.clone());
        }
    }
}

fn lost(member: &MemberId, because: LostBecause) -> ApiError {
    let (code, why) = match because {
        LostBecause::Left => (ErrorCode::UnknownMember, "it has left"),
        LostBecause::SessionExpired => (ErrorCode::UnknownMember, "it was silent for too long"),
        LostBecause::RevocationTimedOut => {
            (ErrorCode::UnknownMember, "it kept partitions that it was told to let go")
        }
        LostBecause::Replaced => {
            (ErrorCode::FencedInstance, "a newer life of the static member is in its place")
        }
        LostBecause::JoinedAgain => (ErrorCode::FencedMemberEpoch, "it has joined again"),
    };
    ApiError::new(code, format!("{member} is not a member of the group any more: {why}"))
}
