//! Programs that run side by side: a line is said to one, and what any of them prints is heard as it comes.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use serde_json::Value;

/// A safety net: nobody is silent for so long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(90);

/// What was heard.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// A line.
    Line(Value),
    /// It will print nothing more.
    Silent,
}

/// Programs that run side by side. Killed when dropped.
#[derive(Debug)]
pub struct Talk {
    programs: Vec<Program>,
    sender: Sender<(usize, Told)>,
    receiver: Receiver<(usize, Told)>,
}

#[derive(Debug)]
struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    errors: File,
}

impl Default for Talk {
    fn default() -> Talk {
        let (sender, receiver) = mpsc::channel();
        Talk { programs: Vec::new(), sender, receiver }
    }
}

impl Talk {
    /// Starts a program: the number by which it is known here.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(&mut self, name: &str, command: &mut Command) -> usize {
        let who = self.programs.len();
        let errors = tempfile::tempfile().expect("a file");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors.try_clone().expect("a handle"));
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // What is no object is a library's chatter.
                if let Ok(value @ Value::Object(_)) = serde_json::from_str(&line) {
                    let _nobody_hears = sender.send((who, Told::Line(value)));
                }
            }
            let _nobody_hears = sender.send((who, Told::Silent));
        });
        let stdin = child.stdin.take();
        self.programs.push(Program { name: name.to_owned(), child, stdin, errors });
        who
    }

    /// Says a line to a program.
    ///
    /// # Panics
    /// When it does not listen.
    pub fn say(&mut self, who: usize, line: &Value) {
        let stdin = self.programs[who].stdin.as_mut();
        let said = stdin.map(|stdin| stdin.write_all(format!("{line}\n").as_bytes()));
        assert!(matches!(said, Some(Ok(()))), "{}", self.complaints());
    }

    /// Says to a program that nothing more will be said to it.
    pub fn hang_up(&mut self, who: usize) {
        self.programs[who].stdin = None;
    }

    /// Waits for what is heard next, and from whom.
    ///
    /// # Panics
    /// When everybody is silent for too long.
    pub fn hear(&mut self, wanted: &str) -> (usize, Told) {
        match self.receiver.recv_timeout(PATIENCE) {
            Ok(heard) => heard,
            Err(_) => panic!("nobody says anything; wanted: {wanted}\n{}", self.complaints()),
        }
    }

    /// Waits for the end of a program that is silent.
    ///
    /// # Panics
    /// When it has failed.
    pub fn end(&mut self, who: usize) {
        let status = self.programs[who].child.wait().expect("a child can be waited for");
        assert!(status.success(), "program {who}: {status}\n{}", self.complaints());
    }

    /// What all of them have printed on standard error.
    pub fn complaints(&mut self) -> String {
        self.programs.iter_mut().map(Program::complaint).collect()
    }
}

impl Program {
    fn complaint(&mut self) -> String {
        let mut text = Vec::new();
        let read = self.errors.rewind().and_then(|()| self.errors.read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(60)..].join("\n");
        format!("--- {} has complained ({read:?} bytes):\n{last}\n", self.name)
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        for program in &mut self.programs {
            program.child.kill().ok();
            program.child.wait().ok();
        }
    }
}
