//! Reading the parameters of a query: each one is known and of its type, or refused by name.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::{plain, text};

/// The parameters of one query or similar object.
#[derive(Debug)]
pub(crate) struct Params<'a> {
    name: String,
    values: Vec<(&'a str, &'a Value)>,
    seen: RefCell<BTreeSet<String>>,
}

impl<'a> Params<'a> {
    /// The members of the object `body` of `name`.
    pub(crate) fn of(name: &str, body: &'a Value) -> Outcome<Self> {
        match body {
            Value::Object(object) => Ok(Self::from_map(name, object)),
            other => Err(Failure::parsing(format!(
                "[{name}] must be an object, found [{other}]"
            ))),
        }
    }

    /// The members of `object`.
    pub(crate) fn from_map(name: &str, object: &'a Map<String, Value>) -> Self {
        Self {
            name: name.to_owned(),
            values: object
                .iter()
                .map(|(key, value)| (key.as_str(), value))
                .collect(),
            seen: RefCell::new(BTreeSet::new()),
        }
    }

    /// The members of an object, or a plain value as the parameter `short`.
    pub(super) fn or_value(name: &str, short: &str, body: &'a Value) -> Outcome<Self> {
        match body {
            Value::Object(object) => Ok(Self::from_map(name, object)),
            Value::Array(_) => Err(Failure::parsing(format!(
                "[{name}] query does not support array of values"
            ))),
            value => {
                let key = match short {
                    "query" => "query",
                    _ => "value",
                };
                Ok(Self {
                    name: name.to_owned(),
                    values: vec![(key, value)],
                    seen: RefCell::new(BTreeSet::new()),
                })
            }
        }
    }

    /// The value of `key`, if it is there.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.seen.borrow_mut().insert(key.to_owned());
        self.values
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| *value)
    }

    /// The value of `key`.
    pub(crate) fn need(&self, key: &str) -> Outcome<&'a Value> {
        self.get(key)
            .ok_or_else(|| Failure::illegal(format!("[{}] requires [{key}]", self.name)))
    }

    /// A text, numbers and booleans as they are written.
    pub(crate) fn text(&self, key: &str) -> Outcome<Option<String>> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match plain(value) {
                Some(text) => Ok(Some(text)),
                None => Err(self.bad(key, value, "a text")),
            },
        }
    }

    /// A text.
    pub(crate) fn need_text(&self, key: &str) -> Outcome<String> {
        self.need(key)?;
        self.text(key)?
            .ok_or_else(|| self.bad(key, &Value::Null, "a text"))
    }

    /// A flag.
    pub(crate) fn flag(&self, key: &str, default: bool) -> Outcome<bool> {
        match self.text(key)?.as_deref() {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => Err(self.bad(key, &Value::from(other), "[true] or [false]")),
        }
    }

    /// A number.
    pub(crate) fn float(&self, key: &str, default: f32) -> Outcome<f32> {
        match self.text(key)? {
            None => Ok(default),
            Some(text) => match text.parse::<f32>() {
                Ok(number) if number.is_finite() => Ok(number),
                _ => Err(self.bad(key, &Value::from(text), "a number")),
            },
        }
    }

    /// A whole number of at least 0.
    pub(crate) fn count(&self, key: &str) -> Outcome<Option<usize>> {
        match self.text(key)? {
            None => Ok(None),
            Some(text) => match text.parse::<usize>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(self.bad(key, &Value::from(text), "a whole number of at least 0")),
            },
        }
    }

    /// The factor on the score.
    pub(crate) fn boost(&self) -> Outcome<f32> {
        let boost = self.float("boost", 1.0)?;
        if boost < 0.0 {
            return Err(Failure::illegal(format!(
                "negative [boost] are not allowed in [{}], use a value between 0 and 1 to deboost",
                self.name
            )));
        }
        Ok(boost)
    }

    /// A parameter that has no effect here.
    pub(crate) fn ignore(&self, keys: &[&str]) {
        for key in keys {
            self.get(key);
        }
    }

    /// A parameter that is known and not supported, unless it has its default.
    pub(crate) fn only(&self, key: &str, default: &str) -> Outcome<()> {
        match self.get(key) {
            Some(value) if plain(value).as_deref() != Some(default) => Err(Failure::unsupported(
                format!("[{key}: {}] of [{}]", text(value), self.name),
            )),
            _ => Ok(()),
        }
    }

    /// Refuses what was not asked for.
    pub(crate) fn finish(&self) -> Outcome<()> {
        let seen = self.seen.borrow();
        match self.values.iter().find(|(key, _)| !seen.contains(*key)) {
            None => Ok(()),
            Some(("_name", _)) => Err(Failure::unsupported(format!(
                "[_name] of query [{}]",
                self.name
            ))),
            Some((key, _)) => Err(Failure::parsing(format!(
                "[{}] query does not support [{key}]",
                self.name
            ))),
        }
    }

    /// The error for a value of the wrong kind.
    pub(crate) fn bad(&self, key: &str, found: &Value, wanted: &str) -> Failure {
        Failure::illegal(format!(
            "[{key}] of [{}] must be {wanted}, found [{}]",
            self.name,
            text(found)
        ))
    }
}
