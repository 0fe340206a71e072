//! The steps, in the order in which they run: what is cheap and fails often comes first.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::workspace::{self, Metadata};
use crate::{deny, fuzz, layers, process, test, tidy};

/// A part of the hour that a run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    Build,
    Tests,
    ThirdParty,
    Crash,
    Fuzz,
}

impl Share {
    pub(super) const ALL: [Self; 5] = [Self::Build, Self::Tests, Self::ThirdParty, Self::Crash, Self::Fuzz];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Build => "build, lint, docs",
            Self::Tests => "tests",
            Self::ThirdParty => "third-party exams",
            Self::Crash => "simulation, crashes",
            Self::Fuzz => "fuzz",
        }
    }

    pub(super) fn limit(self) -> Duration {
        let minutes = match self {
            Self::Build => 22,
            Self::Tests => 12,
            Self::ThirdParty | Self::Crash => 10,
            Self::Fuzz => 2,
        };
        Duration::from_secs(minutes * 60)
    }
}

/// What a step is given.
pub(super) struct Context {
    pub(super) metadata: Metadata,
    pub(super) skip_report: PathBuf,
    /// When the last command is killed.
    pub(super) end: Instant,
}

impl Context {
    fn run(&self, command: &mut Command) -> Result<()> {
        process::run_within(command, self.end.saturating_duration_since(Instant::now()))
    }

    /// The integration tests whose names begin with one of `prefixes`, or with none of them.
    fn suites(&self, chosen: impl Fn(&str) -> bool) -> Vec<String> {
        let mut names = self.metadata.all_targets("test");
        names.retain(|name| chosen(name));
        names.sort();
        names.dedup();
        names
    }

    fn run_suites(&self, names: &[String], more: &[&str]) -> Result<()> {
        if names.is_empty() && more.is_empty() {
            println!("(no such suite yet)");
            return Ok(());
        }
        let mut command = cargo_test();
        command.args(more).env(test::SKIP_REPORT, &self.skip_report);
        for name in names {
            command.args(["--test", name]);
        }
        self.run(&mut command)
    }
}

/// One thing that passes or fails.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) share: Share,
    /// The step without which this one makes no sense.
    pub(super) after: Option<&'static str>,
    pub(super) run: fn(&Context) -> Result<()>,
}

const BUILD: &str = "build";
const FUZZ_BUILD: &str = "fuzz build";

/// Always the whole workspace and always the release profile: the features are united once and everything is built once.
/// The planted bugs alone are another build, of the crates that hold them.
pub(super) const STEPS: [Step; 16] = [
    Step { name: "format", share: Share::Build, after: None, run: format },
    Step { name: "tidy", share: Share::Build, after: None, run: |_| tidy::run() },
    Step { name: "layers", share: Share::Build, after: None, run: |_| layers::run() },
    Step { name: "licences, bans", share: Share::Build, after: None, run: |_| deny::run() },
    Step { name: "clippy", share: Share::Build, after: None, run: clippy },
    Step { name: "docs", share: Share::Build, after: None, run: docs },
    Step { name: BUILD, share: Share::Build, after: None, run: build },
    Step { name: FUZZ_BUILD, share: Share::Build, after: None, run: |_| fuzz::build().map(drop) },
    Step { name: "tests", share: Share::Tests, after: Some(BUILD), run: tests },
    Step { name: "doc tests", share: Share::Tests, after: Some(BUILD), run: doc_tests },
    Step { name: "demo", share: Share::Tests, after: Some(BUILD), run: demo },
    Step { name: "third-party exams", share: Share::ThirdParty, after: Some(BUILD), run: exams },
    Step { name: "simulation", share: Share::Crash, after: Some(BUILD), run: simulation },
    Step { name: "crashes", share: Share::Crash, after: Some(BUILD), run: crashes },
    Step { name: "teeth", share: Share::Crash, after: Some(BUILD), run: teeth },
    Step { name: "fuzz", share: Share::Fuzz, after: Some(FUZZ_BUILD), run: fuzz_smoke },
];

/// How long all fuzz targets together may run.
const FUZZ_SECONDS: u64 = 100;

fn cargo_test() -> Command {
    let mut command = workspace::cargo();
    command.args(["test", "--workspace", "--release", "--no-fail-fast"]);
    command
}

fn format(context: &Context) -> Result<()> {
    context.run(workspace::cargo().args(["fmt", "--all", "--check"]))?;
    context.run(workspace::cargo().args(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))
}

fn clippy(context: &Context) -> Result<()> {
    context.run(
        workspace::cargo()
            .args(["clippy", "--workspace", "--all-targets", "--release", "--locked", "--keep-going"])
            .args(["--", "-D", "warnings"]),
    )
}

fn docs(context: &Context) -> Result<()> {
    context.run(
        workspace::cargo()
            .args(["doc", "--workspace", "--no-deps", "--release", "--locked"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

fn build(context: &Context) -> Result<()> {
    context.run(workspace::cargo().args(["build", "--workspace", "--release", "--locked"]))?;
    context.run(cargo_test().args(["--no-run", "--locked"]))
}

fn is_exam(name: &str) -> bool {
    name.starts_with("exam_")
}

fn is_crash(name: &str) -> bool {
    name.starts_with("crash_")
}

fn is_simulation(name: &str) -> bool {
    name.starts_with("sim_")
}

fn tests(context: &Context) -> Result<()> {
    let suites = context.suites(|name| !is_exam(name) && !is_crash(name) && !is_simulation(name));
    context.run_suites(&suites, &["--lib", "--bins"])
}

fn doc_tests(context: &Context) -> Result<()> {
    context.run_suites(&[], &["--doc"])
}

/// What a newcomer runs first, without a terminal: it judges itself by its exit code.
fn demo(context: &Context) -> Result<()> {
    context.run(Command::new(context.metadata.target_directory.join("release/millrace")).arg("demo"))
}

fn exams(context: &Context) -> Result<()> {
    context.run_suites(&context.suites(is_exam), &[])
}

fn simulation(context: &Context) -> Result<()> {
    context.run_suites(&context.suites(is_simulation), &[])
}

fn crashes(context: &Context) -> Result<()> {
    context.run_suites(&context.suites(is_crash), &[])
}

/// The suites against planted bugs.
fn teeth(context: &Context) -> Result<()> {
    context.run(&mut test::teeth())
}

fn fuzz_smoke(_: &Context) -> Result<()> {
    let targets = u64::try_from(fuzz::targets()?.len())?.max(1);
    fuzz::run(None, (FUZZ_SECONDS / targets).max(1))
}
