//! Apache Kafka as Maven gives it, and our Java client compiled against it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The version in `benches/peers/pom.xml`.
pub const VERSION: &str = "4.2.0";
/// Written when every jar is there.
const COMPLETE: &str = "complete";

/// A folder with jars and one with our classes.
#[derive(Clone, Debug)]
pub struct KafkaJars {
    jars: PathBuf,
    classes: PathBuf,
    sources: PathBuf,
}

impl KafkaJars {
    /// Fetches the jars, once per target directory, and compiles the client.
    ///
    /// # Errors
    /// Maven or the compiler fails.
    pub fn fetch(target: &Path, scratch: &Path) -> Result<KafkaJars> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let (jars, classes) = (target.join(format!("kafka-{VERSION}")), scratch.join("classes"));
        if !jars.join(COMPLETE).exists() {
            let mut maven = Command::new("mvn");
            maven.args(["--quiet", "--batch-mode", "--file"]).arg(sources.join("pom.xml"));
            maven.arg("dependency:copy-dependencies");
            maven.arg(format!("-DoutputDirectory={}", jars.display()));
            finish(&mut maven)?;
            std::fs::write(jars.join(COMPLETE), "")?;
        }
        let ours = KafkaJars { jars, classes, sources };
        let mut compiler = Command::new("javac");
        compiler.args(["-cp", &ours.class_path(), "-d"]).arg(&ours.classes);
        compiler.args(["Driver.java", "Members.java"].map(|source| ours.sources.join(source)));
        finish(&mut compiler)?;
        Ok(ours)
    }

    /// A Java machine with a heap of so many MiB, which ends with us.
    #[must_use]
    pub fn java(&self, heap_mib: u32, options: &[&str]) -> Command {
        let mut command = tied("java");
        command.arg(format!("-Xms{heap_mib}m")).arg(format!("-Xmx{heap_mib}m")).args(options);
        let logging = self.sources.join("log4j2.properties");
        command.arg(format!("-Dlog4j2.configurationFile=file:{}", logging.display()));
        command.arg("-cp").arg(self.class_path());
        command
    }

    fn class_path(&self) -> String {
        format!("{}:{}/*", self.classes.display(), self.jars.display())
    }
}

/// A command that the kernel kills when this process is gone, where the machine has the tool for it.
#[must_use]
pub fn tied(program: &str) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.is_file() {
        return Command::new(program);
    }
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", program]);
    command
}

/// Runs a command to its end.
///
/// # Errors
/// It does not start or does not succeed.
pub fn finish(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{name} is not there"))?;
    let told = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{name}: {}\n{}", output.status, String::from_utf8_lossy(&told));
    Ok(())
}
