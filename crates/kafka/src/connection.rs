//! One connection, one task: frames are read, handled in their order, and answered in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millrace_broker::{ConnectionId, Context, ListenerName, Principal};
use millrace_env::{NetStream, linger};
use millrace_types::limits::{
    CLIENT_ID_BYTES_MAX, KAFKA_FIRST_FRAME_BYTES_MAX, KAFKA_IN_FLIGHT_MAX, REQUEST_BYTES_MAX,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::answers::{Answer, Answers, Line, Pending, WriteError};
use crate::door::Endpoint;
use crate::frames::{Budgets, Frame, Frames};
use crate::handlers::{Caller, Handlers, Operation, api_versions};
use crate::reach::{Reach, Visit};
use crate::request::Request;
use crate::socket::Socket;

/// What the connections of a door share.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    pub(crate) api: Handlers,
    pub(crate) budgets: Budgets,
    /// Set: end now.
    pub(crate) ending: CancellationToken,
    pub(crate) reach: Arc<Reach>,
}

impl Connections {
    /// Serves one connection to its end.
    pub(crate) async fn serve(self, id: ConnectionId, stream: Box<dyn NetStream>) {
        let advertised = match &self.api.settings.advertised {
            Some(endpoint) => endpoint.clone(),
            None => match stream.local_addr() {
                Ok(addr) => Endpoint::from(addr),
                Err(_gone) => return,
            },
        };
        let Ok(peer) = stream.peer_addr() else { return };
        let context = Context {
            principal: Principal::Anonymous,
            client_id: "".into(),
            listener: ListenerName::Kafka,
            connection: id,
            deadline: None,
        };
        let host = peer.ip().to_canonical().to_string().into();
        self.reach.arrived(peer.ip(), id);
        let (told, visit) = (advertised.clone(), Arc::<Visit>::default());
        let caller =
            Caller { context, host, advertised, sessions: Arc::default(), visit: Arc::clone(&visit) };
        let mut socket = Socket::new(stream);
        let handled = Arc::new(AtomicU64::new(0));
        let ended = tokio::select! {
            biased;
            () = self.ending.cancelled() => return,
            ended = self.exchange(socket.clone(), caller, Arc::clone(&handled)) => ended,
            () = self.silent(handled) => {
                tracing::debug!(connection = id.0, "a silent connection is closed");
                return;
            }
            () = self.reach.watch(&*self.api.env.clock, (peer.ip(), id), &told, &visit) => return,
        };
        match ended {
            Ok(()) => linger(&mut socket, &*self.api.env.clock, &self.ending).await,
            Err(error @ WriteError::Unread) => {
                tracing::warn!(connection = id.0, %error, "a connection is closed")
            }
            Err(error) => tracing::debug!(connection = id.0, %error, "a connection broke"),
        }
    }

    async fn exchange(
        &self,
        socket: Socket,
        caller: Caller,
        handled: Arc<AtomicU64>,
    ) -> Result<(), WriteError> {
        let (clock, patience) = (Arc::clone(&self.api.env.clock), self.api.settings.patience);
        let (sender, line) = mpsc::channel(KAFKA_IN_FLIGHT_MAX as usize);
        let reading = Reading {
            frames: Frames::new(socket.clone(), self.budgets.clone(), Arc::clone(&clock), patience.frame),
            caller,
            api: self.api.clone(),
            places: Arc::new(Semaphore::new(KAFKA_IN_FLIGHT_MAX as usize)),
            line: sender,
            handled,
        };
        let traffic = self.api.traffic.clone();
        let answers = Answers { socket, line: Line::new(line), clock, patience: patience.answer, traffic };
        // Reading comes first: what came in together is appended together, and then synced and answered together.
        let reading = async {
            Box::pin(reading.run()).await;
            Ok(())
        };
        futures::future::try_join(reading, answers.write_all()).await.map(|((), ())| ())
    }

    /// Completes when nothing was asked for as long as the door's patience lasts.
    async fn silent(&self, handled: Arc<AtomicU64>) {
        loop {
            let before = handled.load(Ordering::Relaxed);
            self.api.env.clock.sleep(self.api.settings.patience.idle).await;
            if handled.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

/// The reading half of a connection.
struct Reading {
    frames: Frames,
    caller: Caller,
    api: Handlers,
    /// One for each request that may be under way.
    places: Arc<Semaphore>,
    line: mpsc::Sender<Answer>,
    /// Counts the requests.
    handled: Arc<AtomicU64>,
}

impl Reading {
    /// Reads and handles requests until the client closes, says something that is no request, or the broker drains.
    async fn run(mut self) {
        let draining = self.api.draining.clone();
        let mut bytes_max = KAFKA_FIRST_FRAME_BYTES_MAX;
        loop {
            let frame = tokio::select! {
                biased;
                () = draining.cancelled() => return,
                frame = self.frames.next(bytes_max) => frame,
            };
            let frame = match frame {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(connection = self.caller.context.connection.0, %error, "closed");
                    return;
                }
            };
            self.handled.fetch_add(1, Ordering::Relaxed);
            if self.take(frame).await.is_none() {
                return;
            }
            bytes_max = REQUEST_BYTES_MAX;
        }
    }

    /// Handles one request; `None` ends the connection.
    async fn take(&mut self, frame: Frame) -> Option<()> {
        let connection = self.caller.context.connection.0;
        let Frame { bytes, mut memory } = frame;
        let length = bytes.len();
        let request = match Request::read(bytes) {
            Ok(request) => request,
            Err(error) => {
                tracing::debug!(connection, %error, "no request");
                return None;
            }
        };
        self.introduce(request.client_id.as_deref());
        match request.api {
            // What the client was told of who serves, the handler of Metadata says.
            Some(Operation::Metadata | Operation::ApiVersions) | None => {}
            Some(_) => self.caller.visit.used(),
        }
        let call = request.of().map(|api| self.api.traffic.begin(api, length));
        // Produces follow each other before they are answered; whatever else is asked must see what they did.
        let overlaps = request.api == Some(Operation::Produce);
        let wanted = if overlaps { 1 } else { KAFKA_IN_FLIGHT_MAX };
        let mut places = Arc::clone(&self.places).acquire_many_owned(wanted).await.ok()?;
        let place = places.split(1)?;
        let handled = match request.api {
            Some(api) => {
                let version = request.version;
                let handling = self.api.handle(api, &self.caller, request, &mut memory);
                tokio::select! {
                    biased;
                    handled = handling => {
                        handled.inspect_err(|error| tracing::debug!(connection, ?api, version, %error, "closed"))
                    }
                    // Only what waits is given up for it.
                    () = self.frames.closed(), if api.waits() => return None,
                    // A fetch is repeated elsewhere; whoever waits for a group is told so.
                    () = self.api.draining.cancelled(), if api == Operation::Fetch => return None,
                }
            }
            None if call.is_some() => {
                Ok(Some(Pending::Now(api_versions::unknown_version(&self.api, request.correlation))))
            }
            None => {
                tracing::debug!(connection, key = request.key, version = request.version, "is not served");
                return None;
            }
        };
        drop(places);
        match (handled.ok()?, call) {
            (Some(pending), Some(call)) => {
                let answer = Answer { pending, request: memory.into_permit(), place, call };
                self.line.send(answer).await.ok()?;
            }
            (None, Some(call)) => self.api.traffic.end(call, 0),
            (_, None) => {}
        }
        Some(())
    }

    /// Remembers what the client calls itself.
    fn introduce(&mut self, client_id: Option<&str>) {
        let given = client_id.unwrap_or("");
        let mut end = given.len().min(CLIENT_ID_BYTES_MAX);
        while !given.is_char_boundary(end) {
            end -= 1;
        }
        let client_id = given.get(..end).unwrap_or("");
        if *self.caller.context.client_id != *client_id {
            self.caller.context.client_id = client_id.into();
        }
    }
}
