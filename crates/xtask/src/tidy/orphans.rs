//! Files that no module declares: cargo does not see them, so nobody would notice that they rot.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Finding, Source};
use crate::workspace::Metadata;

pub(super) fn check(sources: &[Source], metadata: &Metadata, root: &Path) -> Vec<Finding> {
    let targets = metadata.packages.iter().flat_map(|package| &package.targets);
    let roots: Vec<PathBuf> =
        targets.filter_map(|target| Some(target.path.strip_prefix(root).ok()?.to_path_buf())).collect();
    let reached = reach(sources, roots);
    let rust = sources.iter().filter(|source| source.is_rust() && !source.file.starts_with("fuzz"));
    rust.filter(|source| !reached.contains(&source.file))
        .map(|source| Finding::new(&source.file, 0, "no `mod` declares this file"))
        .collect()
}

/// Every file that can be reached from the roots by `mod`.
fn reach(sources: &[Source], roots: Vec<PathBuf>) -> BTreeSet<PathBuf> {
    let mut reached: BTreeSet<PathBuf> = roots.iter().cloned().collect();
    let mut todo: Vec<(PathBuf, bool)> = roots.into_iter().map(|file| (file, true)).collect();
    while let Some((file, is_root)) = todo.pop() {
        let Some(source) = sources.iter().find(|source| source.file == file) else { continue };
        let folder = folder_of_children(&file, is_root);
        let included = includes(&source.text).map(|name| file.with_file_name(name));
        let children = declared(&source.code)
            .into_iter()
            .flat_map(|name| [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")]);
        for child in children.chain(included) {
            let known = sources.iter().any(|source| source.file == child);
            if known && reached.insert(child.clone()) {
                todo.push((child, false));
            }
        }
    }
    reached
}

fn folder_of_children(file: &Path, is_root: bool) -> PathBuf {
    if is_root || file.ends_with("mod.rs") {
        return file.parent().unwrap_or(Path::new("")).to_path_buf();
    }
    file.with_extension("")
}

/// Names of `mod NAME;`; inside an inline module the path to it (`outer/NAME`).
fn declared(code: &str) -> Vec<String> {
    let spaced = code.replace(';', " ; ").replace('{', " { ").replace('}', " } ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut names = Vec::new();
    // One entry for each open brace: the module it belongs to, or nothing.
    let mut open: Vec<Option<&str>> = Vec::new();
    for (at, &word) in words.iter().enumerate() {
        let opens_module = at >= 2 && words[at - 2] == "mod";
        match word {
            "{" => open.push(opens_module.then(|| words[at - 1])),
            "}" => drop(open.pop()),
            ";" if opens_module => {
                let outer = open.iter().flatten().map(|name| format!("{name}/")).collect::<String>();
                names.push(format!("{outer}{}", words[at - 1]));
            }
            _ => {}
        }
    }
    names
}

/// Rust files named by `include!("...")` or `#[path = "..."]`.
fn includes(text: &str) -> impl Iterator<Item = &str> {
    let openings = ["include!(\"", "#[path = \""];
    let rests = openings.into_iter().flat_map(|opening| text.split(opening).skip(1));
    rests
        .filter_map(|rest| rest.split('"').next())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "rs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orphans(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> = files.iter().map(|(file, text)| Source::new(*file, *text)).collect();
        let reached = reach(&sources, vec!["src/lib.rs".into()]);
        let lost = sources.iter().filter(|source| !reached.contains(&source.file));
        lost.map(|source| source.file.display().to_string()).collect()
    }

    #[test]
    fn declared_files_are_reached_at_any_depth() {
        let files = [
            ("src/lib.rs", "mod a;\npub(crate) mod b;"),
            ("src/a.rs", "mod inner;\n#[cfg(test)]\nmod tests;"),
            ("src/a/inner.rs", ""),
            ("src/a/tests.rs", "mod cases { mod first; }"),
            ("src/a/tests/cases/first.rs", ""),
            ("src/b/mod.rs", "mod c;"),
            ("src/b/c.rs", ""),
        ];
        assert_eq!(orphans(&files), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_nothing_declares_is_named() {
        let files = [("src/lib.rs", "// mod a;\nmod b {}"), ("src/a.rs", ""), ("src/b.rs", "")];
        assert_eq!(orphans(&files), ["src/a.rs", "src/b.rs"]);
    }

    #[test]
    fn a_file_that_is_included_is_reached() {
        let files = [("src/lib.rs", "#[path = \"odd.rs\"]\nmod a;"), ("src/odd.rs", "")];
        assert_eq!(orphans(&files), Vec::<String>::new());
    }
}
