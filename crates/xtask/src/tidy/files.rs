//! Sizes of files, how they open, and what must not be left in them.

use super::{Finding, Source};

/// A file above this is counted and listed.
pub(super) const WANTED: usize = 500;
const AT_MOST: usize = 800;
const INLINE_TESTS_AT_MOST: usize = 200;
const TYPES_AT_MOST: usize = 2_000;

/// Flat lists that may be longer, by name.
const LONG_LISTS: [&str; 0] = [];

/// Folders that belong to one machine only.
const MACHINE_PATHS: [&str; 3] = [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/")];

/// Notes to oneself belong into the tracker.
const LEFTOVERS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];

/// The only place that may lift the ban on `unsafe`.
const UNSAFE_HOME: [&str; 2] = ["crates/env/src/real.rs", "crates/env/src/real/"];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = leftovers(source);
    if !source.is_rust() {
        return findings;
    }
    let file = &source.file;
    let lines = source.text.lines().count();
    if lines > AT_MOST && !LONG_LISTS.iter().any(|list| file.ends_with(list)) {
        findings.push(Finding::new(file, 0, format!("{lines} lines; a file has {AT_MOST} at most")));
    }
    if !source.text.starts_with("//!") {
        findings.push(Finding::new(file, 1, "a file opens with `//!`: what it is, in a sentence"));
    }
    for (line, length) in inline_tests(&source.code) {
        if length > INLINE_TESTS_AT_MOST {
            let what =
                format!("{length} lines of inline tests; beyond {INLINE_TESTS_AT_MOST} they go to tests.rs");
            findings.push(Finding::new(file, line, what));
        }
    }
    findings.extend(unsafe_away_from_home(source));
    findings
}

pub(super) fn check_types_total(sources: &[Source]) -> Option<Finding> {
    let types =
        sources.iter().filter(|source| source.is_rust() && source.file.starts_with("crates/types/src"));
    let lines: usize = types.map(|source| source.text.lines().count()).sum();
    let what =
        format!("{lines} lines in all; the crate that everything depends on has {TYPES_AT_MOST} at most");
    (lines > TYPES_AT_MOST).then(|| Finding::new("crates/types".as_ref(), 0, what))
}

/// `name (lines)` of each file that is longer than wanted.
pub(super) fn above_wanted(sources: &[Source]) -> Vec<String> {
    let rust = sources.iter().filter(|source| source.is_rust());
    let counted = rust.map(|source| (source.text.lines().count(), source));
    let long = counted.filter(|(lines, _)| *lines > WANTED);
    long.map(|(lines, source)| format!("{} ({lines})", source.file.display())).collect()
}

fn leftovers(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        if let Some(path) = MACHINE_PATHS.iter().find(|path| holds_machine_path(line, path)) {
            findings.push(Finding::new(
                &source.file,
                index + 1,
                format!("{path} is a folder of one machine"),
            ));
        }
        if let Some(word) = LEFTOVERS.iter().find(|word| holds_word(line, word)) {
            findings.push(Finding::new(&source.file, index + 1, format!("a {word} left behind")));
        }
    }
    findings
}

/// A folder of the same name inside of a relative path is none.
fn holds_machine_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '}' | ')')))
    })
}

fn holds_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let around = [line[..at].chars().next_back(), line[at + word.len()..].chars().next()];
        around.iter().flatten().all(|c| !c.is_alphanumeric() && *c != '_')
    })
}

/// First line and length of each `#[cfg(test)] mod NAME { ... }`.
fn inline_tests(code: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if line.trim() != "#[cfg(test)]" {
            continue;
        }
        // Other attributes may stand between it and the module.
        let opening = (index + 1..lines.len()).find(|&at| !lines[at].trim_start().starts_with("#["));
        let Some(opening) = opening.filter(|&at| lines[at].contains("mod ") && lines[at].contains('{'))
        else {
            continue;
        };
        found.push((index + 1, block_length(&lines[opening..])));
    }
    found
}

fn block_length(lines: &[&str]) -> usize {
    let mut depth = 0_usize;
    for (index, line) in lines.iter().enumerate() {
        depth += line.matches('{').count();
        depth = depth.saturating_sub(line.matches('}').count());
        if depth == 0 {
            return index + 1;
        }
    }
    lines.len()
}

fn unsafe_away_from_home(source: &Source) -> Vec<Finding> {
    let file = source.file.to_string_lossy();
    let at_home = file == UNSAFE_HOME[0] || file.starts_with(UNSAFE_HOME[1]);
    if at_home {
        return Vec::new();
    }
    let lines = source.code.lines().enumerate();
    let lifted = lines.filter(|(_, line)| line.contains("(unsafe_code"));
    lifted
        .filter(|(_, line)| line.contains("allow(") || line.contains("expect("))
        .map(|(index, _)| Finding::new(&source.file, index + 1, "unsafe lives in crates/env/src/real only"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, text: &str) -> Vec<String> {
        check(&Source::new(file, text)).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_small_documented_file_passes() {
        assert!(found("crates/log/src/index.rs", "//! The index.\nfn f() {}\n").is_empty());
    }

    #[test]
    fn a_file_without_an_opening_is_named() {
        assert_eq!(found("a.rs", "use std::io;\n").len(), 1);
    }

    #[test]
    fn a_long_file_is_named() {
        let text = format!("//! Long.\n{}", "fn f() {}\n".repeat(800));
        assert_eq!(found("a.rs", &text), ["801 lines; a file has 800 at most"]);
    }

    #[test]
    fn leftovers_are_named_in_code_and_prose() {
        assert_eq!(found("a.md", concat!("see /ro", "ot/x\n")).len(), 1);
        assert_eq!(found("a.md", concat!("a TO", "DO here\n")).len(), 1);
        assert!(found("a.md", concat!("target/wo", "rk/x and TO", "DOS\n")).is_empty());
    }

    #[test]
    fn long_inline_tests_are_named() {
        let body = "    fn f() {}\n".repeat(199);
        let fits = format!("//! A.\n#[cfg(test)]\nmod tests {{\n{}}}\n", &body[14..]);
        assert!(found("a.rs", &fits).is_empty());
        let long = format!("//! A.\n#[cfg(test)]\nmod tests {{\n{body}}}\n");
        assert_eq!(found("a.rs", &long).len(), 1);
        assert!(found("a.rs", "//! A.\n#[cfg(test)]\nmod tests;\n").is_empty());
    }

    #[test]
    fn unsafe_stays_at_home() {
        let text = "//! A.\n#![expect(unsafe_code, reason = \"\")]\n";
        assert_eq!(found("crates/log/src/a.rs", text).len(), 1);
        assert!(found("crates/env/src/real/map.rs", text).is_empty());
    }

    #[test]
    fn types_stays_small() {
        let big = Source::new("crates/types/src/a.rs", "x\n".repeat(2_001));
        assert!(check_types_total(&[big]).is_some());
    }
}
