//! A document as the fields of its mapping: what is indexed of it.

use std::collections::HashSet;

use serde_json::Value;
use tantivy::TantivyDocument;

use super::definition::{Dynamic, Mapping, Object, Property};
use super::{MAX_DEPTH, MAX_NESTED, SystemFields, completion, dynamic, merge};
use crate::search_node::failure::{Failure, Outcome};

/// A document ready to be indexed.
#[derive(Debug)]
pub(crate) struct ParsedDoc {
    /// Instances of nested objects, the document itself last.
    pub docs: Vec<TantivyDocument>,
    /// Fields that the mapping lacks, as a mapping to be merged; then read the document again.
    pub new_fields: Option<Value>,
}

/// Reads `source`, whose bytes are `raw`, under `mapping`.
pub(crate) fn read_document(
    mapping: &Mapping,
    id: &str,
    source: &Value,
    raw: &[u8],
) -> Outcome<ParsedDoc> {
    read(mapping, id, source, raw, false)
}

/// Reads a document that was accepted under an earlier mapping. It cannot be refused any more:
/// what does not fit `mapping` stays in its source and is not indexed.
pub(crate) fn read_accepted(
    mapping: &Mapping,
    id: &str,
    source: &Value,
    raw: &[u8],
) -> Outcome<ParsedDoc> {
    read(mapping, id, source, raw, true)
}

fn read(
    mapping: &Mapping,
    id: &str,
    source: &Value,
    raw: &[u8],
    is_accepted: bool,
) -> Outcome<ParsedDoc> {
    let Some(object) = source.as_object() else {
        return Err(Failure::document(format!(
            "[1:1] failed to parse document with id '{id}': a document must be a JSON object"
        )));
    };
    let mut root = Target::new(id, None);
    let mut reader = Reader {
        mapping,
        id,
        is_accepted,
        children: Vec::new(),
        new_fields: None,
    };
    for (name, value) in object {
        if name == "_id" || name == "_source" || name == "_index" {
            return Err(Failure::document(format!(
                "Field [{name}] is a metadata field and cannot be added inside a document. Use \
                 the index API request parameters."
            )));
        }
        reader.member(&mapping.root, "", name, value, &mut root, Dynamic::Yes, 0)?;
    }
    let mut docs = reader.children;
    root.doc.add_bytes(SystemFields::SOURCE, raw);
    docs.push(root.finish());
    Ok(ParsedDoc {
        docs,
        new_fields: reader.new_fields,
    })
}

/// One tantivy document in the making.
pub(super) struct Target {
    pub(super) doc: TantivyDocument,
    pub(super) present: HashSet<u32>,
}

impl Target {
    fn new(id: &str, nested: Option<u64>) -> Self {
        let mut doc = TantivyDocument::new();
        doc.add_text(SystemFields::ID, id);
        if let Some(number) = nested {
            doc.add_u64(SystemFields::NEST, number);
        }
        Self {
            doc,
            present: HashSet::new(),
        }
    }

    fn finish(mut self) -> TantivyDocument {
        for slot in self.present {
            self.doc.add_text(SystemFields::PRESENT, slot.to_string());
        }
        self.doc
    }
}

pub(super) struct Reader<'a> {
    mapping: &'a Mapping,
    pub(super) id: &'a str,
    /// What does not fit is left out.
    pub(super) is_accepted: bool,
    children: Vec<TantivyDocument>,
    new_fields: Option<Value>,
}

impl Reader<'_> {
    #[allow(clippy::too_many_arguments)]
    fn member(
        &mut self,
        object: &Object,
        path: &str,
        name: &str,
        value: &Value,
        target: &mut Target,
        inherited: Dynamic,
        depth: usize,
    ) -> Outcome<()> {
        match self.property(object, path, name, value, target, inherited, depth) {
            Err(_) if self.is_accepted => Ok(()),
            result => result,
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn property(
        &mut self,
        object: &Object,
        path: &str,
        name: &str,
        value: &Value,
        target: &mut Target,
        inherited: Dynamic,
        depth: usize,
    ) -> Outcome<()> {
        let rule = object.dynamic.unwrap_or(inherited);
        // A dot in a name is a level of its own.
        let (first, rest) = match name.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (name, None),
        };
        if first.trim().is_empty() || rest.is_some_and(str::is_empty) || depth > MAX_DEPTH {
            return Err(self.refuse(&format!(
                "field name [{name}] under [{path}] has an empty part, or objects lie more than \
                 {MAX_DEPTH} deep"
            )));
        }
        let full = if path.is_empty() {
            first.to_owned()
        } else {
            format!("{path}.{first}")
        };
        match object.properties.get(first) {
            Some(Property::Object(inner)) => match rest {
                Some(rest) => self.inner(inner, &full, target, |reader, inner, target| {
                    reader.property(inner, &full, rest, value, target, rule, depth + 1)
                }),
                None => self.object(inner, &full, value, target, rule, depth + 1),
            },
            Some(Property::Leaf(leaf, multi)) if rest.is_none() => {
                self.leaf(leaf, value, target)?;
                for field in multi {
                    self.leaf(field, &completion::for_multi(leaf, field, value), target)?;
                }
                for to in &leaf.copy_to {
                    self.copy(to, value, target)?;
                }
                Ok(())
            }
            Some(Property::Leaf(..)) => Err(self.refuse(&format!(
                "object mapping for [{full}] tried to parse field [{name}] as object, but found a \
                 concrete value"
            ))),
            None => match rule {
                Dynamic::No => Ok(()),
                _ if self.is_accepted => Ok(()),
                Dynamic::Strict if value.is_null() && rest.is_none() => Ok(()),
                Dynamic::Strict => Err(Failure::new(
                    400,
                    "strict_dynamic_mapping_exception",
                    format!(
                        "[1:1] mapping set to strict, dynamic introduction of [{first}] within \
                         [{}] is not allowed",
                        if path.is_empty() { "_doc" } else { path }
                    ),
                )),
                Dynamic::Yes => {
                    let full = match rest {
                        Some(rest) => format!("{full}.{rest}"),
                        None => full,
                    };
                    self.add_field(&full, value, depth)
                }
            },
        }
    }

    /// An object value, or a list of them.
    fn object(
        &mut self,
        object: &Object,
        path: &str,
        value: &Value,
        target: &mut Target,
        rule: Dynamic,
        depth: usize,
    ) -> Outcome<()> {
        if !object.enabled {
            return Ok(());
        }
        match value {
            Value::Null => Ok(()),
            Value::Array(values) => {
                for value in values {
                    self.object(object, path, value, target, rule, depth)?;
                }
                Ok(())
            }
            Value::Object(members) => self.inner(object, path, target, |reader, object, target| {
                for (name, value) in members {
                    reader.member(object, path, name, value, target, rule, depth)?;
                }
                Ok(())
            }),
            _ => Err(self.refuse(&format!(
                "object mapping for [{path}] tried to parse field [{path}] as object, but found a \
                 concrete value"
            ))),
        }
    }

    /// Goes into an object: a nested one has a document of its own.
    fn inner(
        &mut self,
        object: &Object,
        path: &str,
        target: &mut Target,
        fill: impl FnOnce(&mut Self, &Object, &mut Target) -> Outcome<()>,
    ) -> Outcome<()> {
        if !object.enabled {
            return Ok(());
        }
        if !object.nested {
            return fill(self, object, target);
        }
        let Some(number) = self.mapping.nested_number(path) else {
            return Err(self.refuse(&format!("nested object [{path}] is not known")));
        };
        let mut child = Target::new(self.id, Some(number));
        fill(self, object, &mut child)?;
        if self.children.len() >= MAX_NESTED {
            return Err(self.refuse(&format!(
                "The number of nested documents has exceeded the allowed limit of [{MAX_NESTED}]"
            )));
        }
        self.children.push(child.finish());
        Ok(())
    }

    fn copy(&mut self, to: &str, value: &Value, target: &mut Target) -> Outcome<()> {
        match self.mapping.leaf(to).cloned() {
            Some(leaf) => {
                self.leaf(&leaf, value, target)?;
                for name in &leaf.multi {
                    if let Some(field) = self.mapping.leaf(&format!("{to}.{name}")).cloned() {
                        self.leaf(&field, &completion::for_multi(&leaf, &field, value), target)?;
                    }
                }
                Ok(())
            }
            None if self.is_accepted => Ok(()),
            None => self.add_field(to, value, 0),
        }
    }

    fn add_field(&mut self, path: &str, value: &Value, depth: usize) -> Outcome<()> {
        let is_deep = depth > MAX_DEPTH || path.split('.').count() > MAX_DEPTH;
        if is_deep || path.split('.').any(|part| part.trim().is_empty()) {
            return Err(self.refuse(&format!(
                "field [{path}] has an empty part in its name or lies more than {MAX_DEPTH} deep"
            )));
        }
        if let Value::Object(members) = value
            && !members.is_empty()
        {
            for (name, value) in members {
                self.add_field(&format!("{path}.{name}"), value, depth + 1)?;
            }
            return Ok(());
        }
        if let Value::Array(values) = value
            && values.iter().any(Value::is_object)
        {
            for value in values {
                self.add_field(path, value, depth + 1)?;
            }
            return Ok(());
        }
        let Some(definition) = dynamic::definition(value, self.mapping.date_detection) else {
            return Ok(());
        };
        let one = merge::normalise(&dynamic::at_path(path, definition))?;
        let all = match self.new_fields.take() {
            None => one,
            // The first value of a field decides; a later one that does not fit is refused when
            // the document is read again.
            Some(all) => merge::merge(&one, &all, merge::Conflicts::Replace)?,
        };
        self.new_fields = Some(all);
        Ok(())
    }

    fn refuse(&self, why: &str) -> Failure {
        Failure::document(format!(
            "[1:1] failed to parse document with id '{}': {why}",
            self.id
        ))
    }
}
