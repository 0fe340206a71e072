//! One connection and the members on it, driven by one task: it answers assignments at once and heartbeats in turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::stream::{BoxStream, FuturesUnordered, SelectAll};
use futures::{FutureExt as _, StreamExt as _, future};
use millrace_proto::v1;
use millrace_proto::v1::group_member_request::Request;
use millrace_proto::v1::group_member_response::Response;
use millrace_types::ErrorCode;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::board::{Board, Part, View};
use crate::rpc::Rpc;

/// How often the task looks whose heartbeat is due.
const LOOK: Duration = Duration::from_millis(50);
/// Before it was told how often.
const NOT_YET: Duration = Duration::from_secs(3600);
/// Messages of one member that wait to be sent.
const QUEUE: usize = 8;

/// What a member is told to do.
#[derive(Debug)]
pub(super) enum Order {
    Join(usize, Box<v1::JoinGroup>),
    Leave(usize),
    /// To be gone without a word, as a process that is killed.
    Vanish(usize),
}

struct Seat {
    /// How it came, and how it comes again if it is fenced.
    join: Box<v1::JoinGroup>,
    requests: mpsc::Sender<v1::GroupMemberRequest>,
    view: View,
    revision: u64,
    /// The revision up to which it has said that it let go, while its epoch has not risen since.
    said: Option<u64>,
    due: Instant,
    is_leaving: bool,
    /// It has said something and heard nothing since: a word of an epoch that an answer under way has raised would be refused.
    awaits: bool,
    /// Gone with the seat, and with it the stream of answers.
    _stay: oneshot::Sender<()>,
}

type Heard = (usize, Option<Result<v1::GroupMemberResponse, Status>>);

/// Drives the members of one connection until no more orders can come.
pub(super) async fn drive(mut line: Line, mut orders: mpsc::UnboundedReceiver<Order>) -> Result<()> {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(order) => line.follow(order)?,
                None => return Ok(()),
            },
            Some((seat, gone, opened)) = line.openings.next(), if !line.openings.is_empty() => {
                line.opened(seat, gone, opened);
            }
            Some((seat, heard)) = line.streams.next(), if !line.streams.is_empty() => line.heard(seat, heard),
            _ = looks.tick() => line.heartbeats(),
        }
    }
}

type Opened = Result<Streaming<v1::GroupMemberResponse>, Status>;
type Opening = future::BoxFuture<'static, (usize, oneshot::Receiver<()>, Opened)>;

pub(super) struct Line {
    rpc: Rpc,
    board: Arc<Board>,
    /// In place of the interval that the server says.
    interval: Option<Duration>,
    seats: BTreeMap<usize, Seat>,
    openings: FuturesUnordered<Opening>,
    streams: SelectAll<BoxStream<'static, Heard>>,
}

impl Line {
    pub(super) fn new(rpc: Rpc, board: Arc<Board>, interval: Option<Duration>) -> Line {
        let (seats, openings, streams) = (BTreeMap::new(), FuturesUnordered::new(), SelectAll::new());
        Line { rpc, board, interval, seats, openings, streams }
    }

    fn follow(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Join(seat, join) => {
                let (requests, receiver) = mpsc::channel(QUEUE);
                let request = Request::Join((*join).clone());
                requests.try_send(v1::GroupMemberRequest { request: Some(request) })?;
                let due = Instant::now() + NOT_YET;
                let (stay, gone) = oneshot::channel();
                let new = Seat {
                    join,
                    requests,
                    view: View::default(),
                    revision: 0,
                    said: None,
                    due,
                    is_leaving: false,
                    awaits: true,
                    _stay: stay,
                };
                self.seats.insert(seat, new);
                let mut rpc = self.rpc.clone();
                let open = async move {
                    let answers = rpc.group_member(ReceiverStream::new(receiver)).await;
                    (seat, gone, answers.map(tonic::Response::into_inner))
                };
                self.openings.push(open.boxed());
            }
            Order::Leave(seat) => {
                let leaving = self.seats.get_mut(&seat).context("nobody sits there")?;
                leaving.is_leaving = true;
                let leave = Request::Leave(v1::LeaveGroup::default());
                leaving.requests.try_send(v1::GroupMemberRequest { request: Some(leave) })?;
                self.board.remove(seat, None);
            }
            Order::Vanish(seat) => {
                // Without its sender the request stream ends, which the broker sees as the end of the client.
                self.seats.remove(&seat).context("nobody sits there")?;
                self.board.remove(seat, None);
            }
        }
        Ok(())
    }

    fn opened(&mut self, seat: usize, gone: oneshot::Receiver<()>, opened: Opened) {
        match opened {
            Ok(answers) => {
                let answers = answers.map(move |answer| (seat, Some(answer)));
                let end = futures::stream::once(future::ready((seat, None)));
                self.streams.push(answers.chain(end).take_until(gone).boxed());
            }
            Err(status) => self.refused(seat, &status),
        }
    }

    fn lose(&mut self, seat: usize, why: &str) {
        if let Some(lost) = self.seats.remove(&seat)
            && !lost.is_leaving
        {
            self.board.remove(seat, Some(why.to_owned()));
        }
    }

    /// A member that is fenced or was forgotten lets go of everything and joins anew, as every client does.
    fn refused(&mut self, seat: usize, status: &Status) {
        let code = millrace_proto::error_of(status).and_then(|error| error.known_code());
        let is_fenced = matches!(code, Some(ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMember));
        match self.seats.get(&seat) {
            Some(fenced) if is_fenced && !fenced.is_leaving => {
                let join = fenced.join.clone();
                self.seats.remove(&seat);
                self.board.fenced(seat);
                if self.follow(Order::Join(seat, join)).is_err() {
                    self.board.remove(seat, Some("it cannot join anew".to_owned()));
                }
            }
            _ => self.lose(seat, &status.to_string()),
        }
    }

    fn heard(&mut self, seat: usize, heard: Option<Result<v1::GroupMemberResponse, Status>>) {
        match heard {
            Some(Ok(v1::GroupMemberResponse { response: Some(Response::Assignment(assignment)) })) => {
                self.assigned(seat, assignment);
            }
            Some(Ok(_)) => {
                // It has left.
                self.seats.remove(&seat);
            }
            Some(Err(status)) => self.refused(seat, &status),
            None => self.lose(seat, "the stream ended"),
        }
    }

    fn assigned(&mut self, number: usize, assignment: v1::GroupAssignment) {
        let Some(seat) = self.seats.get_mut(&number) else { return };
        if seat.is_leaving {
            return;
        }
        let is_first = seat.view.member.is_empty();
        let is_risen = assignment.epoch > seat.view.epoch;
        let lost = seat.take(assignment);
        seat.awaits = false;
        seat.view.interval = self.interval.unwrap_or(seat.view.interval);
        if is_first {
            seat.due = Instant::now() + seat.view.interval * spread(number) / SPREAD;
        }
        let unsaid = seat.said.is_some_and(|said| !is_risen && said < seat.revision);
        if is_risen {
            seat.said = None;
        }
        if lost || unsaid {
            seat.said = Some(seat.revision);
            seat.heartbeat(&self.board);
        }
        self.board.put(number, seat.view.clone());
    }

    fn heartbeats(&mut self) {
        let now = Instant::now();
        for seat in self.seats.values_mut().filter(|seat| seat.due <= now && !seat.is_leaving && !seat.awaits)
        {
            seat.heartbeat(&self.board);
        }
    }
}

const SPREAD: u32 = 97;

/// The first heartbeats are spread over the interval, and with them all others.
fn spread(seat: usize) -> u32 {
    u32::try_from(seat * 31 % 97).unwrap_or(0) + 1
}

impl Seat {
    /// Takes an assignment; answers whether it has let go of something.
    fn take(&mut self, assignment: v1::GroupAssignment) -> bool {
        let topics = assignment.assigned.into_iter();
        let owned: Vec<Part> = topics
            .flat_map(|topic| {
                let id = topic.topic.unwrap_or_default().id;
                topic.partitions.into_iter().map(move |partition| (id.clone(), partition))
            })
            .collect();
        let lost = self.view.owned.iter().filter(|part| !owned.contains(part)).count() as u64;
        self.view.changes += u64::from(owned != self.view.owned);
        self.view.revoked += lost;
        self.view.member = assignment.member;
        self.view.epoch = assignment.epoch;
        self.view.waiting = assignment.waiting;
        self.view.owned = owned;
        self.revision = assignment.revision;
        self.view.interval = Duration::from_millis(assignment.heartbeat_interval_ms.into());
        lost > 0
    }

    fn heartbeat(&mut self, board: &Board) {
        let mut topics: BTreeMap<&[u8], v1::TopicPartitions> = BTreeMap::new();
        for (id, partition) in &self.view.owned {
            let topic = topics.entry(id).or_insert_with(|| v1::TopicPartitions {
                topic: Some(v1::TopicRef { name: String::new(), id: id.clone() }),
                partitions: Vec::new(),
            });
            topic.partitions.push(*partition);
        }
        let owned = v1::OwnedPartitions { topics: topics.into_values().collect() };
        let progress =
            v1::MemberProgress { epoch: self.view.epoch, heard: self.revision, owned: Some(owned) };
        let heartbeat = v1::GroupHeartbeat { progress: Some(progress), subscription: None };
        let request = v1::GroupMemberRequest { request: Some(Request::Heartbeat(heartbeat)) };
        // Where the queue is full, the broker has enough to answer.
        if self.requests.try_send(request).is_ok() {
            self.awaits = true;
            board.heartbeat();
        }
        self.due = Instant::now() + self.view.interval;
    }
}
