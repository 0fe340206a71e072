//! The report as a picture: bars, grouped; every group has a scale of its own, every bar its figure.

use crate::peers::results::Report;

const WIDTH: usize = 860;
const LABEL: f64 = 130.0;
const COLUMN: f64 = 430.0;
const BAR: f64 = 14.0;
const LINE: f64 = 18.0;
const HEAD: f64 = 26.0;
const ROOM: f64 = 190.0;

/// A group of bars: the contest, the figure, the title.
struct Group {
    contest: &'static str,
    key: &'static str,
    title: &'static str,
}

const fn group(contest: &'static str, key: &'static str, title: &'static str) -> Group {
    Group { contest, key, title }
}

/// Read line by line, two in a line.
const GROUPS: [Group; 14] = [
    group("produce-buffered-1024b-16k", "mb_s", "produce, buffered, 1 KiB records: MB/s"),
    group("produce-buffered-1024b-16k", "broker_cpu_s_gb", "the same: broker CPU seconds per GB"),
    group("produce-buffered-100b-16k", "mb_s", "produce, buffered, 100 B records: MB/s"),
    group("produce-buffered-100b-16k", "broker_cpu_s_gb", "the same: broker CPU seconds per GB"),
    group("produce-flushed-1024b-16k", "mb_s", "produce, every batch synced, 1 KiB: MB/s"),
    group("produce-flushed-1024b-16k", "broker_cpu_s_gb", "the same: broker CPU seconds per GB"),
    group("read-buffered-1024b-16k", "mb_s", "read, 1 KiB records: MB/s"),
    group("read-buffered-1024b-16k", "broker_cpu_s_gb", "the same: broker CPU seconds per GB"),
    group("group-read-consumer", "broker_cpu_s_gb", "read in a group (KIP-848): broker CPU seconds per GB"),
    group("group-commit-flushed", "p50_ms", "a commit, synced, one after the other: p50 ms"),
    group("latency-buffered-1024b-16k", "p99_ms", "p99 at 20,000 x 1 KiB per s, buffered: ms"),
    group("latency-flushed-1024b-16k", "p99_ms", "p99, the same, every batch synced: ms"),
    group("start", "idle_mib", "idle memory: MiB resident"),
    group("start", "acked_ms", "start to first acknowledged record: ms"),
];

/// The picture, where anything of it was measured.
#[must_use]
pub fn svg(report: &Report) -> String {
    let mut body = String::new();
    let mut top = 34.0;
    for pair in GROUPS.chunks(2) {
        let mut height: f64 = 0.0;
        for (left, group) in [10.0, 10.0 + COLUMN].into_iter().zip(pair) {
            let (drawn, tall) = draw(report, group, left, top);
            body.push_str(&drawn);
            height = height.max(tall);
        }
        top += height;
    }
    let height = top + 10.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" role=\"img\" aria-label=\"Millrace beside Apache Kafka and Redis streams\">\n\
         <style>\n\
         text {{ font: 12px sans-serif; fill: #24292f; }}\n\
         .head {{ font-weight: bold; }}\n\
         .ours {{ fill: #0969da; }} .kafka {{ fill: #8c959f; }} .redis {{ fill: #c9a227; }}\n\
         .page {{ fill: #ffffff; }}\n\
         @media (prefers-color-scheme: dark) {{\n\
         text {{ fill: #e6edf3; }} .page {{ fill: #0d1117; }} .ours {{ fill: #4493f8; }} .kafka {{ fill: #7d8590; }}\n\
         }}\n\
         </style>\n\
         <rect class=\"page\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"head\" x=\"10\" y=\"20\">Medians, one machine, in turn; one client for Millrace and Kafka. Longer is better for MB/s, \
         shorter for everything else.</text>\n{body}</svg>\n"
    )
}

/// The group's marks, and how tall it is: nothing and nothing if it was not measured.
fn draw(report: &Report, group: &Group, left: f64, top: f64) -> (String, f64) {
    let Some(contest) = report.contest(group.contest) else { return (String::new(), 0.0) };
    let bars: Vec<(&str, f64)> = contest
        .sides
        .iter()
        .filter_map(|side| Some((side.label.as_str(), side.median(group.key)?)))
        .collect();
    let longest = bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let mut text =
        format!("<text class=\"head\" x=\"{left:.0}\" y=\"{:.0}\">{}</text>\n", top + 16.0, group.title);
    let mut y = top + HEAD;
    for (label, value) in &bars {
        let length = if longest > 0.0 { (value / longest * ROOM).max(1.0) } else { 1.0 };
        let class = match label.split(' ').next() {
            Some("Millrace") => "ours",
            Some("Redis") => "redis",
            _ => "kafka",
        };
        let (middle, bar) = (y + 11.0, left + LABEL);
        text.push_str(&format!(
            "<text x=\"{left:.0}\" y=\"{middle:.0}\">{label}</text>\n\
             <rect class=\"{class}\" x=\"{bar:.0}\" y=\"{y:.0}\" width=\"{length:.1}\" height=\"{BAR}\"/>\n\
             <text x=\"{:.0}\" y=\"{middle:.0}\">{}</text>\n",
            bar + length + 6.0,
            figure(*value)
        ));
        y += LINE;
    }
    (text, y - top + 8.0)
}

fn figure(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
