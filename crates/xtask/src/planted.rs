//! Mistakes of a library, planted: the sources of the workspace are built beside it with a library that has a mistake again, and a
//! suite must catch it. A mistake of our own is planted by the feature `teeth`; a library has no such feature.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::workspace::{self, Metadata};

/// A mistake, and what catches it.
#[derive(Debug)]
pub(crate) struct Planted {
    /// What it is called.
    pub(crate) name: &'static str,
    library: &'static str,
    file: &'static str,
    /// The text of the library that keeps it from making the mistake, which is there once.
    right: &'static str,
    wrong: &'static str,
    /// The suite, and the test in it.
    suite: &'static str,
    test: &'static str,
    /// What the test says when it has caught it.
    said: &'static str,
}

/// All of them.
pub(crate) const PLANTED: [Planted; 1] = [Planted {
    // openraft#1802, put right in 0.9.25: the leader did not keep in order who has what above what is committed, and took
    // for held by a majority what was not.
    name: "openraft-commit",
    library: "openraft",
    file: "src/progress/mod.rs",
    right: "if new_gt_granted {",
    wrong: "if prev_le_granted && new_gt_granted {",
    suite: "sim_quorum",
    test: "a_thousand_histories_of_seven_nodes_break_no_promise",
    said: "has committed",
}];

/// Plants it and runs what must catch it.
pub(crate) fn run(planted: &Planted) -> Result<()> {
    let everything = Metadata::of_everything()?;
    let beside = everything.target_directory.join("planted");
    if beside.exists() {
        fs::remove_dir_all(&beside)?;
    }
    let (tree, library) = (beside.join("tree"), beside.join(planted.library));
    copy(&workspace::root(), &workspace::tracked_files()?, &tree)?;
    let source = source_of(&everything, planted.library)?;
    copy(&source, &files_under(&source, Path::new(""))?, &library)?;
    let file = library.join(planted.file);
    let text = fs::read_to_string(&file)?;
    ensure!(
        text.matches(planted.right).count() == 1,
        "{} of {} is not what it was: `{}` is not there once",
        planted.file,
        planted.library,
        planted.right
    );
    fs::write(&file, text.replace(planted.right, planted.wrong))?;
    append(&library.join("Cargo.toml"), "\n[workspace]\n")?;
    let patch = format!("\n[patch.crates-io]\n{} = {{ path = {library:?} }}\n", planted.library);
    append(&tree.join("Cargo.toml"), &patch)?;

    let mut command = workspace::cargo();
    command.current_dir(&tree).env("CARGO_TARGET_DIR", &everything.target_directory);
    command.args(["test", "--workspace", "--release", "--test", planted.suite, "--"]);
    command.args(["--ignored", "--nocapture", "--exact", planted.test]);
    println!("$ cargo test --test {} {} # with {}", planted.suite, planted.test, planted.name);
    let output = command.output().context("cargo could not be started")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut caught = said.lines().filter(|line| line.contains(planted.said)).peekable();
    if output.status.success() || caught.peek().is_none() {
        bail!("{} was not caught: {said}\n{}", planted.name, String::from_utf8_lossy(&output.stderr));
    }
    caught.for_each(|line| println!("{line}"));
    fs::remove_dir_all(&beside)?;
    Ok(())
}

/// Where the sources of a library lie.
fn source_of(everything: &Metadata, library: &str) -> Result<PathBuf> {
    let package = everything.packages.iter().find(|package| package.name == library);
    let targets = package.into_iter().flat_map(|package| &package.targets);
    let mut roots = targets.filter(|target| target.kind == "lib");
    let root = roots.next().with_context(|| format!("{library} is not linked"))?;
    // src/lib.rs
    Ok(root.path.ancestors().nth(2).context("a library without a folder")?.to_path_buf())
}

/// The files of a folder and of those in it, relative to `root`.
fn files_under(root: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            files.extend(files_under(root, &path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

fn copy(from: &Path, files: &[PathBuf], to: &Path) -> Result<()> {
    for file in files {
        let copy = to.join(file);
        fs::create_dir_all(copy.parent().unwrap_or(to))?;
        fs::copy(from.join(file), &copy).with_context(|| format!("{} cannot be copied", file.display()))?;
    }
    Ok(())
}

fn append(file: &Path, text: &str) -> Result<()> {
    let before = fs::read_to_string(file)?;
    Ok(fs::write(file, before + text)?)
}
