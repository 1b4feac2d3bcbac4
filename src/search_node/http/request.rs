//! Requests and replies.

use std::collections::BTreeMap;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::elsewhere;
use crate::search_node::cluster::Lenience;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::names;

/// Patterns of `filter_path` at most.
const MAX_FILTERS: usize = 100;

/// Parameters that every request may have.
const COMMON: &[&str] = &[
    "error_trace",
    "filter_path",
    "format",
    "human",
    "master_timeout",
    "pretty",
    "timeout",
];

/// A request, read.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `GET` and so on.
    pub method: String,
    /// Parts of the path, decoded.
    pub path: Vec<String>,
    /// Parameters by name.
    pub params: BTreeMap<String, String>,
    /// Body.
    pub body: Bytes,
    /// Name of the user.
    pub user: String,
    /// What the user may do.
    pub role: super::security::Role,
    /// Whether an API key stands for the user.
    pub by_key: bool,
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A status and JSON.
    Json(u16, Value),
    /// JSON that is written already.
    Raw(u16, Vec<u8>),
    /// Plain text.
    Text(u16, String),
    /// A status alone.
    Status(u16),
}

impl Reply {
    /// 200 with JSON.
    pub(crate) fn ok(value: Value) -> Self {
        Reply::Json(200, value)
    }

    /// `{"acknowledged": true}`.
    pub(crate) fn acknowledged() -> Self {
        Reply::ok(json!({"acknowledged": true}))
    }

    /// 200 with what `value` becomes.
    pub(crate) fn written(status: u16, value: &impl Serialize) -> Outcome<Self> {
        serde_json::to_vec(value)
            .map(|bytes| Reply::Raw(status, bytes))
            .map_err(|error| Failure::internal(error.to_string()))
    }
}

/// Path and query of a URI, decoded.
pub(super) fn read_uri(
    path: &str,
    query: Option<&str>,
) -> Outcome<(Vec<String>, BTreeMap<String, String>)> {
    let decode = |text: &str| -> Outcome<String> {
        percent_decode_str(text)
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| Failure::illegal(format!("[{text}] is not UTF-8 when decoded")))
    };
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(decode)
        .collect::<Outcome<_>>()?;
    let mut params = BTreeMap::new();
    for pair in query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
    {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        params.insert(
            decode(&key.replace('+', " "))?,
            decode(&value.replace('+', " "))?,
        );
    }
    Ok((parts, params))
}

impl Request {
    /// Refuses parameters that are neither common nor in `known`.
    pub(crate) fn known(&self, known: &[&str]) -> Outcome<()> {
        let unknown: Vec<&str> = self
            .params
            .keys()
            .map(String::as_str)
            .filter(|key| !COMMON.contains(key) && !known.contains(key))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        if unknown.iter().all(|key| elsewhere::has(key)) {
            return Err(Failure::unsupported(format!(
                "{} of [/{}]",
                listed(&unknown),
                self.path.join("/")
            )));
        }
        Err(Failure::illegal(format!(
            "request [/{}] contains unrecognized parameter{}: {}",
            self.path.join("/"),
            if unknown.len() == 1 { "" } else { "s" },
            listed(&unknown)
        )))
    }

    /// Refuses parameters that would change the answer and are not supported, unless they have
    /// the value that changes nothing.
    pub(crate) fn only(&self, defaults: &[(&str, &str)]) -> Outcome<()> {
        for (key, default) in defaults {
            if let Some(value) = self.param(key).filter(|value| value != default) {
                return Err(Failure::unsupported(format!("[{key}={value}]")));
            }
        }
        Ok(())
    }

    /// Refuses common parameters with values that have no meaning here, before anything is done.
    pub(crate) fn check_common(&self) -> Outcome<()> {
        if self.path.first().is_none_or(|first| first != "_cat") {
            self.only(&[("format", "json")])?;
        }
        match self.param("wait_for_active_shards") {
            None | Some("0" | "1" | "all") => Ok(()),
            Some(other) => Err(Failure::illegal(format!(
                "[wait_for_active_shards={other}] never comes true: each index has one copy"
            ))),
        }
    }

    /// A parameter.
    pub(crate) fn param(&self, key: &str) -> Option<&str> {
        self.params.get(key).map(String::as_str)
    }

    /// A flag; without a value it is set.
    pub(crate) fn flag(&self, key: &str, default: bool) -> Outcome<bool> {
        match self.param(key) {
            None => Ok(default),
            Some("true" | "") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => Err(Failure::illegal(format!(
                "Failed to parse value [{other}] as only [true] or [false] are allowed."
            ))),
        }
    }

    /// A whole number of at least 0.
    pub(crate) fn count(&self, key: &str) -> Outcome<Option<u64>> {
        match self.param(key) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                Failure::illegal(format!(
                    "Failed to parse int parameter [{key}] with value [{text}]"
                ))
            }),
        }
    }

    /// The body as JSON; an empty object when there is none.
    pub(crate) fn object(&self) -> Outcome<Value> {
        let body = self.json()?;
        Ok(if body.is_null() { json!({}) } else { body })
    }

    /// The body as JSON; null when there is none.
    pub(crate) fn json(&self) -> Outcome<Value> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::parsing(format!("the body is no valid JSON: {error}")))
    }

    /// What wildcards mean, and what happens to names that are not there.
    pub(crate) fn lenience(&self) -> Outcome<Lenience> {
        lenience(|key| self.param(key).map(str::to_owned))
    }

    /// The body to send: filtered and written as the request wants it.
    pub(crate) fn shape(&self, reply: Reply) -> Outcome<(u16, &'static str, Vec<u8>)> {
        const JSON: &str = "application/json";
        let (status, mut value) = match reply {
            Reply::Status(status) => return Ok((status, JSON, Vec::new())),
            Reply::Text(status, text) => {
                return Ok((status, "text/plain; charset=UTF-8", text.into_bytes()));
            }
            Reply::Raw(status, bytes) => {
                if self.param("filter_path").is_none() && !self.flag("pretty", false)? {
                    return Ok((status, JSON, bytes));
                }
                let value = serde_json::from_slice(&bytes);
                (
                    status,
                    value.map_err(|error| Failure::internal(error.to_string()))?,
                )
            }
            Reply::Json(status, value) => (status, value),
        };
        if let Some(filter) = self.param("filter_path") {
            if filter.split(',').count() > MAX_FILTERS {
                return Err(Failure::illegal(format!(
                    "[filter_path] may have at most {MAX_FILTERS} patterns"
                )));
            }
            value = filter_path(&value, filter);
        }
        let bytes = if self.flag("pretty", false)? {
            let mut bytes = serde_json::to_vec_pretty(&value).unwrap_or_default();
            bytes.push(b'\n');
            bytes
        } else {
            value.to_string().into_bytes()
        };
        Ok((status, JSON, bytes))
    }
}

fn listed(names: &[&str]) -> String {
    format!("[{}]", names.join("], ["))
}

/// What wildcards mean, and what happens to names that are not there, by parameters.
pub(super) fn lenience(get: impl Fn(&str) -> Option<String>) -> Outcome<Lenience> {
    let flag = |key: &str, default: bool| match get(key).as_deref() {
        None => Ok(default),
        Some("true" | "") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(Failure::illegal(format!(
            "Failed to parse value [{other}] of [{key}] as only [true] or [false] are allowed."
        ))),
    };
    let mut lenience = Lenience {
        ignore_unavailable: flag("ignore_unavailable", false)?,
        allow_no_indices: flag("allow_no_indices", true)?,
        ..Lenience::default()
    };
    if let Some(states) = get("expand_wildcards") {
        lenience.open = false;
        for state in states.split(',') {
            match state {
                "open" => lenience.open = true,
                "closed" => lenience.closed = true,
                "hidden" => lenience.hidden = true,
                "none" => {}
                "all" => {
                    lenience.open = true;
                    lenience.closed = true;
                    lenience.hidden = true;
                }
                other => {
                    return Err(Failure::illegal(format!(
                        "No valid expand wildcard value [{other}]"
                    )));
                }
            }
        }
    }
    Ok(lenience)
}

/// The members of `value` that fit the patterns, as `filter_path` has them: `*` for one name,
/// `**` for any number, `-` before a pattern to leave it out.
fn filter_path(value: &Value, filter: &str) -> Value {
    let mut shown: Vec<Vec<&str>> = Vec::new();
    let mut hidden: Vec<Vec<&str>> = Vec::new();
    for pattern in filter.split(',').filter(|pattern| !pattern.is_empty()) {
        let (list, pattern) = match pattern.strip_prefix('-') {
            Some(pattern) => (&mut hidden, pattern),
            None => (&mut shown, pattern),
        };
        let mut parts: Vec<&str> = pattern.split('.').collect();
        // Several in a row mean the same as one.
        parts.dedup_by(|a, b| a == b && *a == "**");
        list.push(parts);
    }
    let mut result = if shown.is_empty() {
        value.clone()
    } else {
        keep(value, &shown.iter().map(Vec::as_slice).collect::<Vec<_>>())
            .unwrap_or_else(|| json!({}))
    };
    drop_paths(
        &mut result,
        &hidden.iter().map(Vec::as_slice).collect::<Vec<_>>(),
    );
    result
}

/// The patterns that go on below the member `key`.
fn below<'a>(patterns: &[&'a [&'a str]], key: &str) -> Vec<&'a [&'a str]> {
    let mut next = Vec::new();
    for pattern in patterns {
        match pattern {
            ["**", rest @ ..] => {
                next.push(*pattern);
                next.extend(below(&[rest], key));
            }
            [first, rest @ ..] if names::matches(first, key) => next.push(rest),
            _ => {}
        }
    }
    next.sort_unstable();
    next.dedup();
    next
}

fn keep(value: &Value, patterns: &[&[&str]]) -> Option<Value> {
    let whole = |pattern: &&[&str]| pattern.is_empty() || **pattern == ["**"];
    if patterns.iter().any(whole) {
        return Some(value.clone());
    }
    match value {
        Value::Object(object) => {
            let kept: Map<String, Value> = object
                .iter()
                .filter_map(|(key, value)| {
                    let next = below(patterns, key);
                    if next.is_empty() {
                        return None;
                    }
                    keep(value, &next).map(|value| (key.clone(), value))
                })
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(values) => {
            let kept: Vec<Value> = values
                .iter()
                .filter_map(|value| keep(value, patterns))
                .collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        _ => None,
    }
}

fn drop_paths(value: &mut Value, patterns: &[&[&str]]) {
    match value {
        Value::Object(object) => object.retain(|key, value| {
            let next = below(patterns, key);
            if next.iter().any(|pattern| pattern.is_empty()) {
                return false;
            }
            drop_paths(value, &next);
            true
        }),
        Value::Array(values) => values
            .iter_mut()
            .for_each(|value| drop_paths(value, patterns)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_path_shows_what_it_names() {
        let value = json!({"took": 1, "hits": {"total": 2, "hits": [{"_id": "a", "_score": 1}]}});
        for (filter, shown) in [
            ("took", json!({"took": 1})),
            ("hits.hits._id", json!({"hits": {"hits": [{"_id": "a"}]}})),
            (
                "hits.*",
                json!({"hits": {"total": 2, "hits": [{"_id": "a", "_score": 1}]}}),
            ),
            ("**._score", json!({"hits": {"hits": [{"_score": 1}]}})),
            ("-hits", json!({"took": 1})),
            ("hits,-hits.hits", json!({"hits": {"total": 2}})),
            ("nothing", json!({})),
        ] {
            assert_eq!(filter_path(&value, filter), shown, "{filter}");
        }
    }

    #[test]
    fn uris_are_decoded() {
        let (path, params) = read_uri("/a%2Fb/_doc//1", Some("q=a+b%3A&pretty")).unwrap();
        assert_eq!(path, ["a/b", "_doc", "1"]);
        assert_eq!(params["q"], "a b:");
        assert_eq!(params["pretty"], "");
        assert!(read_uri("/%ff", None).is_err());
    }
}
