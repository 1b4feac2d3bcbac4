//! A document as the fields of its mapping: what is indexed of it.

use std::collections::HashSet;

use serde_json::Value;
use tantivy::TantivyDocument;

use super::definition::{Dynamic, Mapping, Object, Property};
use super::kind::{Kind, Storage};
use super::leaf::Leaf;
use super::values::{Number, parse_ip, parse_number};
use super::{MAX_DEPTH, MAX_NESTED, SystemFields, dynamic, merge};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::text;

/// Longest exact term, in bytes, as in Lucene.
const MAX_TERM: usize = 32_766;

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
    let Some(object) = source.as_object() else {
        return Err(Failure::document(format!(
            "[1:1] failed to parse document with id '{id}': a document must be a JSON object"
        )));
    };
    let mut root = Target::new(id, None);
    let mut reader = Reader {
        mapping,
        id,
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
        reader.property(&mapping.root, "", name, value, &mut root, Dynamic::Yes, 0)?;
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
struct Target {
    doc: TantivyDocument,
    present: HashSet<u32>,
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

struct Reader<'a> {
    mapping: &'a Mapping,
    id: &'a str,
    children: Vec<TantivyDocument>,
    new_fields: Option<Value>,
}

impl Reader<'_> {
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
                    self.leaf(field, value, target)?;
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
                    reader.property(object, path, name, value, target, rule, depth)?;
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
                        self.leaf(&field, value, target)?;
                    }
                }
                Ok(())
            }
            None => self.add_field(to, value, 0),
        }
    }

    fn add_field(&mut self, path: &str, value: &Value, depth: usize) -> Outcome<()> {
        if depth > MAX_DEPTH || path.split('.').any(|part| part.trim().is_empty()) {
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

    fn leaf(&mut self, leaf: &Leaf, value: &Value, target: &mut Target) -> Outcome<()> {
        match value {
            Value::Array(values) => {
                for value in values {
                    self.leaf(leaf, value, target)?;
                }
                Ok(())
            }
            Value::Null => match &leaf.null_value {
                Some(stand_in) => self.value(leaf, stand_in, target),
                None => Ok(()),
            },
            _ => self.value(leaf, value, target),
        }
    }

    fn value(&self, leaf: &Leaf, value: &Value, target: &mut Target) -> Outcome<()> {
        if leaf.kind == Kind::Completion {
            return self.completion(leaf, value, target);
        }
        if value.is_object() {
            return if leaf.ignore_malformed {
                Ok(())
            } else {
                Err(self.unreadable(leaf, value, "Can't get text on a START_OBJECT"))
            };
        }
        let field = leaf.field();
        let result = match leaf.kind.storage() {
            Storage::Text => {
                let text = text(value);
                target.present.insert(leaf.slot);
                if leaf.index {
                    target.doc.add_text(field, text);
                }
                Ok(())
            }
            Storage::Term => {
                let mut text = text(value);
                if text.chars().count() > leaf.ignore_above {
                    return Ok(());
                }
                if leaf.lowercase {
                    text = text.to_lowercase();
                }
                if text.len() > MAX_TERM {
                    return Err(Failure::illegal(format!(
                        "Document contains at least one immense term in field=\"{}\" (whose UTF8 \
                         encoding is longer than the max length {MAX_TERM})",
                        leaf.path
                    )));
                }
                target.doc.add_text(field, text);
                Ok(())
            }
            Storage::Int | Storage::Float => {
                let blank = value.as_str().is_some_and(|text| text.trim().is_empty());
                if blank && leaf.kind != Kind::Boolean && leaf.kind != Kind::Date {
                    return Err(self.unreadable(leaf, value, "empty String"));
                }
                parse_number(leaf, value).map(|number| match number {
                    Number::Int(number) => target.doc.add_i64(field, number),
                    Number::Float(number) => target.doc.add_f64(field, number),
                })
            }
            Storage::Ip => parse_ip(value).map(|ip| target.doc.add_ip_addr(field, ip)),
        };
        match result {
            Err(_) if leaf.ignore_malformed => Ok(()),
            Err(why) => Err(self.unreadable(leaf, value, &why)),
            Ok(()) => Ok(()),
        }
    }

    /// An input, or `{"input": …, "weight": …}`: kept as the folded input, what it shows and its
    /// weight, in one term.
    fn completion(&self, leaf: &Leaf, value: &Value, target: &mut Target) -> Outcome<()> {
        let (inputs, weight) = match value {
            Value::String(_) => (vec![value], 1),
            Value::Object(object) => {
                let inputs = match object.get("input") {
                    Some(Value::Array(many)) => many.iter().collect(),
                    Some(one) => vec![one],
                    None => return Err(self.unreadable(leaf, value, "[input] is missing")),
                };
                let weight = match object.get("weight") {
                    None => 1,
                    Some(weight) => match text(weight).parse::<u32>() {
                        Ok(weight) => weight,
                        Err(_) => {
                            return Err(self.unreadable(
                                leaf,
                                value,
                                "Weight must be in the interval [0..2147483647]",
                            ));
                        }
                    },
                };
                (inputs, weight)
            }
            _ => return Err(self.unreadable(leaf, value, "a completion is a text or an object")),
        };
        for input in inputs {
            let Value::String(input) = input else {
                return Err(self.unreadable(leaf, value, "[input] must be texts"));
            };
            let input: String = input.chars().take(leaf.max_input).collect();
            if input.trim().is_empty() || input.contains('\u{1f}') {
                return Err(self.unreadable(leaf, value, "value must have a length > 0"));
            }
            target.doc.add_text(
                leaf.field(),
                format!("{}\u{1f}{weight}\u{1f}{input}", fold(&input)),
            );
        }
        Ok(())
    }

    fn unreadable(&self, leaf: &Leaf, value: &Value, why: &str) -> Failure {
        let preview: String = text(value).chars().take(100).collect();
        Failure::document(format!(
            "[1:1] failed to parse field [{}] of type [{}] in document with id '{}'. Preview of \
             field's value: '{preview}'",
            leaf.path,
            leaf.kind.name(),
            self.id
        ))
        .because(Failure::illegal(why))
    }

    fn refuse(&self, why: &str) -> Failure {
        Failure::document(format!(
            "[1:1] failed to parse document with id '{}': {why}",
            self.id
        ))
    }
}

/// How inputs of completions are compared: words in lower case, one blank between them.
pub(super) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for word in text.split(|c: char| !c.is_alphanumeric()) {
        if word.is_empty() {
            continue;
        }
        if !folded.is_empty() {
            folded.push(' ');
        }
        folded.extend(word.chars().flat_map(char::to_lowercase));
    }
    folded
}
