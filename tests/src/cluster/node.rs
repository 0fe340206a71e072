//! One broker: its disk, its place in the network, its process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use millrace_env::Fs as _;
use millrace_env::real::RealFs;
use rustix::fs::FallocateFlags;
use rustix::process::Signal;

use super::line;
use super::net::Lab;
use crate::broker::{BrokerProcess, BrokerSetup, StartingBroker, tail};
use crate::disk::{Disk, quick_folder};
use crate::single_faults::{Fault, FaultKind};
use crate::{Seed, say};

/// The image is sparse: it takes what is written.
const DISK_BYTES: u64 = 1024 * 1024 * 1024;
const BALLOON: &str = "balloon";

/// A broker, running or not.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) number: u8,
    // Before the disk: fields are dropped in this order.
    process: Option<BrokerProcess>,
    setup: BrokerSetup,
    disk: Disk,
    /// What a file held before it was changed: put back if the broker refuses to start with what it holds now.
    changed: Option<(PathBuf, Vec<u8>)>,
}

impl Node {
    pub(super) fn new(number: u8, count: u8, lab: &Lab, logs: &Path) -> Node {
        let disk = Disk::new(&quick_folder(), DISK_BYTES, &["-m", "0"]);
        let folders = (disk.path().join("data"), logs.join(format!("b{number}.log")));
        let setup = line::setup(lab, number, count, (&folders.0, &folders.1));
        Node { number, process: None, setup, disk, changed: None }
    }

    fn process(&mut self) -> &mut BrokerProcess {
        let number = self.number;
        self.process.as_mut().unwrap_or_else(|| panic!("b{number} does not run"))
    }

    pub(super) fn begin(&mut self) -> Option<StartingBroker> {
        self.process.is_none().then(|| self.setup.begin())
    }

    pub(super) fn started(&mut self, outcome: Result<BrokerProcess, ExitStatus>) {
        let process = match (outcome, self.changed.take()) {
            (Ok(process), _) => process,
            (Err(status), Some((path, before))) => {
                say(&format!("b{} refuses to start with {} changed: {status}", self.number, path.display()));
                std::fs::write(&path, before).expect("the file can be put back");
                self.setup.start()
            }
            (Err(status), None) => panic!("b{} ended with {status}\n{}", self.number, self.tail()),
        };
        self.process = Some(process);
    }

    pub(super) fn kill(&mut self) {
        self.process().kill_hard();
        self.process = None;
    }

    pub(super) fn freeze(&mut self) {
        self.process().freeze();
    }

    pub(super) fn go_on(&mut self) {
        self.process().signal(Signal::CONT);
    }

    /// Of a frozen broker.
    pub(super) fn cut_power(&mut self) {
        self.disk.cut();
        self.kill();
        self.disk.unmount();
        self.disk.mount();
    }

    pub(super) fn ask_to_stop(&self) {
        if let Some(process) = &self.process {
            process.signal(Signal::TERM);
        }
    }

    pub(super) fn wait_for_stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let status = process.wait();
            assert_eq!(
                status.code(),
                Some(0),
                "b{}: a stop on demand is a success\n{}",
                self.number,
                self.tail()
            );
        }
    }

    pub(super) fn fill_disk(&self, left: u64) {
        let path = self.disk.path().join(BALLOON);
        let file = File::create(&path).expect("a balloon");
        let mut size = 0;
        loop {
            let more = RealFs.space_left(&path).expect("the room").available.saturating_sub(left);
            if more < 64 * 1024 {
                return;
            }
            // The broker writes meanwhile: what was free is not any more, and then less will do.
            match rustix::fs::fallocate(&file, FallocateFlags::empty(), size, more) {
                Ok(()) => return,
                Err(rustix::io::Errno::NOSPC) => size = file.metadata().expect("a size").len(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(super) fn free_disk(&self) {
        std::fs::remove_file(self.disk.path().join(BALLOON)).expect("the balloon goes");
    }

    /// A fault in a file of a partition; the metadata and the node's own files are not touched.
    pub(super) fn corrupt(&mut self, seed: &mut Seed) -> Option<String> {
        let mut files = Vec::new();
        for folder in entries(&self.setup.data_dir) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_metadata = name.starts_with("00000000000000000000000000000001-");
            let is_partition = name.len() > 33 && name.as_bytes()[32] == b'-' && !name.contains('.');
            if is_partition && !is_metadata {
                files.extend(entries(&folder).into_iter().filter(|path| path.is_file()));
            }
        }
        files.sort();
        let count = files.len() as u64;
        let path = files.get(usize::try_from(seed.draw() % count.max(1)).unwrap_or(0))?.clone();
        let kinds = [FaultKind::Flip, FaultKind::Zero, FaultKind::Truncate, FaultKind::Delete];
        let kind = kinds[usize::try_from(seed.draw() % 4).unwrap_or(0)];
        let before = std::fs::read(&path).expect("a file");
        let what = Fault { path: path.clone(), kind, older: None }.apply(&RealFs, seed)?;
        self.changed = Some((path, before));
        Some(what)
    }

    pub(super) fn tail(&self) -> String {
        tail(&self.setup.log_file)
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
