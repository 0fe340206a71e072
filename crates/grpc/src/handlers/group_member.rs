//! `GroupMember`: a member of a consumer group, for as long as the stream lives.
//!
//! ```text
//!   HTTP/2 asks ─► was the last answer taken? (pace) ─► the member's next message, or news for it ─► one assignment
//! ```
//! Nothing is queued. An assignment is asked of the coordinator when the client has taken the one before, and is the newest
//! then; a client that takes nothing is not heard either, and its session runs out. A member that talks too fast waits for
//! its turn and keeps nobody else from his.
//!
//! The membership lives in the stream. Whatever ends it without a leave (the client goes, says something that it must not, or
//! the broker drains) drops it, and the coordinator gives the member a short time to come back.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use millrace_broker::{GroupAssignment, GroupMembership, Leaving};
use millrace_env::Monotonic;
use millrace_proto::v1;
use millrace_proto::v1::group_member_request::Request;
use millrace_proto::v1::group_member_response::Response;
use millrace_types::ErrorCode;
use millrace_types::limits::{
    MEMBER_MESSAGE_INTERVAL_MS, MEMBER_MESSAGES_AT_ONCE_MAX, MEMBER_SMALL_MESSAGE_BYTES_MAX,
};
use prost::Message;
use tonic::{Status, Streaming};

use crate::caller::Caller;
use crate::error_map::{refuse, status_of};
use crate::group_parts;
use crate::pace::Stalled;
use crate::parts;
use crate::service::Api;

/// How long a heartbeat waits before it is tried again while the coordinator reads its groups, and how often.
const LOADING_WAIT: Duration = Duration::from_millis(100);
const LOADING_WAITS_MAX: u32 = 50;

/// The answers of one stream.
pub(crate) type Answers = Pin<Box<dyn Stream<Item = Result<v1::GroupMemberResponse, Status>> + Send>>;

pub(crate) fn handle(api: Api, caller: Caller, requests: Streaming<v1::GroupMemberRequest>) -> Answers {
    let place = Place::Outside;
    let talk = Talk { api, caller, requests, place, turn: Turn::default() };
    Box::pin(futures::stream::unfold(talk, Talk::step))
}

/// A stream under way.
struct Talk {
    api: Api,
    caller: Caller,
    requests: Streaming<v1::GroupMemberRequest>,
    place: Place,
    turn: Turn,
}

enum Place {
    /// It has not joined.
    Outside,
    Inside(GroupMembership),
    /// It has left, or was refused. Nothing follows.
    Over,
}

/// What comes next.
enum Next {
    Said(Option<v1::GroupMemberRequest>),
    News(GroupAssignment),
}

impl Talk {
    async fn step(mut self) -> Option<(Result<v1::GroupMemberResponse, Status>, Talk)> {
        if matches!(self.place, Place::Over) {
            return None;
        }
        let answer = self.answer_in_time().await;
        if answer.is_err() {
            self.place = Place::Over;
        }
        Some((answer.transpose()?, self))
    }

    /// The next answer, unless the broker drains or the client's deadline passes before there is one.
    async fn answer_in_time(&mut self) -> Result<Option<v1::GroupMemberResponse>, Status> {
        let draining = self.api.draining.clone();
        let (clock, deadline) = (self.api.env.clock.clone(), self.caller.context.deadline);
        let late = async {
            match deadline {
                Some(deadline) => clock.sleep(deadline.since(clock.monotonic())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = draining.cancelled() => Err(refuse(ErrorCode::ShuttingDown, "the broker is shutting down")),
            answer = self.answer() => answer,
            () = late => Err(refuse(ErrorCode::TimedOut, "the client's deadline has passed")),
        }
    }

    async fn answer(&mut self) -> Result<Option<v1::GroupMemberResponse>, Status> {
        if let Some(pace) = &self.caller.pace
            && let Err(Stalled) = pace.emptied().await
        {
            let message = "the client took no answer for too long; join again";
            return Err(refuse(ErrorCode::Throttled, message));
        }
        let next = self.next().await?;
        // The memory of the message, until it is dealt with.
        let _message = match &next {
            Next::Said(_) => self.caller.permits.claim(),
            Next::News(_) => None,
        };
        let response = match next {
            Next::News(assignment) => group_parts::assignment_to_wire(assignment),
            // Gone without a leave: it has a short time to come back.
            Next::Said(None) => return Ok(None),
            Next::Said(Some(request)) => self.said(request).await?,
        };
        if response.encoded_len() > MEMBER_SMALL_MESSAGE_BYTES_MAX {
            self.api.pay_for(&self.caller, &response).await?;
        }
        Ok(Some(response))
    }

    async fn next(&mut self) -> Result<Next, Status> {
        let (requests, turn, clock) = (&mut self.requests, &mut self.turn, &*self.api.env.clock);
        let said = async {
            let wait = turn.wait(clock.monotonic());
            if !wait.is_zero() {
                clock.sleep(wait).await;
            }
            let said = requests.message().await?;
            turn.take(clock.monotonic());
            Ok(Next::Said(said))
        };
        let Place::Inside(membership) = &mut self.place else { return said.await };
        tokio::select! {
            biased;
            said = said => said,
            news = membership.news() => news.map(Next::News).map_err(status_of),
        }
    }

    async fn said(&mut self, request: v1::GroupMemberRequest) -> Result<v1::GroupMemberResponse, Status> {
        match (request.request, std::mem::replace(&mut self.place, Place::Over)) {
            (Some(Request::Join(join)), Place::Outside) => self.join(join).await,
            (Some(Request::Heartbeat(heartbeat)), Place::Inside(membership)) => {
                self.heartbeat(heartbeat, membership).await
            }
            (Some(Request::Leave(v1::LeaveGroup { for_now })), Place::Inside(membership)) => {
                let leaving = if for_now { Leaving::ForNow } else { Leaving::ForGood };
                let left = async move { membership.leave(leaving).await };
                self.api.complete("leave a group", left).await?;
                let response = Some(Response::Left(v1::LeftGroup {}));
                Ok(v1::GroupMemberResponse { response })
            }
            (Some(Request::Join(_)), _) => {
                Err(invalid("the stream is of one member, who has joined already"))
            }
            (Some(_), _) => Err(invalid("the first message has to be a join")),
            (None, _) => Err(invalid("the message is no join, no heartbeat and no leave")),
        }
    }

    async fn join(&mut self, join: v1::JoinGroup) -> Result<v1::GroupMemberResponse, Status> {
        let request = group_parts::join(join, &self.caller).map_err(status_of)?;
        let (broker, context) = (self.api.broker.clone(), self.caller.context.clone());
        // To its end: whoever goes away meanwhile drops a membership, and not half of one.
        let joined = async move { broker.join_group(&context, request).await };
        let (membership, assignment) = self.api.complete("join a group", joined).await?;
        self.place = Place::Inside(membership);
        Ok(group_parts::assignment_to_wire(assignment))
    }

    async fn heartbeat(
        &mut self,
        heartbeat: v1::GroupHeartbeat,
        membership: GroupMembership,
    ) -> Result<v1::GroupMemberResponse, Status> {
        let progress = heartbeat.progress.ok_or_else(|| invalid("the heartbeat does not say its epoch"))?;
        let progress = group_parts::progress(progress).map_err(status_of)?;
        let subscription =
            heartbeat.subscription.map(group_parts::subscription).transpose().map_err(status_of)?;
        let mut waits = 0;
        let assignment = loop {
            match membership.heartbeat(progress.clone(), subscription.clone()).await {
                // The groups are being read again, of all members at once: nobody need come back for that.
                Err(error) if error.code == ErrorCode::CoordinatorLoading && waits < LOADING_WAITS_MAX => {
                    waits += 1;
                    self.api.env.clock.sleep(LOADING_WAIT).await;
                }
                answer => break answer.map_err(status_of)?,
            }
        };
        self.place = Place::Inside(membership);
        Ok(group_parts::assignment_to_wire(assignment))
    }
}

fn invalid(message: &'static str) -> Status {
    status_of(parts::invalid(message))
}

/// When a member may speak again: so many messages at once, and so many in a second.
#[derive(Clone, Copy, Default, Debug)]
struct Turn {
    /// When all that it has said would have been said at the allowed pace.
    paid_until: Monotonic,
}

impl Turn {
    const INTERVAL: Duration = Duration::from_millis(MEMBER_MESSAGE_INTERVAL_MS);

    /// How long the next message is left where it is.
    fn wait(self, now: Monotonic) -> Duration {
        let ahead = Turn::INTERVAL * (MEMBER_MESSAGES_AT_ONCE_MAX - 1);
        self.paid_until.since(now).saturating_sub(ahead)
    }

    /// A message was read.
    fn take(&mut self, now: Monotonic) {
        self.paid_until = self.paid_until.max(now).after(Turn::INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_talks_too_fast_waits_and_who_does_not_never_does() {
        let (mut turn, now) = (Turn::default(), Monotonic::default().after(Duration::from_secs(5)));
        for _ in 0..MEMBER_MESSAGES_AT_ONCE_MAX {
            assert_eq!(turn.wait(now), Duration::ZERO);
            turn.take(now);
        }
        assert_eq!(turn.wait(now), Turn::INTERVAL);
        let later = now.after(Turn::INTERVAL);
        assert_eq!(turn.wait(later), Duration::ZERO);
        turn.take(later);
        assert_eq!(turn.wait(later), Turn::INTERVAL);
        let much_later = later.after(Duration::from_secs(3600));
        for _ in 0..MEMBER_MESSAGES_AT_ONCE_MAX {
            assert_eq!(turn.wait(much_later), Duration::ZERO);
            turn.take(much_later);
        }
        assert_eq!(turn.wait(much_later), Turn::INTERVAL, "silence saves up no more than a burst");
    }
}
