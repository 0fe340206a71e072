//! Load, blow, restart, check; again. For kills and for power cuts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_env::real::RealFs;
use millrace_log::inspect::{Found, Inspection};
use millrace_types::SyncMode;
use tempfile::TempDir;

use crate::broker::{BrokerProcess, BrokerSetup};
use crate::disk::{Disk, quick_folder};
use crate::load::{Load, PARTITIONS, TOPIC, Underway};
use crate::read::Wire;
use crate::{Seed, on_two_workers, say, tool};

/// The image is sparse: it takes what is written.
const DISK_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// How many records are acknowledged in a cycle before the blow falls.
const RECORDS: (u64, u64) = (8_000, 16_000);
/// After that, this many microseconds pass.
const DELAY_MICROS: (u64, u64) = (0, 30_000);

/// What happens to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL.
    Kill,
    /// The power of its disk is cut.
    PowerCut,
}

/// Cycles in which something was under way when the blow fell, and what was checked.
#[derive(Debug, Default)]
struct Tally {
    append: u32,
    sync: u32,
    roll: u32,
    rolled: u32,
    create: u32,
    delete: u32,
    commit: u32,
    unanswered: u64,
    unsealed: usize,
    slowest_restart: Duration,
    /// What restarted brokers answered to producers besides acknowledgements.
    refusals: BTreeMap<String, u64>,
}

/// Where the broker's files lie.
#[derive(Debug)]
enum Home {
    Folder(TempDir),
    Disk(Disk),
}

impl Home {
    fn new(blow: Blow) -> Home {
        match blow {
            Blow::Kill => Home::Folder(TempDir::new().expect("a folder")),
            Blow::PowerCut => Home::Disk(Disk::new(&quick_folder(), DISK_BYTES, &[])),
        }
    }

    fn data_dir(&self) -> PathBuf {
        match self {
            Home::Folder(folder) => folder.path().join("data"),
            Home::Disk(disk) => disk.path().join("data"),
        }
    }

    /// The blow, and the machine as it is found afterwards. Answers a time from which on the broker has said nothing.
    fn strike(&mut self, broker: &mut BrokerProcess) -> Instant {
        match self {
            Home::Folder(_) => {
                broker.kill_hard();
                Instant::now()
            }
            Home::Disk(disk) => {
                // A machine without power acknowledges nothing, so the process stops first. It must not run on while the
                // file system shuts down: a sync that is under way then may answer success for what never reached the
                // medium (ext4 gives up converting the extents, and the transaction that it waits for has long been
                // committed). A plain program was told so in one cut of seven, and never when it was stopped before.
                broker.freeze();
                let silent_from = Instant::now();
                disk.cut();
                broker.kill_hard();
                disk.unmount();
                disk.mount();
                silent_from
            }
        }
    }
}

/// Runs the cycles, with a topic of that sync mode. Panics with everything that was wrong.
///
/// # Panics
/// When a promise is broken.
pub fn run(suite: &str, cycles: u32, blow: Blow, mode: &str) {
    let mode = mode.parse().expect("a sync mode");
    on_two_workers(Run::go(suite, cycles, blow, mode));
}

struct Run {
    home: Home,
    mode: SyncMode,
    setup: BrokerSetup,
    load: Load,
    seed: Seed,
    tally: Tally,
    /// Segments that were found without a seal at an earlier blow.
    known_unsealed: BTreeSet<PathBuf>,
}

impl Run {
    async fn go(suite: &str, cycles: u32, blow: Blow, mode: SyncMode) {
        let began = Instant::now();
        let mut seed = Seed::announced(suite);
        let home = Home::new(blow);
        let logs = TempDir::new().expect("a folder");
        let mut setup = BrokerSetup::new(&home.data_dir(), &logs.path().join("broker.log"));
        let mut broker = setup.start();
        // Clients know one address: every broker of this run listens there.
        broker.grpc().clone_into(&mut setup.grpc);
        let load = Load::start_in(mode, broker.grpc(), &mut seed).await;
        let (tally, known_unsealed) = (Tally::default(), BTreeSet::new());
        let mut run = Run { home, mode, setup, load, seed, tally, known_unsealed };
        for cycle in 1..=cycles {
            broker = run.cycle(broker).await;
            run.judge(&mut broker, &format!("{suite}, cycle {cycle}"));
        }
        let pause = run.load.pause().await;
        let mut wire = Wire::connect(broker.grpc()).await;
        run.load.check_records(&mut wire, &pause).await;
        run.load.check_again(&mut wire, &pause).await;
        run.judge(&mut broker, &format!("{suite}, the end"));
        assert_eq!(broker.stop().code(), Some(0), "a stop on demand is a success");
        let verified = tool::run(tool::bare().args(["log", "verify"]).arg(run.home.data_dir()), "");
        assert_eq!(verified.code, 0, "{suite}: {}{}", verified.out, verified.err);
        run.report(suite, cycles, began.elapsed());
    }

    /// Panics when a promise was broken.
    fn judge(&self, broker: &mut BrokerProcess, when: &str) {
        let mut violations = self.load.book().violations();
        // A broker that is killed answers nothing: retries find its successor. One without power may answer that its
        // disk failed, and then nobody knows.
        let (failed, failures) = self.load.book().failed();
        if failed > 0 && (matches!(self.home, Home::Folder(_)) || !violations.is_empty()) {
            violations.extend(failures);
        }
        if !violations.is_empty() {
            // Before its files go.
            broker.kill_hard();
            panic!("{when}:\n{}", violations.join("\n"));
        }
    }

    /// One cycle; answers the broker that lives after it.
    async fn cycle(&mut self, mut broker: BrokerProcess) -> BrokerProcess {
        let logs = |run: &Run| log_files(&run.home.data_dir(), run.load.folder_prefix());
        let logs_before = logs(self);
        let target = self.load.book().acked() + self.seed.between(RECORDS.0, RECORDS.1);
        self.load.book().wait_for_acked(target).await;
        let delay = self.seed.between(DELAY_MICROS.0, DELAY_MICROS.1);
        tokio::time::sleep(Duration::from_micros(delay)).await;

        self.tally.rolled += u32::from(logs(self) > logs_before);
        let underway = self.load.underway();
        let struck_at = self.home.strike(&mut broker);
        self.count(underway);
        if matches!(self.home, Home::Disk(_)) && self.mode != SyncMode::Always {
            self.note_cut(struck_at).await;
        }

        let broker = self.setup.start();
        self.tally.slowest_restart = self.tally.slowest_restart.max(broker.took());
        self.load.check_commits().await;
        let pause = self.load.pause().await;
        self.load.check_commits().await;
        for (code, count) in broker.produce_errors() {
            *self.tally.refusals.entry(code).or_default() += count;
        }
        self.load.check_topics(&pause).await;
        let mut wire = Wire::connect(broker.grpc()).await;
        self.load.check_records(&mut wire, &pause).await;
        broker
    }

    /// Where recovery finds the ends, asked of a broker that the load cannot reach: what it appends comes after.
    async fn note_cut(&mut self, at: Instant) {
        let elsewhere = BrokerSetup { grpc: "127.0.0.1:0".to_owned(), ..self.setup.clone() };
        let mut broker = elsewhere.start();
        self.tally.slowest_restart = self.tally.slowest_restart.max(broker.took());
        self.load.note_cut(&mut Wire::connect(broker.grpc()).await, at).await;
        assert_eq!(broker.stop().code(), Some(0), "a stop on demand is a success");
    }

    /// What was under way: from what the clients had not been answered, and from what the files look like.
    fn count(&mut self, underway: Underway) {
        let data_dir = self.home.data_dir();
        let found = look(&data_dir, &self.load);
        let tally = &mut self.tally;
        tally.append += u32::from(underway.records > 0);
        tally.unanswered += underway.records;
        tally.create += u32::from(underway.create);
        tally.delete += u32::from(underway.delete);
        tally.commit += u32::from(underway.commit);
        tally.sync += u32::from(found.unacknowledged);
        // Those of earlier cycles do not count again.
        let rolled_now = found.unsealed.difference(&self.known_unsealed).count();
        tally.roll += u32::from(rolled_now > 0);
        tally.unsealed += rolled_now;
        self.known_unsealed = found.unsealed;
    }

    fn report(&self, suite: &str, cycles: u32, took: Duration) {
        let tally = &self.tally;
        let losses = self.load.book().losses();
        say(&format!(
            "{suite}: {cycles} cycles in {:.1} s with sync.mode={}, {} records acknowledged and read back in order: {} \
             lost, 0 twice; {} were unanswered at a blow, {} ended with an indefinite error; retries were refused{}; \
             slowest restart {} ms",
            took.as_secs_f64(),
            self.mode,
            self.load.book().acked(),
            losses.records,
            tally.unanswered,
            self.load.book().failed().0,
            refused(&tally.refusals),
            tally.slowest_restart.as_millis(),
        ));
        if losses.times > 0 {
            say(&format!(
                "{suite}: of {} partitions a suffix was lost in a cut; of one at most {} bytes, acknowledged over {:.1} ms, \
                 the first of them {:.1} ms before the cut",
                losses.times,
                losses.bytes_max,
                losses.span_max.as_secs_f64() * 1e3,
                losses.age_max.as_secs_f64() * 1e3,
            ));
        }
        say(&format!(
            "{suite}: under way at the blow, in cycles of {cycles}: append {}, sync {} (records found that nobody had been \
             told of), roll {} ({} segments not sealed yet; {} cycles rolled), create {}, delete {}, commit {}",
            tally.append,
            tally.sync,
            tally.roll,
            tally.unsealed,
            tally.rolled,
            tally.create,
            tally.delete,
            tally.commit,
        ));
    }
}

/// How often, by the error that was answered.
fn refused(refusals: &BTreeMap<String, u64>) -> String {
    if refusals.is_empty() {
        return " never".to_owned();
    }
    refusals.iter().map(|(code, count)| format!(" {count} times as {code}")).collect::<Vec<_>>().join(",")
}

/// What lies in the directory of a dead broker.
#[derive(Debug, Default)]
struct FoundFiles {
    /// There are records behind the last acknowledged one: written, their sync or its answer outstanding.
    unacknowledged: bool,
    /// Segments that have a successor and no seal: their roll was not complete.
    unsealed: BTreeSet<PathBuf>,
}

fn look(data_dir: &Path, load: &Load) -> FoundFiles {
    let mut found = FoundFiles::default();
    let inspection = Inspection::open(Arc::new(RealFs), data_dir).expect("a data directory");
    for partition in inspection.partitions() {
        let mut segments = partition.segments.iter().rev();
        let Some(last) = segments.next() else { continue };
        let unsealed = segments.filter(|segment| !segment.log.with_extension("seal").exists());
        found.unsealed.extend(unsealed.map(|segment| segment.log.clone()));
        let is_ours = partition.meta.as_ref().is_some_and(|meta| meta.name.as_str() == TOPIC);
        let index = partition.id.map(|id| id.partition.get().cast_unsigned());
        let Some(index) = index.filter(|index| is_ours && *index < PARTITIONS) else { continue };
        let walk = inspection.walk(last).expect("a log file");
        let intact = walk.filter_map(|step| match step {
            Ok(Found::Batch(found)) => found.batch.ok(),
            _ => None,
        });
        let end = intact.last().map_or(0, |batch| batch.header().last_offset().map_or(0, |last| last + 1));
        found.unacknowledged |= end > load.book().acked_end(index);
    }
    found
}

/// The number of `.log` files in directories whose names begin so.
fn log_files(data_dir: &Path, prefix: &str) -> usize {
    let entries =
        |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_log = |path: &PathBuf| path.extension().is_some_and(|suffix| suffix == "log");
    let is_ours =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    entries(data_dir).filter(is_ours).map(|partition| entries(&partition).filter(is_log).count()).sum()
}
