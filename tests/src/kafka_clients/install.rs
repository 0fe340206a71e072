//! Installing the clients below the target directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use parking_lot::Mutex;

use crate::Need;

/// What a client is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Python; packages by pip.
    Python,
    /// Java; jars by Maven.
    Java,
    /// Go; modules by go itself.
    Go,
    /// JavaScript on Node; packages by npm.
    Node,
}

const PYTHON: [Need; 2] = [Need::Program("python3"), Need::Program("pip3")];
const JAVA: [Need; 2] = [Need::Program("javac"), Need::Program("mvn")];
const GO: [Need; 1] = [Need::Program("go")];
const NODE: [Need; 2] = [Need::Program("node"), Need::Program("npm")];

impl Language {
    /// What the machine must have.
    #[must_use]
    pub fn needs(self) -> &'static [Need] {
        match self {
            Self::Python => &PYTHON,
            Self::Java => &JAVA,
            Self::Go => &GO,
            Self::Node => &NODE,
        }
    }

    /// The command that runs a program, with what it imports installed.
    pub(super) fn command(self, program: &str) -> Command {
        let folder = self.installed();
        let mut command = match self {
            Self::Python => Command::new("python3"),
            Self::Node => Command::new("node"),
            Self::Go => return Command::new(folder.join(program)),
            Self::Java => {
                let mut java = Command::new("java");
                // Short runs: the second compiler never pays.
                java.args(["-XX:TieredStopAtLevel=1", "-cp"]);
                java.arg(format!("{0}/classes:{0}/*", folder.display())).arg(program);
                return java;
            }
        };
        command.arg(sources().join(program));
        command.env("PYTHONPATH", &folder).env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("NODE_PATH", folder.join("node_modules"));
        command
    }

    fn installed(self) -> PathBuf {
        let list = match self {
            Self::Python => "python/requirements.txt",
            Self::Java => "java/pom.xml",
            Self::Go => "go/go.mod",
            Self::Node => "node/package.json",
        };
        let list = sources().join(list);
        // A test runs as target/PROFILE/deps/NAME-HASH.
        let test = std::env::current_exe().expect("a path");
        let target = test.ancestors().nth(3).expect("a target directory");
        let folder = target.join("kafka-clients").join(format!("{self:?}").to_lowercase());
        // Suites of one binary run side by side.
        static INSTALLING: Mutex<()> = Mutex::new(());
        let _alone = INSTALLING.lock();
        let wanted = std::fs::read_to_string(&list).expect("a list of what is wanted");
        let mark = folder.join("installed");
        let is_new = std::fs::read_to_string(&mark).unwrap_or_default() != wanted;
        if is_new && folder.exists() {
            // An older version beside the one that is wanted might be the one that is found.
            std::fs::remove_dir_all(&folder).expect("a folder to be removed");
        }
        // Go knows itself what has changed, its own sources among it.
        if is_new || self == Self::Go {
            std::fs::create_dir_all(&folder).expect("a folder");
            self.install(&list, &folder);
            std::fs::write(&mark, wanted).expect("a mark");
        }
        if self == Self::Java {
            compile(&folder);
        }
        folder
    }

    fn install(self, list: &Path, folder: &Path) {
        let mut command = match self {
            Self::Python => {
                let mut pip = Command::new("pip3");
                pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade"]);
                pip.args(["--only-binary", ":all:", "--root-user-action", "ignore", "--requirement"]);
                pip.arg(list).arg("--target").arg(folder);
                pip
            }
            Self::Java => {
                let mut maven = Command::new("mvn");
                maven.args(["--quiet", "--batch-mode", "dependency:copy-dependencies", "--file"]).arg(list);
                maven.arg(format!("-DoutputDirectory={}", folder.display()));
                maven
            }
            Self::Go => {
                let mut go = Command::new("go");
                go.args(["build", "-mod=readonly", "-o"]).arg(folder).arg("./...");
                go.current_dir(list.parent().unwrap_or(folder));
                go
            }
            Self::Node => {
                std::fs::copy(list, folder.join("package.json")).expect("a list of packages");
                let mut npm = Command::new("npm");
                npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]).arg(folder);
                npm
            }
        };
        succeed(&mut command);
    }
}

/// Compiles our Java sources, if they are not those that were compiled last.
fn compile(folder: &Path) {
    let files = ["Exchange.java", "Member.java", "Asks.java", "Tools.java"];
    let files = files.map(|file| sources().join("java").join(file));
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).expect("a source")).collect();
    let mark = folder.join("compiled");
    if std::fs::read_to_string(&mark).unwrap_or_default() == text {
        return;
    }
    let mut compiler = Command::new("javac");
    compiler.arg("-cp").arg(folder.join("*")).arg("-d").arg(folder.join("classes")).args(files);
    succeed(&mut compiler);
    std::fs::write(&mark, text).expect("a mark");
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{text}\n{errors}", output.status);
}

/// A Java program as it stands, from its source, with the jars of a folder.
#[must_use]
pub fn java_source(jars: &Path, source: &str) -> Command {
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-cp"]).arg(jars.join("*"));
    java.arg(sources().join("java").join(source));
    java
}

/// The folder with Kafka's own jars of `tests/kafka-clients/java/pom.xml`.
#[must_use]
pub fn jars() -> PathBuf {
    Language::Java.installed()
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka-clients")
}
