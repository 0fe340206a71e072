//! One member stream: what the consumer says goes out, what the coordinator says comes in as events.

use millrace_env::{Env, TaskHandle};
use millrace_proto::v1;
use millrace_proto::v1::group_member_request::Request;
use millrace_proto::v1::group_member_response::Response;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::ClientError;
use crate::connection::Rpc;

/// What may be on its way in either direction; more is a sign that nobody listens.
const MESSAGES_MAX: usize = 16;

/// What a stream reports.
#[derive(Debug)]
pub(super) enum Event {
    Assignment(v1::GroupAssignment),
    Left,
    Ended(ClientError),
}

/// A stream.
#[derive(Debug)]
pub(super) struct MemberStream {
    pub(super) server: String,
    requests: mpsc::Sender<v1::GroupMemberRequest>,
    pub(super) events: mpsc::Receiver<Event>,
    task: Box<dyn TaskHandle>,
}

impl MemberStream {
    /// Connects in the background and joins.
    pub(super) fn open(env: &Env, server: String, rpc: Rpc, join: v1::JoinGroup) -> MemberStream {
        let (requests, outgoing) = mpsc::channel(MESSAGES_MAX);
        let (send, events) = mpsc::channel(MESSAGES_MAX);
        let name = server.clone();
        let run = async move {
            let error = run(&name, rpc, outgoing, &send).await;
            // The consumer is gone if nobody listens.
            let _ = send.send(Event::Ended(error)).await;
        };
        let task = env.tasks.spawn("group member", Box::pin(run));
        let stream = MemberStream { server, requests, events, task };
        stream.say(Request::Join(join));
        stream
    }

    /// Sends; answers whether there was room. A stream that has just ended says so by its event.
    pub(super) fn say(&self, request: Request) -> bool {
        self.requests.try_send(v1::GroupMemberRequest { request: Some(request) }).is_ok()
    }
}

impl Drop for MemberStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    server: &str,
    mut rpc: Rpc,
    outgoing: mpsc::Receiver<v1::GroupMemberRequest>,
    events: &mpsc::Sender<Event>,
) -> ClientError {
    let opened = rpc.group_member(ReceiverStream::new(outgoing)).await;
    let mut answers = match opened {
        Ok(answers) => answers.into_inner(),
        Err(status) => return ClientError::of_status(server, &status),
    };
    loop {
        let event = match answers.message().await {
            Ok(Some(v1::GroupMemberResponse { response })) => match response {
                Some(Response::Assignment(assignment)) => Event::Assignment(assignment),
                Some(Response::Left(_)) => Event::Left,
                None => continue,
            },
            Ok(None) => {
                let reason = "the broker ended the stream".to_owned();
                return ClientError::Lost { server: server.to_owned(), reason };
            }
            Err(status) => return ClientError::of_status(server, &status),
        };
        if events.send(event).await.is_err() {
            return ClientError::Answer("nobody listens".to_owned());
        }
    }
}
