//! The way into a door: connections are accepted whatever happens to single ones, so many at once and no more, until the
//! door closes.
//!
//! ```text
//!   accept ──► draining: nobody new is let in, and who is inside finishes ──► ending: what is left is cut off
//! ```

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Clock, Env, Listener, NetStream, Tasks};

/// How long an accept loop rests after an error: long enough not to spin while the process is out of file
/// descriptors, short enough not to be noticed.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// How long a client whose connection is closed may go on sending, and the buffer for what it sends.
const LINGER_PATIENCE: Duration = Duration::from_secs(1);
const LINGER_READ_BYTES: usize = 2 * 1024;

/// Lets connections into a door, and knows when all have left. Clones are the same entrance.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// The door's name, for diagnostics.
    name: &'static str,
    connections_max: usize,
    clock: Arc<dyn Clock>,
    tasks: Arc<dyn Tasks>,
    /// How many connections were let in so far.
    numbers: Arc<AtomicU64>,
    /// The accept loops.
    accepting: TaskTracker,
    /// The connections that are served.
    inside: TaskTracker,
    draining: CancellationToken,
    ending: CancellationToken,
}

impl Entrance {
    /// An entrance that nobody has come in by yet. It holds `connections_max` connections at once; more are closed as soon
    /// as they are accepted. `name` is for diagnostics.
    #[must_use]
    pub fn new(env: &Env, name: &'static str, connections_max: usize) -> Entrance {
        Entrance {
            name,
            connections_max,
            clock: Arc::clone(&env.clock),
            tasks: Arc::clone(&env.tasks),
            numbers: Arc::default(),
            accepting: TaskTracker::new(),
            inside: TaskTracker::new(),
            draining: CancellationToken::new(),
            ending: CancellationToken::new(),
        }
    }

    /// Set once the door closes: those inside take nothing new, finish what they have begun, and leave.
    #[must_use]
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// Set when that has taken too long: those inside leave at once.
    #[must_use]
    pub fn ending(&self) -> CancellationToken {
        self.ending.clone()
    }

    /// Accepts on `listeners` until the door closes; no error of theirs ends it (RUSTSEC-2024-0376). Each connection runs
    /// in a task of its own, as what `serve` makes of it and of its number.
    pub fn accept<S, F>(&self, listeners: Vec<Box<dyn Listener>>, serve: S)
    where
        S: Fn(u64, Box<dyn NetStream>) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        for listener in listeners {
            let accepting = self.accepting.track_future(self.clone().run(listener, serve.clone()));
            let _runs_on = self.tasks.spawn(self.name, Box::pin(accepting));
        }
    }

    async fn run<S, F>(self, listener: Box<dyn Listener>, serve: S)
    where
        S: Fn(u64, Box<dyn NetStream>) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.draining.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok(_one_too_many) if self.inside.len() >= self.connections_max => {
                    let (door, max) = (self.name, self.connections_max);
                    tracing::warn!(door, max, "too many connections: one was closed");
                }
                Ok(stream) => {
                    let number = self.numbers.fetch_add(1, Ordering::Relaxed);
                    let serving = self.inside.track_future(serve(number, stream));
                    let _runs_on = self.tasks.spawn(self.name, Box::pin(serving));
                }
                Err(error) => {
                    tracing::warn!(door = self.name, %error, "a connection could not be accepted");
                    self.clock.sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.inside.len()
    }

    /// Lets nobody new in, waits for those inside to finish, and cuts off who is left after `patience`. Returns whether
    /// all have finished.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.draining.cancel();
        let finished = tokio::select! {
            biased;
            () = self.left() => true,
            () = self.clock.sleep(patience) => false,
        };
        self.close().await;
        finished
    }

    /// Lets nobody new in, and cuts off everybody inside.
    pub async fn close(&self) {
        self.draining.cancel();
        self.ending.cancel();
        self.left().await;
    }

    /// Completes when nobody is inside, and nobody can come in any more.
    async fn left(&self) {
        self.accepting.close();
        self.accepting.wait().await;
        self.inside.close();
        self.inside.wait().await;
    }
}

/// Closes a connection on which everything is answered: reads what the client still sends until it closes too, until `ending`
/// is set, for a second at most. Closing a socket with unread bytes in it makes the kernel reset the connection, and the client
/// then loses answers that it has received and not yet read.
pub async fn linger(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    clock: &dyn Clock,
    ending: &CancellationToken,
) {
    let mut unwanted = vec![0; LINGER_READ_BYTES];
    let rest = async {
        if stream.shutdown().await.is_ok() {
            while stream.read(&mut unwanted).await.is_ok_and(|bytes| bytes > 0) {}
        }
    };
    tokio::select! {
        biased;
        () = ending.cancelled() => {}
        () = rest => {}
        () = clock.sleep(LINGER_PATIENCE) => {}
    }
}
