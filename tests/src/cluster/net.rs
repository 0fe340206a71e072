//! Network namespaces on a bridge, and packets that are dropped.

use std::process::Command;

use parking_lot::{Mutex, MutexGuard};

/// The number of the machine on which the clients are.
pub const CLIENTS: u8 = 254;
/// How our namespaces are called: with the process that made them behind it.
const PREFIX: &str = "millrace-lab-";
/// A table of ours in each namespace.
const TABLE: &str = "table inet cuts { chain heard { type filter hook input priority 0; policy accept; }; }";

/// The lab of this process: names are made of its number, and a second one would take the processors from the first.
static ONLY: Mutex<()> = Mutex::new(());

/// A bridge, and namespaces with an address each. Removed when dropped. A process has one at a time: the next waits.
#[derive(Debug)]
pub struct Lab {
    count: u8,
    /// The third number of all addresses.
    net: u8,
    _only: MutexGuard<'static, ()>,
}

impl Lab {
    /// So many namespaces, numbered from 1.
    ///
    /// # Panics
    /// When the machine refuses.
    #[must_use]
    pub fn new(count: u8) -> Lab {
        let only = ONLY.lock();
        sweep();
        let lab = Lab { count, net: free_net(), _only: only };
        let bridge = lab.bridge();
        run(&["ip", "link", "add", &bridge, "type", "bridge"]);
        run(&["ip", "addr", "add", &format!("{}/24", lab.address(CLIENTS)), "dev", &bridge]);
        run(&["ip", "link", "set", &bridge, "up"]);
        for number in 1..=count {
            let (space, link) = (lab.space(number), lab.link(number));
            run(&["ip", "netns", "add", &space]);
            let peer = ["type", "veth", "peer", "name", "inside", "netns", &space];
            run(&[&["ip", "link", "add", &link][..], &peer].concat());
            run(&["ip", "link", "set", &link, "master", &bridge, "up"]);
            let address = format!("{}/24", lab.address(number));
            run(&["ip", "-n", &space, "addr", "add", &address, "dev", "inside"]);
            run(&["ip", "-n", &space, "link", "set", "inside", "up"]);
            run(&["ip", "-n", &space, "link", "set", "lo", "up"]);
            lab.nft(number, TABLE);
        }
        lab
    }

    fn bridge(&self) -> String {
        format!("mrlab{}", std::process::id())
    }

    fn link(&self, number: u8) -> String {
        format!("mrl{}b{number}", std::process::id())
    }

    /// The name of a namespace.
    #[must_use]
    pub fn space(&self, number: u8) -> String {
        format!("{PREFIX}{}-b{number}", std::process::id())
    }

    /// The address of a namespace, or of the clients.
    #[must_use]
    pub fn address(&self, number: u8) -> String {
        format!("10.99.{}.{number}", self.net)
    }

    /// What runs a program inside a namespace, and becomes it. (`ip netns exec` would give it mounts of its own, which keep a disk
    /// in use after it was unmounted.)
    #[must_use]
    pub fn within(&self, number: u8) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net=/run/netns/{}", self.space(number))]
    }

    /// Nothing that `from` sends reaches `to` any more. The clients hear everything: cut what they say, not what they are told.
    ///
    /// # Panics
    /// When the machine refuses.
    pub fn cut(&self, from: u8, to: u8) {
        self.nft(to, &format!("add rule inet cuts heard ip saddr {} drop", self.address(from)));
    }

    /// The same in both directions.
    pub fn cut_both_ways(&self, one: u8, other: u8) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Cuts one off from all the other brokers; not from the clients.
    pub fn isolate(&self, number: u8) {
        (1..=self.count).filter(|other| *other != number).for_each(|other| self.cut_both_ways(number, other));
    }

    /// Everything reaches everybody again.
    ///
    /// # Panics
    /// When the machine refuses.
    pub fn heal(&self) {
        (1..=self.count).for_each(|number| self.nft(number, "flush chain inet cuts heard"));
    }

    fn nft(&self, number: u8, rule: &str) {
        let within = self.within(number);
        let words: Vec<&str> = within.iter().map(String::as_str).chain(["nft", rule]).collect();
        run(&words);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A namespace goes with its last process; its end of the link takes the other one with it.
        for number in 1..=self.count {
            attempt(&["ip", "netns", "del", &self.space(number)]);
            attempt(&["ip", "link", "del", &self.link(number)]);
        }
        attempt(&["ip", "link", "del", &self.bridge()]);
    }
}

/// A net of ours that nobody on this machine has.
fn free_net() -> u8 {
    let first = u8::try_from(std::process::id() % 200).unwrap_or(0);
    let mut nets = (0..200).map(|step| (first + step) % 200);
    let free = nets.find(|net| attempt(&["ip", "route", "show", &format!("10.99.{net}.0/24")]).is_empty());
    free.expect("a net that nobody has")
}

/// Removes what processes have left behind that were killed.
fn sweep() {
    for line in attempt(&["ip", "netns", "list"]).lines() {
        let Some(name) = line.split_whitespace().next() else { continue };
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(pid, _)| pid);
        let Some(pid) = owner else { continue };
        if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
            attempt(&["ip", "netns", "del", name]);
            attempt(&["ip", "link", "del", &format!("mrlab{pid}")]);
        }
    }
}

fn run(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output().expect("the program is there");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {}: {error}", output.status);
}

/// What it prints, if it can be had.
fn attempt(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
