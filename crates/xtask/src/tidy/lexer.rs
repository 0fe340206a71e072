//! Rust source with everything blanked that is not code.

/// Comments, strings and character literals become spaces; line breaks, and so line numbers, stay.
pub(super) fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_non_code(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none does.
fn end_of_non_code(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => find(chars, at, |rest| rest[0] == '\n'),
        '/' if next == Some('*') => end_of_block_comment(chars, at),
        '"' => end_of_string(chars, at),
        'r' if !follows_a_name(chars, at) => end_of_raw_string(chars, at).unwrap_or(at),
        'b' if !follows_a_name(chars, at) && next == Some('r') => {
            end_of_raw_string(chars, at + 1).unwrap_or(at)
        }
        '\'' => end_of_character(chars, at),
        _ => at,
    }
}

fn follows_a_name(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn find(chars: &[char], from: usize, stop: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|&at| stop(&chars[at..])).unwrap_or(chars.len())
}

fn end_of_block_comment(chars: &[char], from: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = from;
    while at < chars.len() {
        if chars[at..].starts_with(&['/', '*']) {
            depth += 1;
            at += 2;
        } else if chars[at..].starts_with(&['*', '/']) {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `from` is at the `r`.
fn end_of_raw_string(chars: &[char], from: usize) -> Option<usize> {
    let hashes = chars[from + 1..].iter().take_while(|&&c| c == '#').count();
    if chars.get(from + 1 + hashes) != Some(&'"') {
        return None;
    }
    let mut close = vec!['"'];
    close.extend(std::iter::repeat_n('#', hashes));
    let start = from + 2 + hashes;
    let end = find(chars, start, |rest| rest.starts_with(&close));
    Some((end + close.len()).min(chars.len()))
}

/// A character literal ends with a quote; a lifetime has none.
fn end_of_character(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        let close = find(chars, at + 3, |rest| rest[0] == '\'');
        return (close + 1).min(chars.len());
    }
    if chars.get(at + 2) == Some(&'\'') { at + 3 } else { at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let text = "let a = \"// no\"; // yes\nlet b = '\"'; /* x /* y */ z */ c\n";
        assert_eq!(
            blank(text).split_whitespace().collect::<Vec<_>>(),
            ["let", "a", "=", ";", "let", "b", "=", ";", "c"]
        );
        assert_eq!(blank(text).lines().count(), 2);
    }

    #[test]
    fn raw_strings_escapes_and_lifetimes() {
        assert_eq!(blank("f(r#\"a\"b\"#, x)").replace(' ', ""), "f(,x)");
        assert_eq!(blank("f(br\"a\\\", x)").replace(' ', ""), "f(,x)");
        assert_eq!(blank("f(\"a\\\"b\", '\\'', x)").replace(' ', ""), "f(,,x)");
        assert_eq!(blank("fn f<'a>(x: &'a str)"), "fn f<'a>(x: &'a str)");
        assert_eq!(blank("for r in reader"), "for r in reader");
    }

    #[test]
    fn an_open_literal_ends_with_the_text() {
        for text in ["\"abc", "/* abc", "r#\"abc", "'\\", "\"abc\\"] {
            assert_eq!(blank(text).chars().count(), text.chars().count(), "{text}");
        }
    }
}
