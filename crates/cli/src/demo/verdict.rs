//! What the demo has shown, and what it has not.

use std::io::{self, Write};
use std::time::Duration;

use super::desk::Report;
use super::ledger::Tally;
use super::replay::Replay;
use super::stream::Streamed;

/// Everything that is judged.
#[derive(Debug)]
pub(super) struct Verdict {
    /// What happened while streaming.
    pub(super) streamed: Streamed,
    /// What the live reader counted.
    pub(super) live: Vec<Tally>,
    /// What the CSV demands of everything.
    pub(super) expected: Vec<Tally>,
    /// The replays.
    pub(super) replays: Vec<Replay>,
    /// What the workers of the second act did.
    pub(super) shared: Report,
    /// The whole demo.
    pub(super) took: Duration,
}

/// One line of the verdict.
#[derive(Debug)]
struct Line {
    what: String,
    expected: u64,
    found: u64,
    is_same: bool,
}

impl Line {
    fn new(what: &str, expected: &[Tally], found: &[Tally]) -> Line {
        let records = |tallies: &[Tally]| tallies.iter().map(Tally::records).sum();
        Line {
            what: what.to_owned(),
            expected: records(expected),
            found: records(found),
            is_same: expected == found,
        }
    }
}

impl Verdict {
    /// Whether nothing was lost, stored twice, altered or out of order, the kill met calls in flight, and whatever a group read
    /// twice is explained.
    pub(super) fn is_good(&self) -> bool {
        self.is_log_good() && self.shared.is_good()
    }

    fn is_log_good(&self) -> bool {
        let streamed = &self.streamed;
        self.lines().iter().all(|line| line.is_same)
            && streamed.acknowledged == streamed.sent
            && streamed.misplaced == 0
            && streamed.kill.is_some_and(|kill| kill.unacknowledged > 0)
    }

    fn lines(&self) -> Vec<Line> {
        let live = Line::new("live, through the kill", &self.expected, &self.live);
        let replays = self.replays.iter();
        let replays = replays.map(|replay| Line::new(&replay.what, &replay.expected, &replay.found));
        std::iter::once(live).chain(replays).collect()
    }

    /// Prints it on standard output.
    ///
    /// # Errors
    /// Standard output's.
    pub(super) fn print(&self) -> io::Result<()> {
        writeln!(io::stdout(), "{}", self.text())
    }

    fn text(&self) -> String {
        let streamed = &self.streamed;
        let mut text = format!(
            "\n{} records sent, {} acknowledged, {} of them at an offset other than expected\n",
            streamed.sent, streamed.acknowledged, streamed.misplaced
        );
        if let Some(kill) = &streamed.kill {
            let percent = kill.sent * 100 / streamed.sent.max(1);
            text += &format!(
                "killed with -9 after {} records ({percent} %), {} of them unacknowledged\n\
                 up again in {} ms, first acknowledgement {} ms after the kill\n",
                kill.sent,
                kill.unacknowledged,
                kill.restarted_in.as_millis(),
                streamed.resumed_in.map_or(0, |resumed| resumed.as_millis()),
            );
        }
        text += "\n  read                               in the CSV   in the log   content and order\n";
        for line in self.lines() {
            let same = if line.is_same { "same checksum" } else { "DIFFERENT" };
            text += &format!("  {:34} {:>10}   {:>10}   {same}\n", line.what, line.expected, line.found);
        }
        text += &shared_text(&self.shared);
        let verdict = match (self.is_log_good(), self.shared.is_good()) {
            (true, true) => {
                "Nothing acknowledged was lost, nothing was stored twice, every partition is in order; the group read all of it."
            }
            (false, _) => "FAILED: the log does not hold what was sent.",
            (true, false) => "FAILED: the group did not read what it should.",
        };
        let seconds = self.took.as_secs_f32();
        text += &format!("\n{verdict} ({seconds:.1} s)\n\n{WHAT_IT_SHOWS}");
        text
    }
}

/// What the second act has shown.
fn shared_text(shared: &Report) -> String {
    let lost = shared.expected.saturating_sub(shared.found);
    let mut text = format!(
        "\nthree workers of one group, one killed with -9: its partitions were read on by the others after {:.1} s;\n\
         meanwhile these read on, the longest pause of one was {} ms\n\
         {} records in the CSV: {} lost, {} altered or out of order, the group is {} behind\n\
         {} records read twice: the killed worker had read them and not committed them yet ({} of that kind)\n",
        shared.taken_over_in.as_secs_f32(),
        shared.longest_pause.as_millis(),
        shared.expected,
        if lost == 0 { "none".to_owned() } else { lost.to_string() },
        if shared.wrong == 0 { "none".to_owned() } else { shared.wrong.to_string() },
        shared.lag,
        shared.again_after_kill,
        shared.uncommitted,
    );
    if shared.again_otherwise > 0 {
        text += &format!("{} records READ TWICE FOR NO KNOWN REASON\n", shared.again_otherwise);
    }
    text
}

const WHAT_IT_SHOWS: &str = "\
What a kill shows: nothing acknowledged lives in the process alone, and retries store nothing twice.
What it does not show: that the bytes had reached the disk, because the page cache outlives a process. That is shown
by cutting the power of a real file system under load: `cargo xtask test`, as root, runs that suite too.
What a group shows: every record is read at least once. Which are read twice after a kill is for the committed offset to
say; a worker that stores its results together with their offsets reads each exactly once.";

#[cfg(test)]
mod tests {
    use millrace_types::TimestampMs;

    use super::*;

    fn tally(values: &[&str]) -> Vec<Tally> {
        let mut tally = Tally::default();
        for value in values {
            tally.add(Some(b"k"), Some(value.as_bytes()), TimestampMs(1));
        }
        vec![tally]
    }

    fn verdict(found: &[&str]) -> Verdict {
        let replay = |found: &[&str]| Replay {
            what: "everything".to_owned(),
            expected: tally(&["a", "b"]),
            found: tally(found),
        };
        Verdict {
            streamed: Streamed { sent: 2, acknowledged: 2, ..Streamed::default() },
            live: tally(&["a", "b"]),
            expected: tally(&["a", "b"]),
            replays: vec![replay(found)],
            shared: Report::default(),
            took: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_lost_a_doubled_and_a_swapped_record_are_each_told() {
        assert!(verdict(&["a", "b"]).text().contains("same checksum"));
        for wrong in [&["a"][..], &["a", "b", "b"], &["b", "a"]] {
            let text = verdict(wrong).text();
            assert!(text.contains("DIFFERENT") && text.contains("FAILED"), "{text}");
        }
    }

    #[test]
    fn a_group_that_lost_a_record_or_read_one_twice_for_no_reason_fails() {
        let good = Report { expected: 9, found: 9, again_after_kill: 2, uncommitted: 3, ..Report::default() };
        assert!(good.is_good());
        assert!(shared_text(&good).contains("none lost") && !shared_text(&good).contains("NO KNOWN REASON"));
        let lost = Report { found: 8, ..good.clone() };
        assert!(!lost.is_good() && shared_text(&lost).contains("1 lost"));
        let twice = Report { again_otherwise: 1, ..good.clone() };
        assert!(!twice.is_good() && shared_text(&twice).contains("NO KNOWN REASON"));
        assert!(!Report { lag: 1, ..good }.is_good());
    }

    #[test]
    fn a_demo_whose_kill_met_nothing_in_flight_has_shown_nothing() {
        assert!(!verdict(&["a", "b"]).is_good());
    }
}
