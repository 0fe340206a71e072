//! The client of Millrace and of Kafka: one Java process, warm, that runs Kafka's own producer perf tool and reads.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::child::Process;
use crate::peers::kafka_jars::KafkaJars;

/// As small as lets the tool run without long pauses; the same for both brokers.
pub const HEAP_MIB: u32 = 768;

/// The process.
#[derive(Debug)]
pub struct JavaClient {
    process: Process,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What a command answered.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// What was printed before the answer.
    pub printed: Vec<String>,
    /// The figures of the answer by name.
    pub figures: BTreeMap<String, f64>,
}

impl Answer {
    /// One figure.
    ///
    /// # Errors
    /// It is not there.
    pub fn figure(&self, name: &str) -> Result<f64> {
        self.figures.get(name).copied().with_context(|| format!("no {name} in {:?}", self.figures))
    }
}

impl JavaClient {
    /// Starts it.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(jars: &KafkaJars) -> Result<JavaClient> {
        let mut command = jars.java(HEAP_MIB, &["-XX:+UseG1GC"]);
        command.arg("Driver").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn(&mut command)?;
        let (commands, answers) = process.pipes().context("no pipes to the client")?;
        let mut client = JavaClient { process, commands, answers: BufReader::new(answers) };
        client.answer()?;
        Ok(client)
    }

    /// Its id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// The command failed, or the process ended.
    pub fn run(&mut self, command: &str) -> Result<Answer> {
        self.begin(command)?;
        self.answer()
    }

    /// Sends a command.
    ///
    /// # Errors
    /// The process has ended.
    pub fn begin(&mut self, command: &str) -> Result<()> {
        writeln!(self.commands, "{command}")?;
        Ok(self.commands.flush()?)
    }

    /// Waits until the running command prints a line.
    ///
    /// # Errors
    /// The process ended.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("the Java client has ended");
        }
        Ok(line.trim_end().to_owned())
    }

    /// Waits for the answer of the running command.
    ///
    /// # Errors
    /// The command failed, or the process ended.
    pub fn answer(&mut self) -> Result<Answer> {
        let mut printed = Vec::new();
        loop {
            let line = self.line()?;
            if let Some(told) = line.strip_prefix("= ") {
                return Ok(Answer { printed, figures: figures(told) });
            }
            if let Some(failed) = line.strip_prefix("! ") {
                bail!("{failed}");
            }
            printed.push(line);
        }
    }
}

fn figures(told: &str) -> BTreeMap<String, f64> {
    let pairs = told.split(' ').filter_map(|word| word.split_once('='));
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// What the tool prints at its end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ToolLine {
    /// Records in all.
    pub records: f64,
    /// Records per second.
    pub rate: f64,
    /// Latencies in milliseconds: half, 99 of 100, 999 of 1,000.
    pub latencies: [f64; 3],
}

/// Reads the last line of the tool that sums up a run:
/// `1000000 records sent, 54588.1 records/sec (53.31 MB/sec), 528.00 ms avg latency, 2402.00 ms max latency, 383 ms 50th, ...`
///
/// # Errors
/// There is no such line.
pub fn summary(printed: &[String]) -> Result<ToolLine> {
    let line = printed.iter().rev().find(|line| line.contains("99.9th"));
    let line = line.with_context(|| format!("the tool printed no summary: {printed:?}"))?;
    let before = |mark: &str| -> Result<f64> {
        let at = line.find(mark).with_context(|| format!("no {mark:?} in {line:?}"))?;
        let word = line[..at].rsplit([' ', ',']).find(|word| !word.is_empty()).unwrap_or_default();
        word.parse().with_context(|| format!("{word:?} in {line:?}"))
    };
    Ok(ToolLine {
        records: before(" records sent")?,
        rate: before(" records/sec")?,
        latencies: [before(" ms 50th")?, before(" ms 99th")?, before(" ms 99.9th")?],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_the_tool_is_read() {
        let lines = [
            "117841 records sent, 23568.2 records/sec (23.02 MB/sec), 1101.1 ms avg latency, 2402.0 ms max latency.",
            "1000000 records sent, 54588.1 records/sec (53.31 MB/sec), 528.00 ms avg latency, 2402.00 ms max latency, \
             383 ms 50th, 1532 ms 95th, 2222 ms 99th, 2379 ms 99.9th.",
        ];
        let read = summary(&lines.map(str::to_owned)).unwrap();
        let expected = ToolLine { records: 1e6, rate: 54588.1, latencies: [383.0, 2222.0, 2379.0] };
        assert_eq!(read, expected);
        assert!(summary(&["nothing".to_owned()]).is_err());
    }

    #[test]
    fn figures_are_read_by_name() {
        let read = figures("stamped=12 p50_nanos=7 word");
        assert_eq!(read.get("p50_nanos"), Some(&7.0));
        assert_eq!(read.len(), 2);
    }
}
