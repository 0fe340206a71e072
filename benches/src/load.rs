//! Processor time: ours, that of the processes we started, and that of everybody else.
//!
//! Everybody else includes the kernel's own threads (write-back, the journal): during a round that syncs, part of
//! "others" is work that we caused.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// `/proc` counts in hundredths of a second on every Linux (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);
/// The share of the machine that others may use while a round is quiet.
const QUIET_SHARE: f64 = 0.12;
const LOOK: Duration = Duration::from_millis(100);

static CHILDREN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Counts a process as ours from now on.
pub(crate) fn adopt(pid: u32) {
    if let Ok(mut children) = CHILDREN.lock() {
        children.insert(pid);
    }
}

/// It has ended.
pub(crate) fn disown(pid: u32) {
    if let Ok(mut children) = CHILDREN.lock() {
        children.remove(&pid);
    }
}

/// User and system time of this process.
#[must_use]
pub fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// User and system time of another process, in steps of 10 ms.
#[must_use]
pub fn cpu_of(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name of the process, in parentheses, may hold blanks; behind it user time is the 12th word.
    let words = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u32 =
        words.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u32>().ok()).sum();
    TICK * ticks
}

/// Memory of another process that no file backs (RssAnon), in KiB.
#[must_use]
pub fn anonymous_kib_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A look at the whole machine, to be compared with a later one.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    at: Instant,
    machine: Duration,
    ours: Duration,
}

impl Look {
    /// Now.
    #[must_use]
    pub fn now() -> Look {
        Look { at: Instant::now(), machine: machine_cpu(), ours: ours() }
    }

    /// The share of all cores, 0 to 1, that others have used since.
    #[must_use]
    pub fn others_since(&self) -> f64 {
        let now = Look::now();
        let others =
            (now.machine.saturating_sub(self.machine)).saturating_sub(now.ours.saturating_sub(self.ours));
        let cores = std::thread::available_parallelism()
            .map_or(1.0, |cores| f64::from(u16::try_from(cores.get()).unwrap_or(1)));
        let whole = (now.at - self.at).as_secs_f64() * cores;
        if whole > 0.0 { (others.as_secs_f64() / whole).min(1.0) } else { 0.0 }
    }
}

fn ours() -> Duration {
    let children = CHILDREN.lock().map(|children| children.clone()).unwrap_or_default();
    own_cpu() + children.into_iter().map(cpu_of).sum::<Duration>()
}

fn machine_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let mut words = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let mut next = || words.next().and_then(|word| word.parse::<u32>().ok()).unwrap_or(0);
    let (user, nice, system, _idle, _wait) = (next(), next(), next(), next(), next());
    let (irq, soft_irq, steal) = (next(), next(), next());
    TICK * (user + nice + system + irq + soft_irq + steal)
}

/// Waits until the others are quiet, at most as long as its patience lasts.
#[derive(Debug)]
pub struct Gate {
    patience: Duration,
}

impl Gate {
    /// A gate that waits so long in all.
    #[must_use]
    pub fn new(patience: Duration) -> Gate {
        Gate { patience }
    }

    /// Waits for a quiet moment.
    pub fn pass(&mut self) {
        loop {
            let before = Look::now();
            std::thread::sleep(LOOK);
            if before.others_since() < QUIET_SHARE || self.patience.is_zero() {
                return;
            }
            self.patience = self.patience.saturating_sub(LOOK);
        }
    }
}
