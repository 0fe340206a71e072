//! Types, values, conditions and names as Rust text.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::{Result, bail};

use crate::codegen::schema::{Field, Type, Versions};

/// Documentation is broken at this width.
const DOC_COLUMNS: usize = 112;

pub(super) fn fallible(holds: &Type) -> bool {
    matches!(holds, Type::String | Type::Bytes | Type::Array(_))
}

pub(super) enum Condition {
    Always,
    Never,
    When(String),
}

/// When `versions` hold, for a version that lies in `scope`.
pub(super) fn condition(versions: Versions, scope: Versions) -> Condition {
    let both = versions.and(scope);
    if both.is_empty() {
        return Condition::Never;
    }
    match (both.first > scope.first, both.last < scope.last) {
        (false, false) => Condition::Always,
        (true, false) => Condition::When(format!("version >= {}", both.first)),
        (false, true) => Condition::When(format!("version <= {}", both.last)),
        (true, true) if both.first == both.last => Condition::When(format!("version == {}", both.first)),
        (true, true) => Condition::When(format!("({}..={}).contains(&version)", both.first, both.last)),
    }
}

pub(super) fn type_name(holds: &Type) -> String {
    match holds {
        Type::Bool => "bool".to_owned(),
        Type::Int8 => "i8".to_owned(),
        Type::Int16 => "i16".to_owned(),
        Type::Int32 => "i32".to_owned(),
        Type::Int64 => "i64".to_owned(),
        Type::Uuid => "Uuid".to_owned(),
        Type::String => "String".to_owned(),
        Type::Bytes => "Bytes".to_owned(),
        Type::Struct(name) => name.clone(),
        Type::Array(element) => format!("Vec<{}>", type_name(element)),
    }
}

/// The method of reader and writer.
pub(super) fn primitive(holds: &Type) -> Result<&'static str> {
    Ok(match holds {
        Type::Bool => "boolean",
        Type::Int8 => "int8",
        Type::Int16 => "int16",
        Type::Int32 => "int32",
        Type::Int64 => "int64",
        Type::Uuid => "uuid",
        other => bail!("{other:?} is no primitive"),
    })
}

/// Bytes that the type takes at least, in any encoding.
pub(super) fn fixed_bytes(holds: &Type) -> usize {
    match holds {
        Type::Bool | Type::Int8 | Type::String | Type::Bytes | Type::Array(_) | Type::Struct(_) => 1,
        Type::Int16 => 2,
        Type::Int32 => 4,
        Type::Int64 => 8,
        Type::Uuid => 16,
    }
}

pub(super) fn is_null_default(field: &Field) -> bool {
    field.default.as_deref() == Some("null")
}

/// Whether the default of the Rust type is that of the field.
pub(super) fn is_plain_default(field: &Field) -> bool {
    let optional = !field.nullable.is_empty();
    match field.default.as_deref() {
        Some("null") => true,
        // A nullable field without a default of its own is empty, not null.
        None | Some("") => !optional,
        Some("0" | "false") => true,
        Some(_) => false,
    }
}

pub(super) fn default_value(field: &Field) -> Result<String> {
    let optional = !field.nullable.is_empty();
    let value = match (&field.holds, field.default.as_deref()) {
        _ if is_null_default(field) => return Ok("None".to_owned()),
        (Type::Struct(_), None) if optional => return Ok("None".to_owned()),
        (Type::String, Some(text)) => format!("{text:?}.to_owned()"),
        (Type::String, None) => "String::new()".to_owned(),
        (Type::Bytes, _) => "Bytes::new()".to_owned(),
        (Type::Array(_), _) => "Vec::new()".to_owned(),
        (Type::Struct(name), _) => format!("{name}::default()"),
        (Type::Uuid, _) => "[0; 16]".to_owned(),
        (Type::Bool, value) => (value == Some("true")).to_string(),
        (_, value) => number(value.unwrap_or("0"))?,
    };
    Ok(if optional { format!("Some({value})") } else { value })
}

pub(super) fn number(text: &str) -> Result<String> {
    if text.starts_with("0x") {
        return Ok(text.to_owned());
    }
    let value: i64 = text.parse()?;
    Ok(match value {
        i64::MAX => "i64::MAX".to_owned(),
        other => other.to_string(),
    })
}

pub(super) fn is_default(field: &Field, value: &str) -> Result<String> {
    let optional = !field.nullable.is_empty();
    Ok(match (&field.holds, optional) {
        _ if is_null_default(field) => format!("{value}.is_none()"),
        (Type::Struct(_), true) => format!("{value}.is_none()"),
        (Type::String, false) if field.default.as_deref().unwrap_or("").is_empty() => {
            format!("{value}.is_empty()")
        }
        (Type::Bytes | Type::Array(_), false) => format!("{value}.is_empty()"),
        (Type::Bytes, true) => format!("{value}.as_ref().is_some_and(Bytes::is_empty)"),
        (Type::Array(_), true) => format!("{value}.as_ref().is_some_and(Vec::is_empty)"),
        (Type::Bool, false) if field.default.as_deref() != Some("true") => format!("!{value}"),
        (Type::Bool, false) => value.to_owned(),
        _ => format!("{value} == {}", default_value(field)?),
    })
}

/// The opposite of a condition, as one would write it.
pub(super) fn not(condition: &str) -> String {
    for (operator, opposite) in
        [(" == ", " != "), (" >= ", " < "), (" <= ", " > "), (".is_none()", ".is_some()")]
    {
        if condition.contains(operator) {
            return condition.replacen(operator, opposite, 1);
        }
    }
    condition.strip_prefix('!').map_or_else(|| format!("!{condition}"), str::to_owned)
}

pub(super) fn mentions(source: &str, word: &str) -> bool {
    source.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

pub(super) fn doc(about: &str, versions: Versions, scope: Versions) -> String {
    let mut text: String = about.replace('[', "\\[").replace(']', "\\]").replace('<', "\\<");
    if versions != scope {
        let range = if versions.last >= scope.last {
            format!(" (From version {} on.)", versions.first)
        } else {
            format!(" (Versions {} to {}.)", versions.first, versions.last)
        };
        text.push_str(&range);
    }
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + word.len() > DOC_COLUMNS {
            let _ = writeln!(out, "/// {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "/// {line}");
    out
}

pub(super) fn wire_name(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

pub(super) fn ident(name: &str) -> String {
    let snake = snake(name);
    let keywords: BTreeSet<&str> = ["type", "match", "self", "ref", "move"].into();
    if keywords.contains(snake.as_str()) { format!("{snake}_") } else { snake }
}

pub(in crate::codegen) fn snake(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (index, letter) in letters.iter().enumerate() {
        let after_small = index > 0 && letters.get(index - 1).is_some_and(|before| !before.is_uppercase());
        let before_small = letters.get(index + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && index > 0 && (after_small || before_small) {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}
