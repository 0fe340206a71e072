//! A history as the checker sees it: names are numbers, sends have their outcomes, readers their events in order.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::{Event, Line, Why};

/// What became of a record that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is there, at that offset if it was said where.
    Acked(Option<i64>),
    /// It is not there and will not be.
    Failed,
    /// Nobody knows; also if the client never said.
    Unknown,
}

/// A record that was sent.
#[derive(Debug, Clone, Copy)]
pub struct Send {
    /// By which client.
    pub process: u32,
    /// To which partition.
    pub partition: u32,
    /// What.
    pub value: u64,
    /// Before this it was not sent.
    pub invoked: u64,
    /// When its outcome was told; the end of time if it was not.
    pub ended: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// A record that was read.
#[derive(Debug, Clone, Copy)]
pub struct Read {
    /// In which partition.
    pub partition: u32,
    /// Where.
    pub offset: i64,
    /// What; `None` for bytes that nobody sends.
    pub value: Option<u64>,
}

/// An answer to a reader.
#[derive(Debug, Clone)]
pub struct Poll {
    /// When it asked.
    pub since: u64,
    /// When it was answered.
    pub ended: u64,
    /// With what, by partition, in their order.
    pub records: Vec<Read>,
}

/// Everything of a partition between two offsets was read.
#[derive(Debug, Clone, Copy)]
pub struct Whole {
    /// Which partition.
    pub partition: u32,
    /// When it began.
    pub since: u64,
    /// The first offset.
    pub from: i64,
    /// The offset behind the last.
    pub to: i64,
    /// The chain of what was read, as the reader has computed it.
    pub hash: u64,
}

/// What happened to a reader.
#[derive(Debug, Clone)]
pub enum ReaderEvent {
    /// It was answered.
    Poll(Poll),
    /// Its place is another.
    Moved(Why, Vec<(u32, Option<i64>)>),
    /// It has read a partition whole.
    Whole(Whole),
}

/// A reader and what happened to it, in order.
#[derive(Debug, Clone)]
pub struct ReaderLog {
    /// Which client.
    pub process: u32,
    /// What happened to it.
    pub events: Vec<ReaderEvent>,
}

/// Everything that clients did and were told.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The names of the clients.
    pub processes: Vec<String>,
    /// The names of the partitions.
    pub partitions: Vec<String>,
    /// In the order in which each client has sent.
    pub sends: Vec<Send>,
    /// The clients that read.
    pub readers: Vec<ReaderLog>,
    /// Commits that were acknowledged, and that were not.
    pub commits: (u64, u64),
    /// Clients that were told that what they had read up to is not there, in words.
    pub thrown_out: Vec<String>,
    by_value: HashMap<u64, usize>,
    process_numbers: HashMap<String, u32>,
    partition_numbers: HashMap<String, u32>,
    reader_of: HashMap<u32, usize>,
}

/// Why a history cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file cannot be read.
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
    /// A line is none.
    #[error("{0}, line {1}: {2}")]
    Line(PathBuf, usize, serde_json::Error),
    /// A line contradicts those before it.
    #[error("{0}")]
    Nonsense(String),
}

impl History {
    /// Reads the files of the clients.
    ///
    /// # Errors
    /// What is wrong with them. A last line without an end is left out: its writer was killed.
    pub fn read(files: &[PathBuf]) -> Result<History, HistoryError> {
        let mut history = History::default();
        for path in files {
            history.read_file(path)?;
        }
        Ok(history)
    }

    fn read_file(&mut self, path: &Path) -> Result<(), HistoryError> {
        let failed = |error| HistoryError::File(path.to_owned(), error);
        let mut file = BufReader::new(std::fs::File::open(path).map_err(failed)?);
        let mut text = String::new();
        for number in 1.. {
            text.clear();
            if file.read_line(&mut text).map_err(failed)? == 0 || !text.ends_with('\n') {
                break;
            }
            let line: Line = serde_json::from_str(&text)
                .map_err(|error| HistoryError::Line(path.to_owned(), number, error))?;
            self.take(line)?;
        }
        Ok(())
    }

    /// Takes the next line of a client.
    ///
    /// # Errors
    /// When it contradicts those before it.
    pub fn take(&mut self, line: Line) -> Result<(), HistoryError> {
        let Line { t, p, e } = line;
        let process = number(&mut self.process_numbers, &mut self.processes, &p);
        match e {
            Event::Send { value, at } => return self.send(process, t, value, &at),
            Event::Acked { value, offset } => {
                // Kafka's clients say -1 for: nobody knows where.
                let offset = offset.filter(|offset| *offset >= 0);
                return self.told(process, t, value, Outcome::Acked(offset));
            }
            Event::Failed { value, .. } => return self.told(process, t, value, Outcome::Failed),
            Event::Unknown { value, .. } => return self.told(process, t, value, Outcome::Unknown),
            Event::Moved { why, at } => {
                let at = at.iter().map(|(name, next)| (self.partition(name), *next)).collect();
                self.reader(process).push(ReaderEvent::Moved(why, at));
            }
            Event::Polled { since, records } => {
                let mut reads = Vec::new();
                for (name, records) in records {
                    let partition = self.partition(&name);
                    let read = |(offset, value)| Read { partition, offset, value };
                    reads.extend(records.into_iter().map(read));
                }
                self.reader(process).push(ReaderEvent::Poll(Poll { since, ended: t, records: reads }));
            }
            Event::Whole { since, at, from, to, hash } => {
                let partition = self.partition(&at);
                self.reader(process).push(ReaderEvent::Whole(Whole { partition, since, from, to, hash }));
            }
            Event::Committed { error, .. } => match error {
                None => self.commits.0 += 1,
                Some(_) => self.commits.1 += 1,
            },
            Event::ThrownOut { at, why } => self.thrown_out.push(format!("{p} in {at} (at {t} ns): {why}")),
            Event::Note(_) => {}
        }
        Ok(())
    }

    fn send(&mut self, process: u32, invoked: u64, value: u64, at: &str) -> Result<(), HistoryError> {
        let partition = self.partition(at);
        let send = Send { process, partition, value, invoked, ended: u64::MAX, outcome: Outcome::Unknown };
        if self.by_value.insert(value, self.sends.len()).is_some() {
            return Err(HistoryError::Nonsense(format!("{value:x} is sent twice by the clients themselves")));
        }
        self.sends.push(send);
        Ok(())
    }

    fn told(&mut self, process: u32, t: u64, value: u64, outcome: Outcome) -> Result<(), HistoryError> {
        let send = self.by_value.get(&value).and_then(|index| self.sends.get_mut(*index));
        match send {
            Some(send) if send.process == process && send.ended == u64::MAX => {
                send.ended = t;
                send.outcome = outcome;
                Ok(())
            }
            _ => Err(HistoryError::Nonsense(format!("an outcome of {value:x} that nobody waits for"))),
        }
    }

    fn partition(&mut self, name: &str) -> u32 {
        number(&mut self.partition_numbers, &mut self.partitions, name)
    }

    fn reader(&mut self, process: u32) -> &mut Vec<ReaderEvent> {
        let next = self.readers.len();
        let index = *self.reader_of.entry(process).or_insert(next);
        if index == next {
            self.readers.push(ReaderLog { process, events: Vec::new() });
        }
        &mut self.readers[index].events
    }

    /// The send of that value.
    #[must_use]
    pub fn sent(&self, value: u64) -> Option<(usize, &Send)> {
        let index = *self.by_value.get(&value)?;
        Some((index, self.sends.get(index)?))
    }
}

fn number(numbers: &mut HashMap<String, u32>, names: &mut Vec<String>, name: &str) -> u32 {
    if let Some(number) = numbers.get(name) {
        return *number;
    }
    let number = u32::try_from(names.len()).unwrap_or(u32::MAX);
    names.push(name.to_owned());
    numbers.insert(name.to_owned(), number);
    number
}
