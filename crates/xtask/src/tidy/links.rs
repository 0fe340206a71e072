//! Relative links of the documents: each must lead to a file of the repository.

use std::path::Path;

use super::{Finding, Source};

pub(super) fn check(source: &Source, root: &Path) -> Vec<Finding> {
    if source.file.extension().is_none_or(|extension| extension != "md") {
        return Vec::new();
    }
    let folder = root.join(source.file.parent().unwrap_or(Path::new("")));
    let mut findings = Vec::new();
    let mut fenced = false;
    for (index, line) in source.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for link in relative_links(line) {
            if !folder.join(link).exists() {
                findings.push(Finding::new(
                    &source.file,
                    index + 1,
                    format!("the link to {link} leads nowhere"),
                ));
            }
        }
    }
    findings
}

/// The targets of `[text](target)`, without anchors, without what lies elsewhere.
fn relative_links(line: &str) -> Vec<&str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
    local.filter_map(|target| target.split('#').next()).filter(|target| !target.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        check(&Source::new("README.md", text), root).len()
    }

    #[test]
    fn a_link_that_leads_nowhere_is_named() {
        assert_eq!(found("see [a](Cargo.toml), [b](no-such.md#x) and [c](src/main.rs)"), 1);
    }

    #[test]
    fn anchors_and_the_web_are_not_followed() {
        assert_eq!(found("[a](#here) [b](https://example.org/x)\n```\n[c](no-such.md)\n```"), 0);
    }
}
