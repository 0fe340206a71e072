//! Brokers as real processes, each in a network namespace and on an ext4 of its own, and what is done to them.
//!
//! ```text
//!   clients (this process and its children)  10.99.X.254 ── bridge ── veth ── namespace b1: 10.99.X.1, disk 1
//!                                                              ├───── veth ── namespace b2: 10.99.X.2, disk 2
//!                                                              └───── veth ── namespace b3: 10.99.X.3, disk 3
//! ```
//!
//! The fault model: a process dies, or stands still for a while (SIGSTOP); a disk loses its power, with everything that was not
//! synced, and comes back (EXT4_IOC_SHUTDOWN, a new mount); it fills up; bits of a stopped broker's files change, on a minority;
//! packets between two brokers, or between a broker and the clients, are dropped, in one direction or in both. Time is nobody's
//! enemy here, and nobody lies.

mod fault;
mod line;
mod nemesis;
mod net;
mod node;
mod roles;
mod trial;

pub use fault::{Fault, Who};
pub use nemesis::Menu;
pub use net::{CLIENTS, Lab};
pub use trial::{Trial, run};

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Need;
use crate::broker::StartingBroker;
use node::Node;

/// What a machine must have for brokers in namespaces.
pub const NEEDS: [Need; 8] = [
    Need::Root,
    Need::LoopDevice,
    Need::Program("mkfs.ext4"),
    Need::Program("mount"),
    Need::Program("umount"),
    Need::Program("ip"),
    Need::Program("nft"),
    Need::Program("nsenter"),
];

/// A safety net, not a measurement.
const PATIENCE: Duration = Duration::from_secs(90);

/// The brokers, and the network between them. Dropped, everything that was made is gone.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    lab: Lab,
}

impl Cluster {
    /// So many brokers; their logs go into that folder.
    ///
    /// # Panics
    /// When they do not start.
    #[must_use]
    pub fn start(count: u8, logs: &Path) -> Cluster {
        let lab = Lab::new(count);
        let nodes = (1..=count).map(|number| Node::new(number, count, &lab, logs)).collect();
        let mut cluster = Cluster { nodes, lab };
        // The first one founds it.
        cluster.start_again(&[1]);
        cluster.start_all();
        cluster
    }

    /// The numbers of the brokers.
    #[must_use]
    pub fn numbers(&self) -> Vec<u8> {
        self.nodes.iter().map(|node| node.number).collect()
    }

    /// Where the native doors are.
    #[must_use]
    pub fn grpc(&self) -> Vec<String> {
        self.nodes.iter().map(|node| line::grpc(&self.lab, node.number)).collect()
    }

    /// Where the Kafka doors are.
    #[must_use]
    pub fn kafka(&self) -> Vec<String> {
        self.nodes.iter().map(|node| line::kafka(&self.lab, node.number)).collect()
    }

    /// The network between them.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    fn node(&mut self, number: u8) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.number == number).expect("a broker of that number")
    }

    /// SIGKILL.
    pub fn kill(&mut self, number: u8) {
        self.node(number).kill();
    }

    /// The power of a broker's disk is cut, and the broker with it. Its disk is there again.
    pub fn cut_power(&mut self, numbers: &[u8]) {
        // All of them at once: first nobody says anything any more, then nothing reaches a medium.
        numbers.iter().for_each(|number| self.node(*number).freeze());
        numbers.iter().for_each(|number| self.node(*number).cut_power());
    }

    /// Stands still until it goes on.
    pub fn pause(&mut self, number: u8) {
        self.node(number).freeze();
    }

    /// Goes on after a pause.
    pub fn go_on(&mut self, number: u8) {
        self.node(number).go_on();
    }

    /// Its disk is full but for so many bytes.
    pub fn fill_disk(&mut self, number: u8, left: u64) {
        self.node(number).fill_disk(left);
    }

    /// There is room again.
    pub fn free_disk(&mut self, number: u8) {
        self.node(number).free_disk();
    }

    /// Changes a file of a broker that does not run; in words, what.
    pub fn corrupt(&mut self, number: u8, seed: &mut crate::Seed) -> Option<String> {
        self.node(number).corrupt(seed)
    }

    /// Starts those of these that do not run, all at once, and waits until they accept.
    ///
    /// # Panics
    /// When one does not.
    pub fn start_again(&mut self, numbers: &[u8]) {
        let mut starting: Vec<(u8, StartingBroker)> = Vec::new();
        for number in numbers {
            if let Some(begun) = self.node(*number).begin() {
                starting.push((*number, begun));
            }
        }
        for (number, begun) in starting {
            let outcome = begun.wait(PATIENCE);
            self.node(number).started(outcome);
        }
    }

    /// Starts all that do not run.
    pub fn start_all(&mut self) {
        let numbers = self.numbers();
        self.start_again(&numbers);
    }

    /// Asks all to stop, all at once.
    ///
    /// # Panics
    /// When one does not stop cleanly.
    pub fn stop(mut self) {
        self.nodes.iter().for_each(Node::ask_to_stop);
        self.nodes.iter_mut().for_each(Node::wait_for_stop);
    }

    /// Waits until the answer is yes.
    ///
    /// # Panics
    /// When it stays no.
    fn until(&self, wanted: &str, mut is_so: impl FnMut(&Cluster) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < end, "{wanted}: not within {PATIENCE:?}\n{}", self.tails());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The ends of all logs.
    #[must_use]
    pub fn tails(&self) -> String {
        self.nodes.iter().map(|node| format!("{}\n", node.tail())).collect()
    }
}
