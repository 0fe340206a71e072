//! What was wanted of Millrace beside Kafka, and whether it is so.

use crate::contest::{median, spread};
use crate::peers::results::{ContestResult, Report};

const OURS: &str = "Millrace";
const THEIRS: &str = "Apache Kafka";
/// Below so many busy cores it was neither broker nor client.
const BUSY_CORES: f64 = 1.2;

/// A ratio of Millrace to Kafka that is wanted.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

/// The contests whose id begins so, one of their figures, and what it should be.
const TARGETS: [(&str, &str, &str, Wanted); 8] = [
    ("produce-", "mb_s", "produce MB/s", Wanted::AtLeast(2.0)),
    ("produce-", "broker_cpu_s_gb", "produce, broker CPU s/GB", Wanted::AtMost(0.25)),
    ("read-", "mb_s", "read MB/s", Wanted::AtLeast(2.0)),
    ("read-", "broker_cpu_s_gb", "read, broker CPU s/GB", Wanted::AtMost(0.25)),
    ("group-read-", "mb_s", "read in a group MB/s", Wanted::AtLeast(2.0)),
    ("group-read-", "broker_cpu_s_gb", "read in a group, broker CPU s/GB", Wanted::AtMost(0.25)),
    ("latency-", "p99_ms", "p99", Wanted::AtMost(1.0 / 3.0)),
    ("start", "idle_mib", "idle memory (resident)", Wanted::AtMost(0.05)),
];
const FIRST_ACK_MS: f64 = 100.0;

/// A list of what was wanted, what is, and what limits it.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    for (prefix, key, name, wanted) in TARGETS {
        let contests = report.contests.iter().filter(|contest| contest.id.starts_with(prefix));
        lines.extend(contests.filter_map(|contest| line(contest, key, name, wanted)));
    }
    if let Some(ms) = report.contest("start").and_then(|contest| contest.side(OURS)?.median("acked_ms")) {
        let met = if ms <= FIRST_ACK_MS { "met" } else { "MISSED" };
        lines.push(format!("  {met:<7} start to first acknowledged record <= {FIRST_ACK_MS} ms: {ms:.0} ms"));
    }
    if lines.is_empty() {
        return String::new();
    }
    format!("\n## Millrace to Apache Kafka: what was wanted (ratios round by round)\n{}\n", lines.join("\n"))
}

fn line(contest: &ContestResult, key: &str, name: &str, wanted: Wanted) -> Option<String> {
    let (ours, theirs) = (contest.side(OURS)?, contest.side(THEIRS)?);
    let ratios = ours.ratios(theirs, key);
    if ratios.is_empty() {
        return None;
    }
    let ratio = median(&ratios);
    let (met, sign, bound) = match wanted {
        Wanted::AtLeast(bound) => (ratio >= bound, ">=", bound),
        Wanted::AtMost(bound) => (ratio <= bound, "<=", bound),
    };
    let bounded = if key == "mb_s" { format!("; {}", limit(contest)) } else { String::new() };
    let word = if met { "met" } else { "MISSED" };
    Some(format!("  {word:<7} {name} {sign} {bound:.2}x: {}x [{}]{bounded}", spread(&ratios, 2), contest.id))
}

/// Who was busy while Millrace was measured: more than the client can send, no broker can take.
fn limit(contest: &ContestResult) -> String {
    let cores = |label: &str| -> Option<(f64, f64)> {
        let side = contest.side(label)?;
        Some((side.median("broker_cores")?, side.median("client_cores")?))
    };
    let word = |label: &str| match cores(label) {
        Some((broker, client)) if broker + client < BUSY_CORES => "waiting for the disk or each other",
        Some((broker, client)) if client >= broker => "the client",
        Some(_) => "the broker",
        None => "unknown",
    };
    format!("busiest with Millrace: {}, with Kafka: {}", word(OURS), word(THEIRS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::picture;
    use crate::peers::results::{Column, Figures, SideResult};
    use crate::peers::table;

    fn side(label: &str, mb_s: f64, cpu: f64) -> SideResult {
        let round = Figures::from([
            ("mb_s", mb_s),
            ("broker_cpu_s_gb", cpu),
            ("broker_cores", 0.5),
            ("client_cores", 1.2),
        ]);
        SideResult { label: label.to_owned(), rounds: vec![round; 3], failed: None }
    }

    fn report(sides: Vec<SideResult>) -> Report {
        let columns = vec![Column { key: "mb_s", head: "MB/s" }];
        let id = "produce-buffered-1024b-16k".to_owned();
        let contest = ContestResult { id, title: "produce".to_owned(), columns, sides };
        Report { head: vec!["head".to_owned()], contests: vec![contest] }
    }

    #[test]
    fn what_is_met_and_what_is_missed_is_said_with_who_was_busy() {
        let told = text(&report(vec![side(OURS, 300.0, 0.5), side(THEIRS, 200.0, 4.0)]));
        let lines: Vec<&str> = told.lines().filter(|line| line.starts_with("  ")).collect();
        assert_eq!(lines.len(), 2, "{told}");
        assert!(lines[0].starts_with("  MISSED  produce MB/s >= 2.00x: 1.50 (1.50-1.50)x"), "{told}");
        assert!(lines[0].ends_with("busiest with Millrace: the client, with Kafka: the client"), "{told}");
        assert!(lines[1].starts_with("  met     produce, broker CPU s/GB <= 0.25x: 0.12"), "{told}");
    }

    #[test]
    fn a_broker_that_failed_is_named_and_takes_nobody_with_it() {
        let failed =
            SideResult { label: OURS.to_owned(), rounds: Vec::new(), failed: Some("refused".to_owned()) };
        let report = report(vec![failed, side(THEIRS, 200.0, 4.0)]);
        let told = table::report(&report);
        assert!(told.contains("Millrace failed: refused"), "{told}");
        assert!(told.contains("200 (200-200)"), "{told}");
        assert!(!told.contains("NaN") && !told.contains("MISSED"), "{told}");
        let drawn = picture::svg(&report);
        assert!(drawn.contains(">Apache Kafka<") && drawn.contains(">200<"), "{drawn}");
        assert!(!drawn.contains(">Millrace<"), "{drawn}");
    }
}
