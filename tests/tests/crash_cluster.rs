//! Brokers in network namespaces, each on an ext4 of its own, with clients of three kinds that write down what they saw, while
//! processes die, power goes, disks fill up and packets are dropped. The histories are judged by the analyses C1 to C17.

#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use std::process::Command;

use millrace_tests::cluster::{self, CLIENTS, Lab, Menu, NEEDS, Trial};
use millrace_tests::crew::KAFKA_PYTHON_HISTORY;
use millrace_tests::require;

fn trial(trial: Trial) {
    let needs = [&NEEDS[..], KAFKA_PYTHON_HISTORY.language.needs()].concat();
    if require(trial.suite, &needs) {
        cluster::run(trial);
    }
}

#[test]
fn one_broker_that_meets_everything_leaves_no_anomaly_in_what_clients_saw() {
    trial(Trial { suite: "crash_cluster_of_one", brokers: 1, faults: 5, menu: Menu::OfOne });
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn one_broker_that_meets_everything_for_long_leaves_no_anomaly_in_what_clients_saw() {
    trial(Trial { suite: "crash_cluster_of_one_soak", brokers: 1, faults: 100, menu: Menu::OfOne });
}

#[test]
fn five_cluster_kill_cycles_leave_no_anomaly_in_what_clients_saw() {
    trial(Trial { suite: "cluster_kill_cycles", brokers: 3, faults: 5, menu: Menu::Kills });
}

#[test]
fn five_cluster_power_cuts_leave_no_anomaly_in_what_clients_saw() {
    trial(Trial { suite: "cluster_power_cuts", brokers: 3, faults: 5, menu: Menu::PowerCuts });
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn two_hundred_cluster_kill_cycles_leave_no_anomaly_in_what_clients_saw() {
    trial(Trial { suite: "cluster_kill_cycles_soak", brokers: 3, faults: 200, menu: Menu::Kills });
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn one_hundred_cluster_power_cuts_leave_no_anomaly_in_what_clients_saw() {
    trial(Trial { suite: "cluster_power_cuts_soak", brokers: 3, faults: 100, menu: Menu::PowerCuts });
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn one_hundred_faults_of_every_kind_in_a_cluster_leave_no_anomaly_in_what_clients_saw() {
    trial(Trial { suite: "cluster_faults_soak", brokers: 3, faults: 100, menu: Menu::Everything });
}

/// Whether a connection from a namespace reaches that address. It need not be accepted: a refusal is an answer.
fn reaches(lab: &Lab, from: u8, address: &str) -> bool {
    let within = lab.within(from);
    let ask = format!("exec 3<>/dev/tcp/{address}/9");
    let mut command = Command::new(&within[0]);
    let command = command.args(&within[1..]).args(["timeout", "1", "bash", "-c", &ask]);
    // Killed by `timeout`: 124. Refused by who has no such port: 1.
    command.output().expect("bash").status.code() == Some(1)
}

#[test]
fn what_is_cut_is_cut_and_nothing_else_and_heals() {
    if !require("crash_cluster_lab", &[&NEEDS[..], &[millrace_tests::Need::Program("bash")]].concat()) {
        return;
    }
    let lab = Lab::new(3);
    let (first, second, clients) = (lab.address(1), lab.address(2), lab.address(CLIENTS));
    assert!(reaches(&lab, 1, &second) && reaches(&lab, 3, &first) && reaches(&lab, 2, &clients));
    lab.cut(2, 1);
    assert!(!reaches(&lab, 2, &first), "what b2 says is not heard at b1");
    assert!(!reaches(&lab, 1, &second), "nor are its answers");
    assert!(reaches(&lab, 3, &first) && reaches(&lab, 3, &second) && reaches(&lab, 1, &clients));
    lab.heal();
    lab.isolate(3);
    assert!(!reaches(&lab, 3, &first) && !reaches(&lab, 2, &lab.address(3)));
    assert!(reaches(&lab, 3, &clients) && reaches(&lab, 2, &first));
    lab.heal();
    assert!(reaches(&lab, 3, &first));
}
