//! Kafka's own dump tool, fetched through Maven, and what it says about our files.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The class in `kafka_2.13`.
const DUMP: &str = "kafka.tools.DumpLogSegments";
/// Written when every jar is there.
const COMPLETE: &str = "complete";

/// The jars, in a folder below the target directory.
#[derive(Debug, Clone)]
pub struct KafkaTools {
    jars: PathBuf,
}

/// A record as the dump tool prints it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DumpedRecord {
    /// Its offset.
    pub offset: i64,
    /// Its time, in milliseconds.
    pub timestamp: i64,
    /// Its key; `None` without one.
    pub key: Option<String>,
    /// Its value.
    pub value: String,
}

impl KafkaTools {
    /// Fetches what `tests/kafka-tools/pom.xml` lists, once per target directory.
    ///
    /// # Panics
    /// When Maven fails.
    #[must_use]
    pub fn fetch(target: &Path) -> KafkaTools {
        let jars = target.join("kafka-tools-3.9.1");
        if !jars.join(COMPLETE).exists() {
            let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka-tools/pom.xml");
            let mut maven = Command::new("mvn");
            maven.args(["--quiet", "--batch-mode", "--file"]).arg(pom);
            maven.arg("dependency:copy-dependencies");
            maven.arg(format!("-DoutputDirectory={}", jars.display()));
            let output = maven.output().expect("mvn starts");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "mvn: {}\n{text}", output.status);
            std::fs::write(jars.join(COMPLETE), "").expect("a mark");
        }
        KafkaTools { jars }
    }

    /// Where they lie.
    #[must_use]
    pub fn jars(&self) -> &Path {
        &self.jars
    }

    /// Runs the dump tool over files, and answers what it prints.
    ///
    /// # Panics
    /// When the tool fails.
    #[must_use]
    pub fn dump(&self, options: &[&str], files: &[PathBuf]) -> String {
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        let mut java = Command::new("java");
        java.arg("-cp").arg(format!("{}/*", self.jars.display())).arg(DUMP).args(options);
        java.arg("--files").arg(names.join(","));
        let output = java.output().expect("java starts");
        let (text, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{DUMP}: {}\n{text}\n{errors}", output.status);
        assert_eq!(errors, "", "{DUMP} complains");
        text.into_owned()
    }
}

/// The records that a deep dump prints, in its order.
#[must_use]
pub fn records(dump: &str) -> Vec<DumpedRecord> {
    dump.lines().filter_map(|line| line.strip_prefix("| offset: ")).filter_map(record).collect()
}

/// `0 CreateTime: 17 keySize: 1 valueSize: 1 sequence: 0 headerKeys: [] key: k payload: v`
fn record(line: &str) -> Option<DumpedRecord> {
    let (head, value) = line.split_once(" payload: ")?;
    let (head, key) = match head.split_once(" key: ") {
        Some((head, key)) => (head, Some(key.to_owned())),
        None => (head, None),
    };
    let mut words = head.split(' ');
    let offset = words.next()?.parse().ok()?;
    let timestamp = words.nth(1)?.parse().ok()?;
    Some(DumpedRecord { offset, timestamp, key, value: value.to_owned() })
}

/// The lines of a dump that tell of a batch whose checksum or order is wrong.
#[must_use]
pub fn complaints(dump: &str) -> Vec<&str> {
    let wrong = |line: &&str| {
        let small = line.to_lowercase();
        let words = [
            "mismatch",
            "non-consecutive",
            "isvalid: false",
            "invalid bytes",
            "exception",
            "corrupt",
            "fails",
            "out of order",
        ];
        words.iter().any(|word| small.contains(word))
    };
    dump.lines().filter(wrong).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_record_is_read_with_and_without_a_key() {
        let with = "| offset: 7 CreateTime: 17 keySize: 3 valueSize: 3 sequence: 0 headerKeys: [] key: a b payload: v w";
        let without =
            "| offset: 8 CreateTime: 18 keySize: -1 valueSize: 1 sequence: 1 headerKeys: [] payload: v";
        let read = records(&format!("Starting offset: 7\n{with}\n{without}\n"));
        let expected = |offset, timestamp, key: Option<&str>, value: &str| DumpedRecord {
            offset,
            timestamp,
            key: key.map(str::to_owned),
            value: value.to_owned(),
        };
        assert_eq!(read, [expected(7, 17, Some("a b"), "v w"), expected(8, 18, None, "v")]);
    }
}
