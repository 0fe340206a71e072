//! `millrace log dump` and `millrace log verify`: looks into the files of a log that is not being served.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use millrace_env::real;
use millrace_log::inspect::{
    Depth, Found, FoundBatch, Inspection, PartitionPath, PartitionReport, SealState, SegmentPath,
    SegmentReport, Severity,
};
use millrace_record::{BatchHeader, Record};
use serde_json::{Map, Value};

use crate::args::RecordFormat;
use crate::exit::{self, tell};
use crate::record_text::{self, Printed};
use crate::table::{self, DumpFormat, ListFormat, counted, row};

/// Prints every batch below `path`, with its records if asked for.
///
/// # Errors
/// The path is no log, is being served, or cannot be read.
pub(super) fn dump(path: &Path, with_records: bool, format: DumpFormat) -> anyhow::Result<()> {
    let inspection = Inspection::open(real::env().fs, path)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    for partition in inspection.partitions() {
        for segment in &partition.segments {
            let mut dump = SegmentDump { partition, segment, format, out: &mut out };
            dump.heading()?;
            for found in inspection.walk(segment)? {
                let found = found.with_context(|| segment.log.display().to_string())?;
                dump.found(&found, with_records)?;
            }
        }
    }
    out.flush()?;
    Ok(())
}

struct SegmentDump<'a, W> {
    partition: &'a PartitionPath,
    segment: &'a SegmentPath,
    format: DumpFormat,
    out: &'a mut W,
}

impl<W: Write> SegmentDump<'_, W> {
    fn heading(&mut self) -> io::Result<()> {
        match self.format {
            DumpFormat::Table => {
                let topic = self.partition.meta.as_ref().map_or("?", |meta| meta.name.as_str());
                let partition = self.partition.id.map(|id| id.partition.0);
                let partition = partition.map_or("?".to_owned(), |partition| partition.to_string());
                writeln!(self.out, "# {topic} {partition}: {}", self.segment.log.display())
            }
            DumpFormat::Json => Ok(()),
        }
    }

    fn found(&mut self, found: &Found, with_records: bool) -> io::Result<()> {
        match found {
            Found::Stopped { position, left, error } => self.line(row! {
                "file": self.segment.log.display().to_string(),
                "position": position,
                "left": left,
                "error": error.to_string(),
            }),
            Found::Batch(batch) => {
                self.line(self.batch_row(batch))?;
                if with_records { self.records(batch) } else { Ok(()) }
            }
        }
    }

    fn batch_row(&self, found: &FoundBatch) -> Map<String, Value> {
        let header: &BatchHeader = &found.header;
        let codec = header.attributes.compression().map_or("unknown".to_owned(), |codec| codec.to_string());
        let mut row = row! {
            "base_offset": header.base_offset,
            "last_offset": header.last_offset(),
            "position": found.position,
            "size_bytes": header.size(),
            "records": header.record_count,
            "leader_epoch": header.partition_leader_epoch,
            "compression": codec,
            "max_timestamp": header.max_timestamp,
            "producer_id": header.producer_id,
            "producer_epoch": header.producer_epoch,
            "base_sequence": header.base_sequence,
            "crc": format!("{:08x}", header.crc),
            "valid": found.batch.is_ok(),
        };
        if let Err(error) = &found.batch {
            row.insert("error".to_owned(), Value::String(error.to_string()));
        }
        if self.format == DumpFormat::Json {
            row.insert("file".to_owned(), Value::String(self.segment.log.display().to_string()));
        }
        row
    }

    fn line(&mut self, row: Map<String, Value>) -> io::Result<()> {
        match self.format {
            DumpFormat::Json => serde_json::to_writer(&mut *self.out, &row)?,
            DumpFormat::Table => {
                let fields: Vec<_> = row.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                self.out.write_all(fields.join(" ").as_bytes())?;
            }
        }
        self.out.write_all(b"\n")
    }

    fn records(&mut self, found: &FoundBatch) -> io::Result<()> {
        let Ok(batch) = &found.batch else { return Ok(()) };
        let records = match batch.records() {
            Ok(records) => records,
            Err(error) => return self.line(row! { "error": error.to_string() }),
        };
        for record in records {
            match record {
                Ok(record) => self.record(&record)?,
                Err(error) => return self.line(row! { "error": error.to_string() }),
            }
        }
        Ok(())
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        if self.format == DumpFormat::Table {
            self.out.write_all(b"  ")?;
        }
        let headers = record.headers.iter().map(|header| (&header.key[..], header.value.as_ref()));
        let printed = Printed {
            topic: self.partition.meta.as_ref().map_or("", |meta| meta.name.as_str()),
            partition: self.partition.id.map_or(0, |id| id.partition.0),
            offset: record.offset.get(),
            timestamp: record.timestamp.0,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: headers.collect(),
        };
        record_text::write(self.out, &printed, RecordFormat::Json)
    }
}

/// Checks everything below `path` and answers the exit code: failure if anything is damaged.
///
/// # Errors
/// The path is no log, is being served, or cannot be read.
pub(super) fn verify(path: &Path, format: ListFormat) -> anyhow::Result<u8> {
    let inspection = Inspection::open(real::env().fs, path)?;
    let mut worst = None;
    let mut rows = Vec::new();
    for partition in inspection.partitions() {
        let report = inspection.verify_partition(partition, Depth::Records);
        rows.extend(report.segments.iter().map(|segment| segment_row(&report, partition, segment)));
        for finding in report.all_findings() {
            worst = worst.max(Some(finding.severity()));
            tell!("{}: {}: {}", word(finding.severity()), finding.path.display(), finding.problem);
        }
    }
    table::print(&SEGMENT_COLUMNS, &rows, format)?;
    let code = if worst == Some(Severity::Damage) { exit::FAILURE } else { exit::SUCCESS };
    let verdict = match worst {
        None => "nothing is wrong",
        Some(Severity::Note) => "nothing is wrong beyond what an unclean stop leaves",
        Some(Severity::Rebuildable) => "the next start rebuilds what is wrong; no record is touched",
        Some(Severity::Damage) => "records are damaged",
    };
    tell!("{}: {verdict}", counted(rows.len() as u64, "segment"));
    Ok(code)
}

const SEGMENT_COLUMNS: [&str; 10] = [
    "topic",
    "partition",
    "base_offset",
    "size_bytes",
    "valid_bytes",
    "batches",
    "records",
    "last_offset",
    "seal",
    "findings",
];

fn segment_row(
    report: &PartitionReport,
    partition: &PartitionPath,
    segment: &SegmentReport,
) -> Map<String, Value> {
    let findings = segment.findings.len() as u64 + segment.findings_left_out;
    row! {
        "topic": report.meta.as_ref().map(|meta| meta.name.as_str()),
        "partition": partition.id.map(|id| id.partition.0),
        "base_offset": segment.base.map(millrace_types::Offset::get),
        "size_bytes": segment.log_bytes,
        "valid_bytes": segment.valid_bytes,
        "batches": segment.batches,
        "records": segment.records,
        "last_offset": segment.last_offset.map(millrace_types::Offset::get),
        "seal": match segment.seal {
            SealState::Sealed => "sealed",
            SealState::Unsealed => "open",
            SealState::Broken => "broken",
        },
        "findings": findings,
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Rebuildable => "rebuildable",
        Severity::Damage => "DAMAGE",
    }
}
