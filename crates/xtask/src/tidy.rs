//! `cargo xtask tidy`: the house rules that neither the compiler nor clippy knows.
//!
//! Function length and parameter counts are clippy's (`too_many_lines`, `too_many_arguments`, thresholds in clippy.toml),
//! so are reasons on `allow`. Here are file sizes and names, orphans, leftovers, links and manifests. Fast, and textual:
//! comments and strings are blanked by a small lexer, nothing is parsed.

mod features;
mod files;
mod lexer;
mod links;
mod manifests;
mod names;
mod orphans;
mod signatures;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::workspace::{self, Metadata};

/// A broken rule, where it is broken.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    file: PathBuf,
    /// Counted from 1; 0 speaks of the whole file.
    line: usize,
    what: String,
}

impl Finding {
    fn new(file: &Path, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.to_path_buf(), line, what: what.into() }
    }
}

/// A file of the repository that is text.
struct Source {
    /// Relative to the root.
    file: PathBuf,
    text: String,
    /// The text with comments and literals blanked, lines kept; empty for what is not Rust.
    code: String,
}

impl Source {
    fn new(file: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let (file, text) = (file.into(), text.into());
        let rust = file.extension().is_some_and(|extension| extension == "rs");
        let code = if rust { lexer::blank(&text) } else { String::new() };
        Self { file, text, code }
    }

    fn is_rust(&self) -> bool {
        self.file.extension().is_some_and(|extension| extension == "rs")
    }
}

/// Checks the whole repository.
pub(crate) fn run() -> Result<()> {
    let tracked = workspace::tracked_files()?;
    let sources: Vec<Source> = tracked.iter().filter_map(|file| read(file)).collect();
    let metadata = Metadata::of_workspace()?;

    let mut findings = Vec::new();
    for source in &sources {
        findings.extend(files::check(source));
        findings.extend(links::check(source, &workspace::root()));
        findings.extend(manifests::check(source));
        if source.is_rust() {
            findings.extend(names::check(source));
            findings.extend(signatures::check(source));
        }
    }
    findings.extend(files::check_types_total(&sources));
    findings.extend(orphans::check(&sources, &metadata, &workspace::root()));
    findings.extend(features::check()?);

    for finding in &findings {
        println!("tidy: {}:{}: {}", finding.file.display(), finding.line, finding.what);
    }
    let long = files::above_wanted(&sources);
    if !long.is_empty() {
        println!(
            "tidy: {} file(s) are longer than wanted ({} lines): {}",
            long.len(),
            files::WANTED,
            long.join(", ")
        );
    }
    if !findings.is_empty() {
        bail!("{} house rule(s) broken", findings.len());
    }
    println!("tidy: {} files, every house rule holds", sources.len());
    Ok(())
}

/// A file that is not UTF-8 is data, not source.
fn read(file: &Path) -> Option<Source> {
    let bytes = std::fs::read(workspace::root().join(file)).ok()?;
    Some(Source::new(file, String::from_utf8(bytes).ok()?))
}
