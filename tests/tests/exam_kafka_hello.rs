//! The two programs that everybody writes first, in Java, as they stand: a producer that says hello and a consumer in a group.
#![allow(clippy::unwrap_used, reason = "an exam fails by panicking, in its own functions too")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use millrace_tests::judged::Judged;
use millrace_tests::kafka_clients::{Language, finish, jars, java_source};
use millrace_tests::kafka_tools::KafkaTools;
use millrace_tests::{require, say};

#[test]
fn the_first_two_programs_run_with_kafka_clients_of_today() {
    exam("exam_hello_today", jars);
}

#[test]
fn the_first_two_programs_run_with_kafka_clients_of_the_last_major_version() {
    exam("exam_hello_last_major", || {
        KafkaTools::fetch(Path::new(env!("CARGO_TARGET_TMPDIR"))).jars().to_owned()
    });
}

fn exam(suite: &str, jars: impl Fn() -> PathBuf) {
    if !require(suite, Language::Java.needs()) {
        return;
    }
    let jars = jars();
    for protocol in ["classic", "consumer"] {
        let began = Instant::now();
        let judged = Judged::start(&[]);
        // The topic is not there yet: whoever asks first makes it.
        let consuming = program(&jars, "HelloConsumer.java", &[judged.bootstrap(), protocol, "1"]);
        say_hello(&jars, &judged);
        assert_eq!(consuming.join().unwrap(), "offset = 0, key = key, value = Hello, Kafka!\n", "{protocol}");
        // The group goes on where it was, whichever comes first.
        say_hello(&jars, &judged);
        let consuming = program(&jars, "HelloConsumer.java", &[judged.bootstrap(), protocol, "1"]);
        assert_eq!(consuming.join().unwrap(), "offset = 1, key = key, value = Hello, Kafka!\n", "{protocol}");
        judged.stop();
        say(&format!("{suite}: both, as {protocol}, in {:.1} s", began.elapsed().as_secs_f64()));
    }
}

fn say_hello(jars: &Path, judged: &Judged) {
    let said = program(jars, "HelloProducer.java", &[judged.bootstrap()]).join().unwrap();
    assert_eq!(said, "");
}

/// Starts it: what it will have printed.
fn program(jars: &Path, source: &str, words: &[&str]) -> std::thread::JoinHandle<String> {
    let mut java: Command = java_source(jars, source);
    java.args(words);
    let name = source.to_owned();
    std::thread::spawn(move || finish(&mut java, String::new(), &name))
}
