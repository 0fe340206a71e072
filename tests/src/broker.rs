//! The real binary as a child process: started, asked, killed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use millrace_client::{Client, ClientOptions};

use crate::millrace_program;

/// A safety net, not a measurement: nothing waits that long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a broker is started.
#[derive(Debug, Clone)]
pub struct BrokerSetup {
    /// Where its logs lie.
    pub data_dir: PathBuf,
    /// Where its standard error goes; outside of what is cut.
    pub log_file: PathBuf,
    /// Where it listens; port 0 picks one.
    pub grpc: String,
    /// Where its Kafka door listens; port 0 picks one.
    pub kafka: String,
    /// Where its health and metrics are; port 0 picks one.
    pub http: String,
    /// More arguments.
    pub args: Vec<String>,
    /// The program that runs it elsewhere and becomes it, with its arguments; nobody by default.
    pub within: Vec<String>,
}

impl BrokerSetup {
    /// A broker on that directory, on a port of its own, its log beside the directory.
    #[must_use]
    pub fn new(data_dir: &Path, log_file: &Path) -> BrokerSetup {
        BrokerSetup {
            data_dir: data_dir.to_owned(),
            log_file: log_file.to_owned(),
            grpc: "127.0.0.1:0".to_owned(),
            kafka: "127.0.0.1:0".to_owned(),
            http: "127.0.0.1:0".to_owned(),
            args: Vec::new(),
            within: Vec::new(),
        }
    }

    /// The command, not started.
    ///
    /// # Panics
    /// When the log file cannot be written.
    #[must_use]
    pub fn command(&self) -> Command {
        let log = File::options().create(true).append(true).open(&self.log_file).expect("a log file");
        let mut command = match self.within.split_first() {
            None => Command::new(millrace_program()),
            Some((program, words)) => {
                let mut command = Command::new(program);
                command.args(words).arg(millrace_program());
                command
            }
        };
        command.arg("serve").arg("--data-dir").arg(&self.data_dir);
        command.args(["--grpc", &self.grpc, "--http", &self.http, "--kafka", &self.kafka]);
        command.args(&self.args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MILLRACE_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Starts it and waits until it accepts.
    ///
    /// # Panics
    /// When it ends or says something else.
    #[must_use]
    pub fn start(&self) -> BrokerProcess {
        match self.try_start() {
            Ok(broker) => broker,
            Err(status) => panic!("the broker ended with {status}\n{}", tail(&self.log_file)),
        }
    }

    /// Starts it; the exit status when it ends before it accepts.
    ///
    /// # Errors
    /// The exit status.
    ///
    /// # Panics
    /// When it neither ends nor accepts.
    pub fn try_start(&self) -> Result<BrokerProcess, ExitStatus> {
        self.begin().wait(PATIENCE)
    }

    /// Starts the process and does not wait.
    ///
    /// # Panics
    /// When there is no binary.
    #[must_use]
    pub fn begin(&self) -> StartingBroker {
        let began = Instant::now();
        let mut child = self.command().spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("a pipe");
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            // What it may print later is read and dropped: a full pipe must not stop it.
            let mut stdout = BufReader::new(stdout);
            let _ended = stdout.read_line(&mut line);
            let _nobody_waits = send.send(line);
            let _ended = std::io::copy(&mut stdout, &mut std::io::sink());
        });
        StartingBroker { child: Some(child), line: receive, began, log_file: self.log_file.clone() }
    }
}

/// A broker that does not accept yet. Killed when dropped.
#[derive(Debug)]
pub struct StartingBroker {
    child: Option<Child>,
    line: mpsc::Receiver<String>,
    began: Instant,
    log_file: PathBuf,
}

impl StartingBroker {
    /// Waits until it accepts; the exit status when it ends instead.
    ///
    /// # Errors
    /// The exit status.
    ///
    /// # Panics
    /// When it does neither for so long.
    pub fn wait(mut self, patience: Duration) -> Result<BrokerProcess, ExitStatus> {
        let line = self.line.recv_timeout(patience).unwrap_or_default();
        let mut child = self.child.take().expect("it is waited for once");
        if line.is_empty() {
            let status = wait(&mut child).unwrap_or_else(|| {
                child.kill().ok();
                panic!("the broker neither accepts nor ends\n{}", tail(&self.log_file))
            });
            return Err(status);
        }
        let ready: serde_json::Value = serde_json::from_str(&line).expect("one JSON line");
        let address = |key: &str| ready[key].as_str().expect("an address").to_owned();
        let (grpc, http, kafka) = (address("grpc"), address("http"), address("kafka"));
        let took = self.began.elapsed();
        Ok(BrokerProcess { child, ready, grpc, http, kafka, took, log_file: self.log_file.clone() })
    }
}

impl Drop for StartingBroker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// A running broker. Killed when dropped.
#[derive(Debug)]
pub struct BrokerProcess {
    child: Child,
    /// The line that it printed.
    pub ready: serde_json::Value,
    grpc: String,
    http: String,
    kafka: String,
    took: Duration,
    log_file: PathBuf,
}

impl BrokerProcess {
    /// From starting the process to its line.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Where its gRPC door is.
    #[must_use]
    pub fn grpc(&self) -> &str {
        &self.grpc
    }

    /// Where its Kafka door is.
    #[must_use]
    pub fn kafka(&self) -> &str {
        &self.kafka
    }

    /// Where health and metrics are.
    #[must_use]
    pub fn http(&self) -> &str {
        &self.http
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client of it.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn client(&self) -> Client {
        Client::connect([self.grpc.clone()], ClientOptions::default()).await.expect("it accepts")
    }

    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill_hard(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Stops every thread of it where it is (SIGSTOP), as the loss of power does: from here on it tells nobody anything.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        // Answered once all threads have stopped; a stopped child stays to be waited for.
        let waited = rustix::process::waitpid(pid, rustix::process::WaitOptions::UNTRACED);
        let (_, status) = waited.expect("a child").expect("it waits until something happened");
        assert!(status.stopped(), "it ended instead: {status:?}\n{}", tail(&self.log_file));
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    ///
    /// # Panics
    /// When it does not.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a process id"), signal).expect("a running child");
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait(&mut self) -> ExitStatus {
        let status = wait(&mut self.child);
        status.unwrap_or_else(|| panic!("the broker does not end\n{}", tail(&self.log_file)))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What its HTTP side answers to a GET: the status code and the body.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn get(&self, path: &str) -> (u16, String) {
        let address: SocketAddr = self.http.parse().expect("an address");
        let mut stream = TcpStream::connect(address).expect("it accepts");
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let status = answer.split_whitespace().nth(1).and_then(|code| code.parse().ok());
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        (status.expect("a status"), body.unwrap_or_default())
    }

    /// How often each error was answered to producers since this process started, by name.
    #[must_use]
    pub fn produce_errors(&self) -> BTreeMap<String, u64> {
        let (_, text) = self.get("/metrics");
        let of_produce = "millrace_requests_total{operation=\"produce\",code=\"";
        let lines = text.lines().filter_map(|line| line.strip_prefix(of_produce)?.split_once("\"} "));
        let counts = lines.filter_map(|(code, count)| Some((code.to_owned(), count.parse().ok()?)));
        counts.filter(|(code, _)| code != "OK").collect()
    }

    /// The sum over all series of a metric; `None` when there is none of that name.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let of_name = lines.filter(|line| line.split(['{', ' ']).next() == Some(name));
        let values = of_name.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// Memory that is its own and in RAM (RssAnon), in KiB.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn own_memory_kib(&self) -> u64 {
        own_memory_kib_of(self.child.id())
    }
}

/// Memory of a process that is its own and in RAM (RssAnon), in KiB.
///
/// # Panics
/// When it is gone.
#[must_use]
pub fn own_memory_kib_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running child");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("a size in kB")
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            crate::say(&tail(&self.log_file));
        }
    }
}

/// Polls for the end of a child: std has no wait with an end.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// The end of a broker's log.
#[must_use]
pub fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(40)..];
    format!("--- {} ends with\n{}\n---", path.display(), last.join("\n"))
}
