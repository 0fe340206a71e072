//! A TCP proxy that listens in and cuts connections at a chosen byte.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Seed;

/// What happens to the bytes of each new connection.
#[derive(Debug, Clone)]
pub enum Fate {
    /// They pass, and those towards the server are kept.
    Recorded,
    /// The connection is cut after so many bytes, both ways together, drawn anew for each connection.
    Cut {
        /// The fewest.
        low: u64,
        /// Below this.
        high: u64,
    },
}

/// A proxy in front of a server; its connections end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    fate: Fate,
    seed: Mutex<Seed>,
    recorded: Mutex<Vec<u8>>,
    connections: AtomicU64,
    /// From now on connections pass uncut.
    is_calm: AtomicBool,
    is_over: AtomicBool,
}

/// One connection: both directions draw from the same allowance.
struct Passage {
    allowance: Arc<AtomicU64>,
    shared: Arc<Shared>,
    is_recorded: bool,
}

impl Proxy {
    /// Listens on a port of its own in front of `target`.
    ///
    /// # Panics
    /// When the machine refuses.
    #[must_use]
    pub fn start(target: &str, fate: Fate, seed: Seed) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            target: target.parse().expect("an address"),
            fate,
            seed: Mutex::new(seed),
            recorded: Mutex::default(),
            connections: AtomicU64::new(0),
            is_calm: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accepting.accept(&listener));
        Proxy { address, shared }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// What clients sent so far.
    #[must_use]
    pub fn recorded(&self) -> Vec<u8> {
        self.shared.recorded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Cuts no more new connections.
    pub fn calm(&self) {
        self.shared.is_calm.store(true, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes the accepting thread.
        let _connected = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            // A target that is down refuses its clients: they see their connection closed.
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(self.target)) else { continue };
            self.connections.fetch_add(1, Ordering::Relaxed);
            self.pass(&client, &server);
        }
    }

    fn pass(self: &Arc<Self>, client: &TcpStream, server: &TcpStream) {
        let allowance = match self.fate {
            Fate::Cut { low, high } if !self.is_calm.load(Ordering::Relaxed) => {
                self.seed.lock().unwrap_or_else(PoisonError::into_inner).between(low, high)
            }
            _ => u64::MAX,
        };
        let allowance = Arc::new(AtomicU64::new(allowance));
        let is_recorded = matches!(self.fate, Fate::Recorded);
        for (from, to, is_recorded) in [(client, server, is_recorded), (server, client, false)] {
            let passage =
                Passage { allowance: Arc::clone(&allowance), shared: Arc::clone(self), is_recorded };
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
            std::thread::spawn(move || passage.run(from, to));
        }
    }
}

impl Passage {
    fn run(self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let take = |left: u64| Some(left.saturating_sub(read as u64));
            let left = self.allowance.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).unwrap_or(0);
            let passing = read.min(usize::try_from(left).unwrap_or(usize::MAX));
            let bytes = &buffer[..passing];
            if self.is_recorded {
                self.shared.recorded.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            }
            if to.write_all(bytes).is_err() || passing < read {
                break;
            }
        }
        // The other direction ends with this one: whoever still waits there reads the end.
        let _closed = from.shutdown(Shutdown::Both);
        let _closed = to.shutdown(Shutdown::Both);
    }
}
