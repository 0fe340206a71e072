//! One pipelined connection to a broker: requests go out in order, answers come back in order.

use std::collections::VecDeque;
use std::time::Duration;

use millrace_env::{Env, Monotonic, TaskHandle};
use millrace_proto::v1;
use millrace_types::TopicPartition;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::ClientError;
use crate::connection::Rpc;

/// Requests on their way through one connection; more wait in their lanes.
pub(crate) const REQUESTS_IN_FLIGHT_MAX: usize = 64;

/// How long a broker may leave a request without an answer before others are asked whether it still leads, and how often they are.
const SUSPECT_AFTER: Duration = Duration::from_millis(1500);
const SUSPECT_AGAIN: Duration = Duration::from_millis(500);

/// What a connection reports.
#[derive(Debug)]
pub(crate) enum Event {
    Answer { stream: u64, answer: v1::ProduceResponse },
    Ended { stream: u64, error: ClientError },
}

/// A request whose answer is outstanding.
#[derive(Debug)]
pub(crate) struct Outstanding {
    pub(crate) correlation: u64,
    /// The attempts that it carries, in the order of its partitions.
    pub(crate) attempts: Vec<(TopicPartition, u64)>,
    pub(crate) sent: Monotonic,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) number: u64,
    pub(crate) outstanding: VecDeque<Outstanding>,
    /// When it was asked last whether the broker still leads.
    pub(crate) suspected_at: Monotonic,
    requests: mpsc::Sender<v1::ProduceRequest>,
    task: Box<dyn TaskHandle>,
    next_correlation: u64,
}

impl Stream {
    /// Connects in the background; what happens is sent to `events`.
    pub(crate) fn open(
        env: &Env,
        server: String,
        rpc: Rpc,
        number: u64,
        events: mpsc::Sender<Event>,
    ) -> Stream {
        let (requests, outgoing) = mpsc::channel(REQUESTS_IN_FLIGHT_MAX);
        let run = async move {
            let error = run(&server, rpc, outgoing, number, &events).await;
            // The producer is gone if nobody listens.
            let _ = events.send(Event::Ended { stream: number, error }).await;
        };
        let task = env.tasks.spawn("produce stream", Box::pin(run));
        let (outstanding, suspected_at) = (VecDeque::new(), Monotonic::default());
        Stream { number, outstanding, suspected_at, requests, task, next_correlation: 0 }
    }

    /// When to ask others whether its broker still leads.
    pub(crate) fn suspect_at(&self) -> Option<Monotonic> {
        let oldest = self.outstanding.front()?;
        Some(oldest.sent.after(SUSPECT_AFTER).max(self.suspected_at.after(SUSPECT_AGAIN)))
    }

    /// Whether one more request may be sent.
    pub(crate) fn has_room(&self) -> bool {
        self.outstanding.len() < REQUESTS_IN_FLIGHT_MAX
    }

    /// Sends a request for these attempts. A connection that has just ended says so by its event.
    pub(crate) fn send(
        &mut self,
        mut request: v1::ProduceRequest,
        attempts: Vec<(TopicPartition, u64)>,
        now: Monotonic,
    ) {
        let correlation = self.next_correlation;
        self.next_correlation += 1;
        request.correlation_id = correlation;
        self.outstanding.push_back(Outstanding { correlation, attempts, sent: now });
        // There is room while no more than that many are outstanding; a closed channel is followed by `Ended`.
        let _ = self.requests.try_send(request);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    server: &str,
    mut rpc: Rpc,
    outgoing: mpsc::Receiver<v1::ProduceRequest>,
    number: u64,
    events: &mpsc::Sender<Event>,
) -> ClientError {
    let opened = rpc.produce_stream(ReceiverStream::new(outgoing)).await;
    let mut answers = match opened {
        Ok(answers) => answers.into_inner(),
        Err(status) => return ClientError::of_status(server, &status),
    };
    loop {
        match answers.message().await {
            Ok(Some(answer)) => {
                if events.send(Event::Answer { stream: number, answer }).await.is_err() {
                    return ClientError::Answer("nobody listens".to_owned());
                }
            }
            Ok(None) => {
                let reason = "the broker ended the stream".to_owned();
                return ClientError::Lost { server: server.to_owned(), reason };
            }
            Err(status) => return ClientError::of_status(server, &status),
        }
    }
}
