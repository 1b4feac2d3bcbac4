//! What the file says, as types.

use std::sync::LazyLock;

use serde::Deserialize;

use super::SchemaError;

const FILE: &str = include_str!("collections.toml");

/// A type that a field may have, after the `bsonType` of MongoDB's `$jsonSchema`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Text.
    String,
    /// 32 bits.
    Int,
    /// 64 bits.
    Long,
    /// Floating point.
    Double,
    /// Any number.
    Number,
    /// Decimal with 34 digits: money.
    Decimal,
    /// True or false.
    Bool,
    /// A moment.
    Date,
    /// Fields.
    Object,
    /// A list.
    Array,
    /// Explicitly nothing.
    Null,
}

impl Kind {
    /// As `$jsonSchema` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::Long => "long",
            Self::Double => "double",
            Self::Number => "number",
            Self::Decimal => "decimal",
            Self::Bool => "bool",
            Self::Date => "date",
            Self::Object => "object",
            Self::Array => "array",
            Self::Null => "null",
        }
    }
}

/// One line of the file's `fields`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    #[serde(default)]
    bson: Vec<Kind>,
    items: Option<Kind>,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    lower: bool,
    #[serde(default)]
    base58check: bool,
    pattern: Option<String>,
    #[serde(default, rename = "enum")]
    choices: Vec<String>,
    min: Option<i64>,
    max: Option<i64>,
    min_len: Option<u32>,
    max_len: Option<u32>,
    min_items: Option<u32>,
}

/// What holds for a value.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// Types it may have; none for any.
    pub kinds: Vec<Kind>,
    /// Whether the document, or the object that it is in, must have it.
    pub required: bool,
    /// Trimmed, and in lower case.
    pub lower: bool,
    /// Carries a checksum, as addresses of TRON do.
    pub base58check: bool,
    /// Regular expression for texts.
    pub pattern: Option<String>,
    /// Texts that it may be.
    pub choices: Vec<String>,
    /// Least number.
    pub min: Option<i64>,
    /// Greatest number.
    pub max: Option<i64>,
    /// Least number of characters.
    pub min_len: Option<u32>,
    /// Greatest number of characters.
    pub max_len: Option<u32>,
    /// Least number of elements.
    pub min_items: Option<u32>,
    /// Fields of an object that have rules, in the order of the file.
    pub fields: Vec<(String, Node)>,
    /// What holds for each element of an array.
    pub element: Option<Box<Node>>,
}

impl Node {
    /// The rules of a field.
    pub fn field(&self, name: &str) -> Option<&Node> {
        let found = self.fields.iter().find(|(field, _)| field == name);
        found.map(|(_, node)| node)
    }

    /// The rules at a path with dots; numbers and `$` stand for elements of arrays.
    pub fn at(&self, path: &str) -> Option<&Node> {
        path.split('.').try_fold(self, |node, step| {
            let is_element = step.starts_with('$') || step.parse::<u32>().is_ok();
            match &node.element {
                Some(element) if is_element => Some(element.as_ref()),
                _ => node.field(step),
            }
        })
    }

    fn put(&mut self, path: &[&str], line: &Line) -> Result<(), String> {
        let Some((first, rest)) = path.split_first() else {
            return Err(format!("{}: an empty path", line.name));
        };
        let (name, in_array) = match first.strip_suffix("[]") {
            Some(name) => (name, true),
            None => (*first, false),
        };
        if !self.fields.iter().any(|(field, _)| field == name) {
            if !rest.is_empty() || in_array {
                return Err(format!("{}: {name} is not there yet", line.name));
            }
            self.fields.push((name.to_owned(), Self::default()));
        }
        let (_, node) = self
            .fields
            .iter_mut()
            .find(|(field, _)| field == name)
            .ok_or_else(|| format!("{}: {name} is not there", line.name))?;
        if in_array {
            return node.element.get_or_insert_default().put(rest, line);
        }
        if !rest.is_empty() {
            return node.put(rest, line);
        }
        let texts = Self {
            pattern: line.pattern.clone(),
            choices: line.choices.clone(),
            min_len: line.min_len,
            max_len: line.max_len,
            ..Self::default()
        };
        *node = Self {
            kinds: line.bson.clone(),
            required: line.required,
            lower: line.lower,
            base58check: line.base58check,
            min: line.min,
            max: line.max,
            min_items: line.min_items,
            ..texts.clone()
        };
        if let Some(kind) = line.items {
            // Rules for texts are about the elements.
            *node = Self {
                kinds: line.bson.clone(),
                required: line.required,
                min_items: line.min_items,
                element: Some(Box::new(Self {
                    kinds: vec![kind],
                    ..texts
                })),
                ..Self::default()
            };
        }
        Ok(())
    }
}

/// Order of an index by one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the least.
    Asc,
    /// From the greatest.
    Desc,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// `{collection}_{field}_{type}`.
    pub name: String,
    /// Fields in their order.
    pub keys: Vec<(String, Direction)>,
    /// Whether a value may be there once.
    #[serde(default)]
    pub unique: bool,
    /// Without documents that lack the field.
    #[serde(default)]
    pub sparse: bool,
    /// Only documents whose first field is of this type.
    pub partial: Option<Kind>,
    /// Documents go so many seconds after the time in the field.
    pub expire_after_seconds: Option<i32>,
}

/// For how long documents are kept, where that is a setting and no index.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Retention {
    /// The time that counts.
    pub field: String,
    /// Days, where nothing else is set.
    pub days: u32,
}

#[derive(Debug, Deserialize)]
struct File {
    collection: Vec<Raw>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    purpose: String,
    id: String,
    #[serde(default)]
    generated: bool,
    retention: Option<Retention>,
    fields: Vec<Line>,
    indexes: Vec<Index>,
}

/// A collection.
#[derive(Debug, Clone)]
pub struct Collection {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub purpose: String,
    /// The field that the platform knows a document by.
    pub id: String,
    /// Whether that is made where it is absent: a UUID.
    pub generated: bool,
    /// For how long, where that is a setting.
    pub retention: Option<Retention>,
    /// Rules of its documents.
    pub root: Node,
    /// Indexes beside that of `_id`.
    pub indexes: Vec<Index>,
}

fn read(text: &str) -> Result<Vec<Collection>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let made = file.collection.into_iter().map(|raw| {
        let mut root = Node {
            kinds: vec![Kind::Object],
            ..Node::default()
        };
        for line in &raw.fields {
            let path: Vec<&str> = line.name.split('.').collect();
            root.put(&path, line)?;
        }
        Ok(Collection {
            name: raw.name,
            purpose: raw.purpose,
            id: raw.id,
            generated: raw.generated,
            retention: raw.retention,
            root,
            indexes: raw.indexes,
        })
    });
    made.collect()
}

static ALL: LazyLock<Result<Vec<Collection>, String>> = LazyLock::new(|| read(FILE));

/// All collections, in the order of the file.
///
/// # Errors
/// [`SchemaError::Definition`]
pub fn all() -> Result<&'static [Collection], SchemaError> {
    match &*ALL {
        Ok(all) => Ok(all),
        Err(cause) => Err(SchemaError::Definition(cause.clone())),
    }
}

/// The collection of this name.
pub fn named(name: &str) -> Option<&'static Collection> {
    all().ok()?.iter().find(|one| one.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_file_has_the_fifteen_collections_and_their_indexes_by_the_rule_of_names() {
        let all = all().unwrap();
        assert_eq!(all.len(), 15);
        let mut names = BTreeSet::new();
        for collection in all {
            assert!(!collection.root.fields.is_empty(), "{}", collection.name);
            let known = collection.id == "_id" || collection.root.at(&collection.id).is_some();
            assert!(known, "{}.{}", collection.name, collection.id);
            for index in &collection.indexes {
                assert!(names.insert(index.name.clone()), "{}", index.name);
                let fields: Vec<String> = index
                    .keys
                    .iter()
                    .map(|(field, _)| field.replace('.', "_"))
                    .collect();
                let kind = match index.keys.as_slice() {
                    _ if index.expire_after_seconds.is_some() => "ttl",
                    _ if index.unique => "unique",
                    [_, _, ..] => "compound",
                    [(_, Direction::Desc)] => "desc",
                    _ => "asc",
                };
                let name = format!("{}_{}_{kind}", collection.name, fields.join("_"));
                assert_eq!(index.name, name);
                for (field, _) in &index.keys {
                    let path = field.as_str();
                    let known = path.split('.').try_fold(&collection.root, |node, step| {
                        let node = node.element.as_deref().unwrap_or(node);
                        node.field(step)
                    });
                    assert!(known.is_some(), "{} is about no field: {path}", index.name);
                }
            }
        }
        // Sixty of the platform, less one that is the beginning of another, and fourteen of our own.
        assert_eq!(names.len(), 59 + 14);
    }

    #[test]
    fn paths_lead_into_objects_and_arrays() {
        let manifests = named("manifests").unwrap();
        let index = manifests.root.at("chunks.0.index").unwrap();
        assert_eq!(
            (index.kinds.as_slice(), index.min),
            (&[Kind::Int][..], Some(0))
        );
        assert!(manifests.root.at("chunks.$[].hash").is_some());
        assert!(manifests.root.at("chunks.hash").is_none());
        let users = named("users").unwrap();
        let role = users.root.at("roles.3").unwrap();
        assert_eq!(role.choices.len(), 4);
        assert_eq!(
            users.root.at("hardware_wallet.type").unwrap().choices[0],
            "ledger"
        );
    }
}
