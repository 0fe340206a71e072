//! One fault in one file, in a directory that was stopped in order, in one whose broker was killed, and under a running
//! broker: every answer is what it was, or something says what is wrong. Never a silent change.

use millrace_tests::single_faults::{Answers, Difference, Fault, FaultKind, Stop, Table, Verdict, World};
use millrace_tests::{Seed, say};

/// Where the fault falls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Setting {
    Stopped(Stop),
    Running(Stop),
}

const SETTINGS: [Setting; 4] = [
    Setting::Stopped(Stop::Clean),
    Setting::Stopped(Stop::Kill),
    Setting::Running(Stop::Clean),
    Setting::Running(Stop::Kill),
];

async fn run(suite: &str, faults: usize) {
    let mut seed = Seed::announced(suite);
    let clean = World::new(seed.draw(), Stop::Clean).await;
    let killed = World::new(seed.draw(), Stop::Kill).await;
    let right_clean = Answers::of(clean.copy(1).env(), &clean).await;
    let right_killed = Answers::of(killed.copy(1).env(), &killed).await;
    for (right, world) in [(&right_clean, &clean), (&right_killed, &killed)] {
        assert!(!right.tells_of_damage(), "without a fault: {right:?}");
        assert!(right.differences(right, world).is_empty());
    }
    let mut table = Table::default();
    let mut silent = Vec::new();
    let mut done = 0;
    let mut turn = 0;
    while done < faults {
        let setting = SETTINGS[usize::try_from(seed.draw() % SETTINGS.len() as u64).unwrap_or(0)];
        let (Setting::Stopped(stop) | Setting::Running(stop)) = setting;
        let (world, right) = match stop {
            Stop::Clean => (&clean, &right_clean),
            Stop::Kill => (&killed, &right_killed),
        };
        let classes = world.classes();
        let kind = FaultKind::ALL[turn / classes.len() % FaultKind::ALL.len()];
        let Some((class, paths)) = classes.iter().nth(turn % classes.len()) else { break };
        turn += 1;
        let path = paths[usize::try_from(seed.draw() % paths.len() as u64).unwrap_or(0)].clone();
        let fault = Fault { older: world.older(&path), path, kind };
        let mut choices = seed.fork();
        let sim = world.copy(seed.draw());
        let mut what = None;
        let answers = match setting {
            Setting::Stopped(_) => {
                what = fault.apply(&*sim.env().fs, &mut choices);
                if what.is_none() {
                    continue;
                }
                Answers::of(sim.kill(), world).await
            }
            Setting::Running(_) => {
                let env = sim.env();
                let fs = env.fs.clone();
                Answers::under(env, world, || what = fault.apply(&*fs, &mut choices)).await
            }
        };
        let Some(what) = what else { continue };
        done += 1;
        let differences = answers.differences(right, world);
        let silently = differences.iter().find_map(|difference| match difference {
            Difference::Silent(text) => Some(text),
            Difference::Told(_) => None,
        });
        let verdict = match silently {
            Some(text) => {
                silent.push(format!("{setting:?} {what}: {text}"));
                Verdict::Silent
            }
            None if differences.is_empty() && !answers.tells_of_damage() => Verdict::Harmless,
            None => Verdict::Detected,
        };
        table.count(class, kind, verdict);
    }
    say(&table.text());
    say(&format!(
        "{suite}: {done} faults, {} detected, {} harmless, {} silent",
        table.total(Verdict::Detected),
        table.total(Verdict::Harmless),
        table.total(Verdict::Silent)
    ));
    assert!(silent.is_empty(), "{} silent:\n{}", silent.len(), silent.join("\n"));
}

#[tokio::test]
async fn no_fault_in_one_file_changes_an_answer_silently() {
    run("crash_single_faults", 300).await;
}

#[tokio::test]
#[ignore = "soak: 2,000 faults"]
async fn no_fault_of_two_thousand_changes_an_answer_silently() {
    run("crash_single_faults_soak", 2000).await;
}
