//! The file of one client.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Event, Line, monotonic_nanos};

/// Appends to a history. Clones write to the same file, for the same client.
#[derive(Debug, Clone)]
pub struct Journal {
    process: String,
    file: Arc<Mutex<BufWriter<File>>>,
}

impl Journal {
    /// A new file `PROCESS.jsonl` in that folder.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(folder: &Path, process: &str) -> Journal {
        let path = folder.join(format!("{process}.jsonl"));
        let file = File::create_new(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Journal { process: process.to_owned(), file: Arc::new(Mutex::new(BufWriter::new(file))) }
    }

    /// One line more, with the time of this moment.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, event: Event) {
        let mut file = self.file.lock();
        // Under the lock: the lines of a file are in the order of their times.
        let line = Line { t: monotonic_nanos(), p: self.process.clone(), e: event };
        let text = serde_json::to_string(&line).expect("a line");
        file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).expect("room for a history");
    }

    /// A line for whoever reads the file.
    pub fn note(&self, text: impl std::fmt::Display) {
        self.write(Event::Note(text.to_string()));
    }

    /// Hands what was written to the file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn flush(&self) {
        self.file.lock().flush().expect("room for a history");
    }
}
