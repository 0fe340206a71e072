//! Public functions without flags: a `bool` in a call says nothing to its reader.

use super::{Finding, Source};

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, _) in source.code.match_indices("pub ") {
        let rest = &source.code[at + 4..];
        let Some(name) = function_name(rest) else { continue };
        if parameters(rest).split(',').any(is_flag) {
            let line = source.code[..at].matches('\n').count() + 1;
            let what = format!("pub fn {name} takes a bool: give it an enum, or make it two functions");
            findings.push(Finding::new(&source.file, line, what));
        }
    }
    findings
}

/// The name, if `rest` (what follows `pub`) is a function.
fn function_name(rest: &str) -> Option<&str> {
    let mut words = rest.split_whitespace();
    let word = words.by_ref().find(|word| !matches!(*word, "const" | "async" | "unsafe"))?;
    let name = words.next()?;
    (word == "fn").then(|| name.split(['(', '<']).next().unwrap_or(name))
}

/// What stands between the parentheses; those of function types and tuples inside are kept.
fn parameters(rest: &str) -> &str {
    let Some(open) = rest.find('(') else { return "" };
    let mut depth = 0_usize;
    for (at, c) in rest[open..].char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return &rest[open + 1..open + at],
            ')' => depth -= 1,
            _ => {}
        }
    }
    ""
}

fn is_flag(parameter: &str) -> bool {
    parameter.split_once(':').is_some_and(|(_, kind)| kind.trim() == "bool")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        check(&Source::new("a.rs", text)).len()
    }

    #[test]
    fn a_flag_is_named_wherever_it_stands() {
        assert_eq!(found("pub fn open(path: &Path, create: bool) {}"), 1);
        assert_eq!(found("pub async fn open(\n    create: bool,\n    path: &Path,\n) -> u8 {}"), 1);
        assert_eq!(found("pub const fn open<T>(create: bool) {}"), 1);
    }

    #[test]
    fn other_bools_pass() {
        assert_eq!(found("pub fn is_open(&self) -> bool { true }"), 0);
        assert_eq!(found("pub fn keep(&self, rule: impl Fn(&str) -> bool) {}"), 0);
        assert_eq!(found("fn open(create: bool) {}"), 0);
        assert_eq!(found("pub struct Options { pub create: bool }"), 0);
    }
}
