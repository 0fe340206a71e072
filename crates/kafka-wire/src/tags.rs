//! Tagged fields (KIP-482): what a newer side may add without a new version.

use bytes::Bytes;

use crate::{Problem, Reader, WireError, Writer};

/// Tagged fields that this build does not know, kept as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(pub Vec<(u32, Bytes)>);

/// Collects the tagged fields of a structure.
#[derive(Debug, Default)]
pub(crate) struct TagWriter {
    fields: Vec<(u32, Writer)>,
}

impl Reader {
    /// The tagged fields at the end of a structure. `known` reads those that it knows and says so.
    pub(crate) fn tags(
        &mut self,
        mut known: impl FnMut(u32, &mut Reader) -> Result<bool, WireError>,
    ) -> Result<Tags, WireError> {
        self.field("tagged fields");
        let count = self.unsigned_varint()?;
        let mut unknown = Tags::default();
        let mut before = None;
        for _ in 0..count {
            self.field("tagged fields");
            let tag = self.unsigned_varint()?;
            if before.is_some_and(|before| tag <= before) {
                return self.fail(Problem::TagOrder(tag));
            }
            before = Some(tag);
            let size = self.unsigned_varint()?;
            let content = self.take(usize::try_from(size).unwrap_or(usize::MAX))?;
            let mut inner = self.within(content.clone());
            if known(tag, &mut inner)? {
                if inner.remaining() > 0 {
                    return self.fail(Problem::TagLength { tag, left: inner.remaining() });
                }
                self.go_on_after(&inner);
            } else {
                self.count_elements(1)?;
                unknown.0.push((tag, content));
            }
        }
        Ok(unknown)
    }
}

impl TagWriter {
    /// None yet.
    pub(crate) fn new() -> TagWriter {
        TagWriter::default()
    }

    /// Adds a field.
    pub(crate) fn add(
        &mut self,
        tag: u32,
        content: impl FnOnce(&mut Writer) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let mut writer = Writer::new();
        content(&mut writer)?;
        self.fields.push((tag, writer));
        Ok(())
    }

    /// Writes the fields and the unknown ones, in the order of their tags.
    pub(crate) fn finish(mut self, unknown: &Tags, writer: &mut Writer) -> Result<(), WireError> {
        for (tag, content) in &unknown.0 {
            self.add(*tag, |inner| {
                inner.raw(content);
                Ok(())
            })?;
        }
        self.fields.sort_by_key(|(tag, _)| *tag);
        writer.field("tagged fields").unsigned_length(self.fields.len())?;
        for (tag, content) in self.fields {
            writer.unsigned_varint(tag);
            writer.unsigned_length(content.len())?;
            writer.append(content);
        }
        Ok(())
    }
}
