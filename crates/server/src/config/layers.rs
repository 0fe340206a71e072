//! The layers of the configuration: file, environment, flags. A later one wins.

use std::collections::BTreeMap;
use std::fmt;

use super::{ConfigError, Key, KeyStatus};

/// Where a value came from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File,
    /// The environment.
    Environment,
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Default => "default",
            Origin::File => "file",
            Origin::Environment => "env",
            Origin::Flag => "flag",
        })
    }
}

/// A variable of the environment that belongs to the tools.
const TOOLS_VARIABLE: &str = "MILLRACE_SERVER";

/// What was given, before it is read. Each layer is checked for unknown keys as it is added.
#[derive(Clone, Default, Debug)]
pub struct Layers {
    values: BTreeMap<Key, (String, Origin)>,
}

impl Layers {
    /// Adds the text of a configuration file (TOML).
    ///
    /// # Errors
    /// [`ConfigError`] if it is no TOML, or holds an unknown key or a value that is no string, number or boolean.
    pub fn file(mut self, text: &str) -> Result<Layers, ConfigError> {
        let table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| ConfigError::Syntax(e.to_string()))?;
        self.add_table("", table)?;
        Ok(self)
    }

    /// Adds the environment: every variable that begins with `MILLRACE_`.
    ///
    /// # Errors
    /// [`ConfigError::Unknown`].
    pub fn environment(mut self, variables: &BTreeMap<String, String>) -> Result<Layers, ConfigError> {
        let ours = variables.iter().filter(|(name, _)| name.starts_with("MILLRACE_"));
        for (name, value) in ours.filter(|(name, _)| *name != TOOLS_VARIABLE) {
            let unknown = || ConfigError::Unknown { key: name.clone(), origin: Origin::Environment };
            self.set(Key::of_variable(name).ok_or_else(unknown)?, value.clone(), Origin::Environment)?;
        }
        Ok(self)
    }

    /// Adds a flag.
    ///
    /// # Errors
    /// [`ConfigError::NotThereYet`].
    pub fn flag(mut self, key: Key, value: impl Into<String>) -> Result<Layers, ConfigError> {
        self.set(key, value.into(), Origin::Flag)?;
        Ok(self)
    }

    /// The value of a key and where it came from.
    pub(super) fn get(&self, key: Key) -> (String, Origin) {
        self.values.get(&key).cloned().unwrap_or_else(|| (key.default_value().to_owned(), Origin::Default))
    }

    fn set(&mut self, key: Key, value: String, origin: Origin) -> Result<(), ConfigError> {
        if key.status() == KeyStatus::NotThereYet {
            return Err(ConfigError::NotThereYet { key, origin });
        }
        self.values.insert(key, (value, origin));
        Ok(())
    }

    fn add_table(&mut self, prefix: &str, table: toml::Table) -> Result<(), ConfigError> {
        for (name, value) in table {
            let name = format!("{prefix}{name}");
            match (Key::of_name(&name), value) {
                (Some(key), toml::Value::String(text)) => self.set(key, text, Origin::File)?,
                (Some(key), toml::Value::Integer(number)) => {
                    self.set(key, number.to_string(), Origin::File)?
                }
                (Some(key), toml::Value::Boolean(flag)) => self.set(key, flag.to_string(), Origin::File)?,
                (Some(key), other) => {
                    return Err(ConfigError::Value {
                        key,
                        value: other.to_string(),
                        origin: Origin::File,
                        reason: format!("a {} is neither text, number nor boolean", other.type_str()),
                    });
                }
                (None, toml::Value::Table(inner)) if is_table(&name) => {
                    self.add_table(&format!("{name}."), inner)?;
                }
                (None, _) => return Err(ConfigError::Unknown { key: name, origin: Origin::File }),
            }
        }
        Ok(())
    }
}

/// Whether some key lies in this table.
fn is_table(name: &str) -> bool {
    let prefix = format!("{name}.");
    Key::ALL.iter().any(|key| key.name().starts_with(&prefix))
}
