//! What of a command's output is worth repeating when it has failed.

/// What a line has that tells of a failure, or of a test that hangs.
const TELLING: [&str; 6] =
    ["panicked at", "FAILED", "has been running for over", "error: ", "error[", "Segmentation fault"];
/// Lines that are kept with a telling one, because they say more.
const FOLLOWING: usize = 6;
/// Of a command. The first are kept: what comes after is often their consequence.
const LINES_MAX: usize = 80;
/// Longer lines are cut.
const LINE_BYTES_MAX: usize = 500;

/// The telling lines so far.
#[derive(Debug, Default)]
pub(super) struct Said {
    kept: Vec<String>,
    left_out: usize,
    following: usize,
    line: Vec<u8>,
}

impl Said {
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len()).min(part.len());
            self.line.extend_from_slice(part.get(..room).unwrap_or_default());
            if part.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if TELLING.iter().any(|telling| line.contains(telling)) {
            self.following = FOLLOWING + 1;
        }
        if self.following == 0 || line.is_empty() {
            return;
        }
        self.following -= 1;
        if self.kept.len() < LINES_MAX {
            self.kept.push(line.to_owned());
        } else {
            self.left_out += 1;
        }
    }

    /// The lines, indented.
    pub(super) fn text(&self) -> String {
        let mut text: String = self.kept.iter().map(|line| format!("    | {line}\n")).collect();
        if self.left_out > 0 {
            text.push_str(&format!("    | and {} lines more\n", self.left_out));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_panic_is_kept_and_what_went_well_is_not() {
        let mut said = Said::default();
        said.hear(b"test a ... ok\nthread 'b' panicked at x.rs:1:\nleft: 1\n\nright");
        said.hear(b": 2\n");
        assert_eq!(said.text(), "    | thread 'b' panicked at x.rs:1:\n    | left: 1\n    | right: 2\n");
    }

    #[test]
    fn a_flood_is_counted_not_kept() {
        let mut said = Said::default();
        for _ in 0..1000 {
            said.hear(format!("error: {}\n", "x".repeat(10_000)).as_bytes());
        }
        assert!(said.text().len() < LINES_MAX * (LINE_BYTES_MAX + 10));
        assert!(said.text().contains("and 920 lines more"));
    }
}
