//! `consume --group` as a person runs it: processes share a topic, what was printed is committed, Ctrl-C leaves.
#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use millrace_tests::broker::{BrokerProcess, BrokerSetup};
use millrace_tests::{on_two_workers, tool};
use tempfile::TempDir;

struct World {
    _home: TempDir,
    broker: BrokerProcess,
}

impl World {
    fn new(partitions: &str) -> World {
        let home = TempDir::new().expect("a folder");
        let broker = BrokerSetup::new(&home.path().join("data"), &home.path().join("log")).start();
        let world = World { _home: home, broker };
        world.done(&["topic", "create", "t", "--partitions", partitions], "");
        world
    }

    /// A tool that must succeed: what it prints.
    fn done(&self, words: &[&str], input: &str) -> String {
        let said = tool::ask(self.broker.grpc(), words, input);
        assert_eq!(said.code, 0, "{words:?}: {}", said.err);
        said.out
    }

    fn produce(&self, numbers: std::ops::Range<u32>) {
        let lines: String = numbers.map(|n| format!("{n}:{n}\n")).collect();
        self.done(&["produce", "t", "--key-separator", ":"], &lines);
    }

    fn committed(&self, group: &str) -> Vec<i64> {
        on_two_workers(async {
            let client = self.broker.client().await;
            let found = client.admin().fetch_offsets(group, &[]).await.expect("an answer");
            found.iter().map(|committed| committed.offset.map_or(-1, |offset| offset.get())).collect()
        })
    }

    fn follow(&self) -> Child {
        let mut command = tool::bare();
        command.args(["--server", self.broker.grpc(), "consume", "t", "--group", "g", "--follow"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it starts")
    }
}

#[test]
fn what_was_printed_is_committed_and_the_next_run_goes_on_behind_it() {
    let world = World::new("1");
    world.produce(0..10);
    assert_eq!(world.done(&["consume", "t", "--group", "g", "-n", "3"], ""), "0\n1\n2\n");
    assert_eq!(world.committed("g"), [3]);
    assert_eq!(world.done(&["consume", "t", "--group", "g"], ""), "3\n4\n5\n6\n7\n8\n9\n");
    assert_eq!(world.committed("g"), [10]);
    assert_eq!(
        world.done(&["consume", "t", "--group", "g", "--from", "beginning"], ""),
        "",
        "it has committed"
    );
    assert_eq!(world.done(&["consume", "t", "--group", "h", "--from", "8"], ""), "8\n9\n");
    assert_eq!(world.committed("h"), [10]);
}

#[test]
fn a_group_without_records_to_read_ends_at_once() {
    let world = World::new("3");
    assert_eq!(world.done(&["consume", "t", "--group", "g"], ""), "");
    assert_eq!(tool::ask(world.broker.grpc(), &["consume", "t", "--group", "g", "--to", "5"], "").code, 2);
    assert_eq!(
        tool::ask(world.broker.grpc(), &["consume", "t", "--group", "g", "--partition", "0"], "").code,
        2
    );
}

/// What the processes print, as it comes.
struct Output {
    received: Receiver<(usize, u32)>,
    /// Which process, and the number.
    printed: Vec<(usize, u32)>,
}

impl Output {
    fn of(processes: &mut [Child]) -> Output {
        let (lines, received) = std::sync::mpsc::channel();
        for (index, process) in processes.iter_mut().enumerate() {
            let output = BufReader::new(process.stdout.take().expect("a pipe"));
            let lines = lines.clone();
            std::thread::spawn(move || {
                for line in output.lines().map_while(Result::ok) {
                    // The test is over if nobody listens.
                    let _ = lines.send((index, line.parse().expect("a number")));
                }
            });
        }
        Output { received, printed: Vec::new() }
    }

    /// Produces some more numbers and waits until they are printed; answers by whom.
    fn more(&mut self, world: &World) -> BTreeSet<usize> {
        let begin = self.printed.len();
        let sent = u32::try_from(begin).expect("not many");
        world.produce(sent..sent + 40);
        while self.printed.len() < begin + 40 {
            self.printed.push(self.received.recv_timeout(Duration::from_secs(60)).expect("a record"));
        }
        self.printed[begin..].iter().map(|(index, _)| *index).collect()
    }
}

#[test]
fn processes_share_the_topic_and_one_that_is_interrupted_leaves_to_the_others() {
    let world = World::new("4");
    let mut processes = [world.follow(), world.follow()];
    let mut output = Output::of(&mut processes);
    while output.more(&world).len() < 2 {}
    let pid = i32::try_from(processes[0].id()).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a process id"), rustix::process::Signal::INT).expect("it runs");
    assert_eq!(processes[0].wait().expect("it ends").code(), Some(130));
    assert_eq!(output.more(&world), BTreeSet::from([1]));
    let numbers: BTreeSet<u32> = output.printed.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers.len(), output.printed.len(), "each record once");
    processes[1].kill().expect("it runs");
    processes[1].wait().expect("it ends");
}
