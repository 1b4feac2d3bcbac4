//! From what is wanted to a query of the engine.

use serde_json::{Map, Value, json};

use super::index_name;
use crate::store::StoreError;

/// Kinds of documents that are searched, with the field that orders them.
pub const ENTITIES: [(&str, &str); 6] = [
    ("sessions", "created_at"),
    ("blocks", "block_height"),
    ("transactions", "timestamp"),
    ("manifests", "created_at"),
    ("audit-logs", "timestamp"),
    ("users", "created_at"),
];
/// Longest text.
const LONGEST: usize = 1000;
/// Where a page may end: `max_result_window`.
const WINDOW: u64 = 10_000;

/// A text that is looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    /// Words; `+`, `|`, `-`, quotes and `*` at an end mean what they do in a simple query.
    pub words: String,
    /// In these fields; in all where there is none.
    pub fields: Vec<String>,
}

/// Bounds, both of them in.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    /// Of what.
    pub field: String,
    /// Least.
    pub from: Option<Value>,
    /// Greatest.
    pub to: Option<Value>,
}

/// What is wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// Indices or aliases.
    pub index: String,
    /// Text, where there is one.
    pub text: Option<Text>,
    /// Fields that must be this, or one of these.
    pub equal: Vec<(String, Value)>,
    /// Fields within bounds.
    pub ranges: Vec<Range>,
    /// Fields in order, with `asc` or `desc`.
    pub sort: Vec<(String, String)>,
    /// How many.
    pub size: u64,
    /// How many are passed over.
    pub from: u64,
}

/// A field's name, and nothing else.
pub(super) fn field(name: &str) -> Result<(), StoreError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
    if (1..=200).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    let message = format!("{name:?}: letters, digits, _ and dots make the name of a field");
    Err(StoreError::invalid("fields", "name", message))
}

fn value(path: &str, value: &Value) -> Result<(), StoreError> {
    let is_plain = |value: &Value| !value.is_object() && !value.is_array();
    match value {
        Value::Array(values) if values.len() <= 100 && values.iter().all(is_plain) => Ok(()),
        value if is_plain(value) => Ok(()),
        _ => {
            let message = "is a text, a number, true, false, or a list of 100 such at most";
            Err(StoreError::invalid(path, "type", message))
        }
    }
}

impl Wanted {
    /// The request's body.
    pub(super) fn body(&self) -> Result<Value, StoreError> {
        index_name(&self.index)?;
        if self.from.saturating_add(self.size) > WINDOW {
            let message =
                format!("from and size together end at {WINDOW} at most: narrow the search");
            return Err(StoreError::invalid("from", "maximum", message));
        }
        let mut filters = Vec::new();
        for (name, wanted) in &self.equal {
            field(name)?;
            value(name, wanted)?;
            let kind = if wanted.is_array() { "terms" } else { "term" };
            filters.push(json!({ kind: { name: wanted } }));
        }
        for range in &self.ranges {
            field(&range.field)?;
            let mut bounds = Map::new();
            for (name, bound) in [("gte", &range.from), ("lte", &range.to)] {
                if let Some(bound) = bound {
                    value(&range.field, bound)?;
                    bounds.insert(name.to_owned(), bound.clone());
                }
            }
            if !bounds.is_empty() {
                filters.push(json!({ "range": { &range.field: bounds } }));
            }
        }
        let mut query = json!({ "bool": { "filter": filters } });
        if let Some(text) = &self.text {
            query["bool"]["must"] = json!([text.query()?]);
        }
        let mut sort = Vec::new();
        for (name, direction) in &self.sort {
            if name != "_score" {
                field(name)?;
            }
            if direction != "asc" && direction != "desc" {
                let message = format!("{direction:?}: asc or desc");
                return Err(StoreError::invalid("sort", "enum", message));
            }
            let mut order = json!({ "order": direction });
            if name != "_score" {
                // In an index that has no such field yet.
                order["unmapped_type"] = "keyword".into();
                order["missing"] = "_last".into();
            }
            sort.push(json!({ name: order }));
        }
        let mut body = json!({
            "query": query, "size": self.size, "from": self.from, "track_total_hits": true,
        });
        if !sort.is_empty() {
            body["sort"] = sort.into();
        }
        Ok(body)
    }
}

impl Text {
    fn query(&self) -> Result<Value, StoreError> {
        let words = self.words.trim();
        if words.is_empty() || words.len() > LONGEST {
            let message = format!("1 to {LONGEST} bytes; found {}", words.len());
            return Err(StoreError::invalid("query", "length", message));
        }
        for name in &self.fields {
            field(name)?;
        }
        // With fields, words may be misspelt a little; without, an expression that has no syntax errors.
        Ok(if self.fields.is_empty() {
            json!({ "simple_query_string": {
                "query": words, "default_operator": "and", "lenient": true,
            } })
        } else {
            json!({ "multi_match": {
                "query": words, "fields": self.fields, "type": "best_fields",
                "fuzziness": "AUTO", "lenient": true,
            } })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions() -> Wanted {
        Wanted {
            index: "lucid-sessions".to_owned(),
            size: 10,
            ..Wanted::default()
        }
    }

    #[test]
    fn filters_and_text_become_one_query() {
        let wanted = Wanted {
            text: Some(Text {
                words: "one two".to_owned(),
                fields: Vec::new(),
            }),
            equal: vec![("user_id".to_owned(), json!("u1"))],
            ranges: vec![Range {
                field: "created_at".to_owned(),
                from: Some(json!("2026-11-01")),
                to: None,
            }],
            sort: vec![("created_at".to_owned(), "desc".to_owned())],
            ..sessions()
        };
        let body = wanted.body().unwrap();
        let filters = &body["query"]["bool"]["filter"];
        assert_eq!(filters[0], json!({ "term": { "user_id": "u1" } }));
        assert_eq!(
            filters[1],
            json!({ "range": { "created_at": { "gte": "2026-11-01" } } })
        );
        let text = &body["query"]["bool"]["must"][0]["simple_query_string"];
        assert_eq!(text["default_operator"], "and");
        assert_eq!(body["sort"][0]["created_at"]["order"], "desc");
    }

    #[test]
    fn nothing_but_plain_values_of_fields_of_the_platforms_indices_is_asked_for() {
        let with = |change: fn(&mut Wanted)| {
            let mut wanted = sessions();
            change(&mut wanted);
            wanted.body().is_err()
        };
        assert!(with(|w| w.index = "secrets".to_owned()));
        assert!(with(|w| w.index = "lucid-*,secrets".to_owned()));
        assert!(with(|w| w.index = "lucid-/../_security".to_owned()));
        assert!(with(
            |w| w.equal = vec![("a".to_owned(), json!({ "script": 1 }))]
        ));
        assert!(with(|w| w.equal = vec![("a\"b".to_owned(), json!(1))]));
        assert!(with(|w| w.from = 10_000));
        assert!(with(|w| w.sort = vec![("a".to_owned(), "up".to_owned())]));
        assert!(with(|w| w.text = Some(Text::default())));
    }
}
