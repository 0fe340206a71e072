//! Names that say nothing, and names that end in a digit.

use super::{Finding, Source};

/// A file with such a name collects whatever has no home.
const SAY_NOTHING: [&str; 9] =
    ["utils", "util", "helpers", "helper", "impls", "manager", "common", "misc", "stuff"];

/// The field's own names.
const ENDS_IN_A_DIGIT: [&str; 30] = [
    "lz4", "murmur2", "crc32", "sha1", "sha256", "sha512", "base64", "utf8", "utf16", "ext4", "s3", "h2",
    "http2", "ipv4", "ipv6", "v4", "v6", "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f64", "int8",
    "int16", "int32", "int64",
];

/// The words before the name of an item.
const ITEMS: [&str; 8] = ["fn", "struct", "enum", "trait", "mod", "type", "const", "static"];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for part in source.file.components() {
        let part = part.as_os_str().to_string_lossy();
        let stem = part.strip_suffix(".rs").unwrap_or(&part);
        if SAY_NOTHING.contains(&stem) {
            findings.push(Finding::new(
                &source.file,
                0,
                format!("`{stem}` says nothing: name it after what it holds"),
            ));
        }
        if ends_in_a_bare_digit(stem) {
            findings.push(Finding::new(
                &source.file,
                0,
                format!("`{stem}` ends in a digit: say what sets it apart"),
            ));
        }
    }
    for (index, line) in source.code.lines().enumerate() {
        for name in declared(line) {
            if ends_in_a_bare_digit(name) {
                let what = format!("`{name}` ends in a digit: say what sets it apart");
                findings.push(Finding::new(&source.file, index + 1, what));
            }
        }
    }
    findings
}

fn declared(line: &str) -> Vec<&str> {
    let words: Vec<&str> =
        line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).collect();
    let pairs = words.windows(2).filter(|pair| ITEMS.contains(&pair[0]) && !ITEMS.contains(&pair[1]));
    pairs.map(|pair| pair[1]).collect()
}

/// `read2` does; `read_at_64` ends in a number of its own, `decode_v2` and `ProducedP99` in a name of the field.
fn ends_in_a_bare_digit(name: &str) -> bool {
    let word = last_word(name);
    let Some(first) = word.chars().next() else { return false };
    if !name.ends_with(|c: char| c.is_ascii_digit()) || first.is_ascii_digit() {
        return false;
    }
    let numbered =
        |prefix: char| word.strip_prefix(prefix).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    !(ENDS_IN_A_DIGIT.contains(&word.as_str()) || numbered('v') || numbered('p'))
}

/// The last word of a snake_case, SHOUTING or CamelCase name, in small letters.
fn last_word(name: &str) -> String {
    let piece = name.rsplit(['_', '-', '.']).next().unwrap_or(name);
    let shouting = piece.chars().all(|c| !c.is_lowercase());
    let start = if shouting { 0 } else { piece.rfind(|c: char| c.is_uppercase()).unwrap_or(0) };
    piece[start..].to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, text: &str) -> usize {
        check(&Source::new(file, text)).len()
    }

    #[test]
    fn empty_words_are_named_as_files_and_as_folders() {
        assert_eq!(found("crates/log/src/utils.rs", ""), 1);
        assert_eq!(found("crates/log/src/common/file.rs", ""), 1);
        assert_eq!(found("crates/log/src/segment.rs", ""), 0);
    }

    #[test]
    fn bare_digits_are_named() {
        assert_eq!(found("crates/log/src/segment2.rs", ""), 1);
        assert_eq!(found("a.rs", "fn read2() {}\nstruct Reader3;\nconst LIMIT2: u8 = 1;\n"), 3);
    }

    #[test]
    fn the_names_of_the_field_pass() {
        assert_eq!(
            found("crates/record/src/lz4.rs", "fn murmur2() {}\nfn read_u32() {}\nstruct BatchV2;\n"),
            0
        );
        assert_eq!(found("a.rs", "const CRC32: u8 = 1;\nfn latency_p99() {}\nfn cut_at_64() {}\n"), 0);
        assert_eq!(found("a.rs", "const fn f() {}\nlet x = \"fn g2\"; // struct H2x9\n"), 0);
    }
}
