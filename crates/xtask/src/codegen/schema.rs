//! Kafka's message schemas: JSON with comments, as the protocol guide of Apache Kafka describes them.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A range of versions, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    pub(super) first: i16,
    pub(super) last: i16,
}

impl Versions {
    pub(super) const NONE: Versions = Versions { first: 0, last: -1 };

    fn parse(text: &str) -> Result<Versions> {
        let number = |text: &str| text.parse::<i16>().with_context(|| format!("versions {text:?}"));
        Ok(match text.split_once('-') {
            _ if text == "none" => Versions::NONE,
            Some((first, last)) => Versions { first: number(first)?, last: number(last)? },
            None => match text.strip_suffix('+') {
                Some(first) => Versions { first: number(first)?, last: i16::MAX },
                None => Versions { first: number(text)?, last: number(text)? },
            },
        })
    }

    pub(super) fn and(self, other: Versions) -> Versions {
        Versions { first: self.first.max(other.first), last: self.last.min(other.last) }
    }

    pub(super) fn is_empty(self) -> bool {
        self.first > self.last
    }
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    Uuid,
    String,
    /// Bytes, and record data.
    Bytes,
    Struct(String),
    Array(Box<Type>),
}

impl Type {
    fn parse(text: &str) -> Type {
        match text {
            "bool" => Type::Bool,
            "int8" => Type::Int8,
            "int16" => Type::Int16,
            "int32" => Type::Int32,
            "int64" => Type::Int64,
            "uuid" => Type::Uuid,
            "string" => Type::String,
            "bytes" | "records" => Type::Bytes,
            _ => match text.strip_prefix("[]") {
                Some(element) => Type::Array(Box::new(Type::parse(element))),
                None => Type::Struct(text.to_owned()),
            },
        }
    }

    /// The structure that it is made of, if it is made of one.
    pub(super) fn structure(&self) -> Option<&str> {
        match self {
            Type::Struct(name) => Some(name),
            Type::Array(element) => element.structure(),
            _ => None,
        }
    }
}

/// A field.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) holds: Type,
    pub(super) versions: Versions,
    pub(super) nullable: Versions,
    pub(super) tag: Option<u32>,
    /// Where the field has another flexible range than its message.
    pub(super) flexible: Option<Versions>,
    pub(super) default: Option<String>,
    pub(super) ignorable: bool,
    pub(super) about: String,
    pub(super) fields: Vec<Field>,
}

/// A structure that several fields share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) fields: Vec<Field>,
}

/// A schema.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) name: String,
    pub(super) api_key: Option<i16>,
    pub(super) versions: Versions,
    pub(super) flexible: Versions,
    pub(super) fields: Vec<Field>,
    pub(super) shared: Vec<Shared>,
}

pub(super) fn parse(text: &str) -> Result<Message> {
    let lines = text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    let json: Value = serde_json::from_str(&lines.collect::<Vec<_>>().join("\n"))?;
    let mut versions = versions_of(&json, "validVersions")?.context("no validVersions")?;
    if json["latestVersionUnstable"] == true {
        versions.last -= 1;
    }
    let shared = elements(&json["commonStructs"])
        .map(|shared| Ok(Shared { name: text_of(shared, "name")?, fields: fields_of(shared)? }));
    Ok(Message {
        name: text_of(&json, "name")?,
        api_key: json["apiKey"].as_i64().map(i16::try_from).transpose()?,
        versions,
        flexible: versions_of(&json, "flexibleVersions")?.unwrap_or(Versions::NONE).and(versions),
        fields: fields_of(&json)?,
        shared: shared.collect::<Result<_>>()?,
    })
}

fn fields_of(json: &Value) -> Result<Vec<Field>> {
    elements(&json["fields"]).map(parse_field).collect()
}

fn parse_field(json: &Value) -> Result<Field> {
    let name = text_of(json, "name")?;
    let context = || format!("field {name}");
    let versions = versions_of(json, "versions").with_context(context)?.with_context(context)?;
    if let Some(tagged) = versions_of(json, "taggedVersions").with_context(context)?
        && tagged != versions
    {
        bail!("field {name} is tagged in some of its versions only");
    }
    Ok(Field {
        holds: Type::parse(&text_of(json, "type")?),
        versions,
        nullable: versions_of(json, "nullableVersions")?.unwrap_or(Versions::NONE),
        tag: json["tag"].as_u64().map(u32::try_from).transpose()?,
        flexible: versions_of(json, "flexibleVersions")?,
        default: match &json["default"] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        },
        ignorable: json["ignorable"] == true,
        about: json["about"].as_str().unwrap_or("Not described.").to_owned(),
        fields: fields_of(json).with_context(context)?,
        name,
    })
}

fn elements(json: &Value) -> impl Iterator<Item = &Value> {
    json.as_array().into_iter().flatten()
}

fn text_of(json: &Value, key: &str) -> Result<String> {
    Ok(json[key].as_str().with_context(|| format!("no {key}"))?.to_owned())
}

fn versions_of(json: &Value, key: &str) -> Result<Option<Versions>> {
    json[key].as_str().map(Versions::parse).transpose()
}
