//! Reading the parameters of an aggregation: each one is known and of its type, or refused by
//! name.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::{plain, text};

/// The parameters of one aggregation, or of an object in one.
#[derive(Debug)]
pub(super) struct Params<'a> {
    /// The aggregation's name.
    pub name: &'a str,
    /// Its type, or the parameter that the object is the value of.
    pub kind: &'a str,
    object: &'a Map<String, Value>,
    seen: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Params<'a> {
    /// The members of the object `body`.
    pub(super) fn of(name: &'a str, kind: &'a str, body: &'a Value) -> Outcome<Self> {
        match body {
            Value::Object(object) => Ok(Self {
                name,
                kind,
                object,
                seen: RefCell::new(BTreeSet::new()),
            }),
            other => Err(Failure::parsing(format!(
                "Expected [START_OBJECT] under [{kind}], but got [{other}] in [{name}]"
            ))),
        }
    }

    /// The members of an object under `key`.
    pub(super) fn object(&self, key: &'static str) -> Outcome<Option<Params<'a>>> {
        self.get(key)
            .map(|body| Params::of(self.name, key, body))
            .transpose()
    }

    /// The value of `key`, if it is there and not null.
    pub(super) fn get(&self, key: &'static str) -> Option<&'a Value> {
        self.seen.borrow_mut().insert(key);
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// The value of `key`.
    pub(super) fn need(&self, key: &'static str) -> Outcome<&'a Value> {
        self.get(key).ok_or_else(|| {
            Failure::illegal(format!(
                "Required one of fields [{key}], but none were specified in [{}] of type [{}]",
                self.name, self.kind
            ))
        })
    }

    /// A text.
    pub(super) fn text(&self, key: &'static str) -> Outcome<Option<&'a str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.bad(key, other, "a text")),
        }
    }

    /// A flag.
    pub(super) fn flag(&self, key: &'static str, default: bool) -> Outcome<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => match plain(value).as_deref() {
                Some("true") => Ok(true),
                Some("false") => Ok(false),
                _ => Err(self.bad(key, value, "[true] or [false]")),
            },
        }
    }

    /// A finite number.
    pub(super) fn float(&self, key: &'static str) -> Outcome<Option<f64>> {
        self.get(key)
            .map(|value| float(value).ok_or_else(|| self.bad(key, value, "a number")))
            .transpose()
    }

    /// A whole number of at least 0.
    pub(super) fn count(&self, key: &'static str) -> Outcome<Option<u64>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match plain(value).and_then(|text| text.parse().ok()) {
                Some(count) => Ok(Some(count)),
                None => Err(self.bad(key, value, "a whole number of at least 0")),
            },
        }
    }

    /// A whole number above 0.
    pub(super) fn size(&self, key: &'static str, default: usize) -> Outcome<usize> {
        match self.count(key)? {
            None => Ok(default),
            Some(0) => Err(Failure::illegal(format!(
                "[{key}] must be greater than 0. Found [0] in [{}]",
                self.name
            ))),
            Some(size) => Ok(usize::try_from(size).unwrap_or(usize::MAX)),
        }
    }

    /// A list of finite numbers.
    pub(super) fn floats(&self, key: &'static str) -> Outcome<Option<Vec<f64>>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(list)) => {
                let numbers: Option<Vec<f64>> = list.iter().map(float).collect();
                match numbers {
                    Some(numbers) => Ok(Some(numbers)),
                    None => Err(self.bad(key, &Value::from("a list"), "a list of numbers")),
                }
            }
            Some(one) => match float(one) {
                Some(number) => Ok(Some(vec![number])),
                None => Err(self.bad(key, one, "a list of numbers")),
            },
        }
    }

    /// Parameters without effect here.
    pub(super) fn ignore(&self, keys: &[&'static str]) {
        self.seen.borrow_mut().extend(keys);
    }

    /// Refuses parameters that Elasticsearch has and this node does not.
    pub(super) fn refuse(&self, keys: &[&'static str]) -> Outcome<()> {
        match keys.iter().find(|key| self.get(key).is_some()) {
            None => Ok(()),
            Some(key) => Err(Failure::unsupported(format!(
                "[{key}] in aggregation [{}] of type [{}]",
                self.name, self.kind
            ))),
        }
    }

    /// Refuses what was not asked for.
    pub(super) fn finish(&self) -> Outcome<()> {
        let seen = self.seen.borrow();
        match self.object.keys().find(|key| !seen.contains(key.as_str())) {
            None => Ok(()),
            Some(key) => Err(Failure::new(
                400,
                "x_content_parse_exception",
                format!("[{}] unknown field [{key}] in [{}]", self.kind, self.name),
            )),
        }
    }

    /// The error for a value of the wrong kind.
    pub(super) fn bad(&self, key: &str, found: &Value, wanted: &str) -> Failure {
        Failure::new(
            400,
            "x_content_parse_exception",
            format!(
                "[{}] failed to parse field [{key}] of [{}]: it must be {wanted}, found [{}]",
                self.kind,
                self.name,
                text(found)
            ),
        )
    }
}

/// A finite number, or a text of one.
pub(super) fn float(value: &Value) -> Option<f64> {
    let number: f64 = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}
