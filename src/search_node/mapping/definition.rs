//! The tree of a mapping, built from its JSON.
//!
//! The JSON is the truth: it is what is stored, shown and merged; the tree and the table of
//! fields are derived from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::leaf::Leaf;
use super::{MAX_DEPTH, MAX_FIELDS, Schema, merge};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::text;

/// What happens to fields that the mapping does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dynamic {
    /// They are added.
    Yes,
    /// They are kept in `_source` only.
    No,
    /// The document is refused.
    Strict,
}

/// An object of the mapping.
#[derive(Debug, Clone, Default)]
pub(crate) struct Object {
    /// Whether its instances are matched one by one.
    pub nested: bool,
    /// Its own setting, else the parent's counts.
    pub dynamic: Option<Dynamic>,
    /// Whether its content is looked at at all.
    pub enabled: bool,
    /// Its fields by name.
    pub properties: BTreeMap<String, Property>,
}

/// A field or an object.
#[derive(Debug, Clone)]
pub(crate) enum Property {
    /// An object or a nested object.
    Object(Object),
    /// A field with its multi-fields.
    Leaf(Arc<Leaf>, Vec<Arc<Leaf>>),
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Mapping {
    json: Value,
    /// The outermost object.
    pub root: Object,
    /// All fields by full path, multi-fields included.
    leaves: BTreeMap<String, Arc<Leaf>>,
    /// What has a number.
    numbered: Numbered,
    /// How many objects there are below the root.
    objects: usize,
    /// Whether new texts that look like dates become dates.
    pub date_detection: bool,
    /// The index schema that follows.
    pub schema: Arc<Schema>,
}

/// Paths in the order in which they came: documents that are there hold their places as numbers,
/// so that a path keeps its own whatever is added.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Numbered {
    /// Fields; the slot of one is its position.
    pub slots: Vec<String>,
    /// Nested objects; the number of one is its position plus one.
    #[serde(default)]
    pub nested: Vec<String>,
}

impl Mapping {
    /// An empty mapping.
    pub(crate) fn empty() -> Outcome<Self> {
        Self::build(json!({}), Numbered::default())
    }

    /// Builds from normalised JSON; `numbered` are the paths that have a number already.
    pub(crate) fn build(json: Value, numbered: Numbered) -> Outcome<Self> {
        let mut builder = Builder {
            leaves: BTreeMap::new(),
            objects: 0,
            numbered,
        };
        let Some(object) = json.as_object() else {
            return Err(Failure::mapping("a mapping must be an object"));
        };
        let root = builder.object("", object, None, 0)?;
        if builder.leaves.len() + builder.objects > MAX_FIELDS {
            return Err(Failure::illegal(format!(
                "Limit of total fields [{MAX_FIELDS}] has been exceeded"
            )));
        }
        let date_detection = object.get("date_detection") != Some(&Value::Bool(false));
        let schema = Arc::new(Schema::new(&builder.numbered.slots, &builder.leaves));
        Ok(Self {
            date_detection,
            root,
            leaves: builder.leaves,
            numbered: builder.numbered,
            objects: builder.objects,
            schema,
            json,
        })
    }

    /// This mapping with `more` added; an error when a field would change.
    pub(crate) fn merged(&self, more: &Value) -> Outcome<Self> {
        let more = merge::normalise(more)?;
        let json = merge::merge(&self.json, &more, merge::Conflicts::Refuse)?;
        Self::build(json, self.numbered.clone())
    }

    /// How many fields and objects there are.
    pub(crate) fn fields(&self) -> usize {
        self.leaves.len() + self.objects
    }

    /// The JSON as Elasticsearch shows it.
    pub(crate) fn json(&self) -> &Value {
        &self.json
    }

    /// What has a number, to be stored beside the JSON.
    pub(crate) fn numbered(&self) -> &Numbered {
        &self.numbered
    }

    /// The field at `path`.
    pub(crate) fn leaf(&self, path: &str) -> Option<&Arc<Leaf>> {
        self.leaves.get(path)
    }

    /// All fields by path.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = &Arc<Leaf>> {
        self.leaves.values()
    }

    /// Fields whose path matches `pattern`, which may hold `*`.
    pub(crate) fn matching<'a>(&'a self, pattern: &'a str) -> impl Iterator<Item = &'a Arc<Leaf>> {
        self.leaves
            .values()
            .filter(move |leaf| crate::search_node::names::matches(pattern, &leaf.path))
    }

    /// The number of the nested object at `path`, from 1.
    pub(crate) fn nested_number(&self, path: &str) -> Option<u64> {
        let mut nested = self.numbered.nested.iter();
        let position = nested.position(|nested| nested == path)?;
        u64::try_from(position + 1).ok()
    }

    /// Whether an object stands at `path`.
    pub(crate) fn is_object(&self, path: &str) -> bool {
        let mut object = &self.root;
        for name in path.split('.') {
            match object.properties.get(name) {
                Some(Property::Object(inner)) => object = inner,
                _ => return false,
            }
        }
        true
    }
}

struct Builder {
    leaves: BTreeMap<String, Arc<Leaf>>,
    objects: usize,
    numbered: Numbered,
}

impl Builder {
    fn object(
        &mut self,
        path: &str,
        json: &Map<String, Value>,
        nested: Option<&str>,
        depth: usize,
    ) -> Outcome<Object> {
        if depth > MAX_DEPTH {
            return Err(Failure::illegal(format!(
                "Limit of mapping depth [{MAX_DEPTH}] has been exceeded due to object field [{path}]"
            )));
        }
        let mut object = Object {
            nested: json.get("type").is_some_and(|kind| kind == "nested"),
            dynamic: json.get("dynamic").map(parse_dynamic).transpose()?,
            enabled: json.get("enabled") != Some(&Value::Bool(false)),
            properties: BTreeMap::new(),
        };
        if object.nested && !self.numbered.nested.iter().any(|known| known == path) {
            self.numbered.nested.push(path.to_owned());
        }
        let nested = if object.nested { Some(path) } else { nested };
        let Some(properties) = json.get("properties").and_then(Value::as_object) else {
            return Ok(object);
        };
        for (name, definition) in properties {
            let full = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            let Some(definition) = definition.as_object() else {
                return Err(Failure::mapping(format!(
                    "Expected map for property [{full}]"
                )));
            };
            let property = if merge::is_object(definition) {
                self.objects += 1;
                Property::Object(self.object(&full, definition, nested, depth + 1)?)
            } else {
                self.leaf(&full, definition, nested)?
            };
            object.properties.insert(name.clone(), property);
        }
        Ok(object)
    }

    fn leaf(
        &mut self,
        path: &str,
        definition: &Map<String, Value>,
        nested: Option<&str>,
    ) -> Outcome<Property> {
        let mut leaf = Leaf::parse(path, definition, self.slot(path), nested)?;
        let mut multi = Vec::new();
        if let Some(fields) = definition.get("fields").and_then(Value::as_object) {
            for (name, definition) in fields {
                let path = format!("{path}.{name}");
                let Some(definition) = definition.as_object() else {
                    return Err(Failure::mapping(format!(
                        "Expected map for multi-field [{path}]"
                    )));
                };
                let field = Arc::new(Leaf::parse(&path, definition, self.slot(&path), nested)?);
                self.leaves.insert(path, Arc::clone(&field));
                leaf.multi.push(name.clone());
                multi.push(field);
            }
        }
        let leaf = Arc::new(leaf);
        self.leaves.insert(path.to_owned(), Arc::clone(&leaf));
        Ok(Property::Leaf(leaf, multi))
    }

    fn slot(&mut self, path: &str) -> u32 {
        let slots = &mut self.numbered.slots;
        let position = slots.iter().position(|slot| slot == path);
        let position = position.unwrap_or_else(|| {
            slots.push(path.to_owned());
            slots.len() - 1
        });
        u32::try_from(position).unwrap_or(u32::MAX)
    }
}

fn parse_dynamic(value: &Value) -> Outcome<Dynamic> {
    match text(value).as_str() {
        "true" => Ok(Dynamic::Yes),
        "false" => Ok(Dynamic::No),
        "strict" => Ok(Dynamic::Strict),
        "runtime" => Err(Failure::unsupported("[dynamic: runtime]")),
        other => Err(Failure::mapping(format!(
            "Could not convert [dynamic] to one of true, false, strict: [{other}]"
        ))),
    }
}
