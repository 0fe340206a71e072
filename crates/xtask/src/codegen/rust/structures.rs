//! The structures of a message: itself, and what its fields hold.

use anyhow::{Result, bail};

use super::text::fixed_bytes;
use crate::codegen::schema::{Field, Message, Shared, Versions};

/// A structure and the versions in which it is met.
#[derive(Clone, Debug)]
pub(super) struct Structure {
    pub(super) name: String,
    pub(super) fields: Vec<Field>,
    pub(super) scope: Versions,
}

impl Structure {
    /// All structures of a message, itself first.
    pub(super) fn of(message: &Message) -> Result<Vec<Structure>> {
        let mut found = Vec::new();
        collect(&message.name, &message.fields, message, message.versions, &mut found)?;
        Ok(found)
    }

    /// Bytes that one of them takes at least, in any version: what bounds a claimed count by the bytes that are left.
    pub(super) fn bytes_min(&self) -> usize {
        let Versions { first, last } = self.scope;
        (first..=last)
            .map(|version| {
                let now = Versions { first: version, last: version };
                let present = self
                    .fields
                    .iter()
                    .filter(|field| field.tag.is_none() && !field.versions.and(now).is_empty());
                present.map(|field| fixed_bytes(&field.holds)).sum::<usize>()
            })
            .min()
            .unwrap_or(1)
            .max(1)
    }
}

fn collect(
    name: &str,
    fields: &[Field],
    message: &Message,
    scope: Versions,
    found: &mut Vec<Structure>,
) -> Result<()> {
    let fields: Vec<Field> =
        fields.iter().filter(|field| !field.versions.and(scope).is_empty()).cloned().collect();
    found.push(Structure { name: name.to_owned(), fields: fields.clone(), scope });
    for field in &fields {
        let Some(structure) = field.holds.structure() else { continue };
        if found.iter().any(|known| known.name == structure) {
            continue;
        }
        let shared = message.shared.iter().find(|shared| shared.name == structure);
        let (inner, scope) = match shared {
            Some(Shared { fields, .. }) => (fields, message.versions),
            None if field.fields.is_empty() => bail!("no structure {structure}"),
            None => (&field.fields, scope.and(field.versions)),
        };
        collect(structure, inner, message, scope, found)?;
    }
    Ok(())
}
