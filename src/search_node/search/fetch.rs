//! What is shown of a hit.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Source;
use super::collect::Place;
use super::request::Request;
use crate::search_node::PRIMARY_TERM;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::names;
use crate::search_node::query::Mark;
use crate::search_node::shard::{Part, Stored};

/// One hit, or one document got by its id.
#[derive(Debug, Serialize)]
pub(crate) struct Hit {
    /// Its index.
    #[serde(rename = "_index")]
    pub index: String,
    /// Its id.
    #[serde(rename = "_id")]
    pub id: String,
    /// Its score; null when the order is another.
    #[serde(rename = "_score")]
    pub score: Option<f32>,
    /// Its version, when it was asked for.
    #[serde(rename = "_version", skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Its sequence number, when it was asked for.
    #[serde(rename = "_seq_no", skip_serializing_if = "Option::is_none")]
    pub seq_no: Option<u64>,
    /// Beside the sequence number.
    #[serde(rename = "_primary_term", skip_serializing_if = "Option::is_none")]
    pub primary_term: Option<u64>,
    /// The document.
    #[serde(rename = "_source", skip_serializing_if = "Option::is_none")]
    pub source: Option<Box<RawValue>>,
    /// Passages with what was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highlight: Option<Value>,
    /// Values of the sort keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<Vec<Value>>,
}

/// A hit with what was found marked, and its sort values.
pub(super) fn hit(
    sources: &[Source],
    marks: &[Vec<Mark>],
    request: &Request,
    place: &Place,
) -> Outcome<Hit> {
    let (source, part) = at(sources, place)?;
    let stored = part.segment.stored(place.doc)?;
    let highlight = match &request.highlight {
        None => None,
        Some(highlight) => {
            let marks = marks.get(place.source).map_or(&[][..], Vec::as_slice);
            highlight.passages(&source.view.mapping, marks, &stored.source)?
        }
    };
    let sort = (!request.sort.is_empty()).then(|| {
        let keys = request.sort.iter().zip(&place.keys);
        keys.map(|(spec, value)| spec.show(value)).collect()
    });
    let shows_score = request.sort.is_empty()
        || request.track_scores
        || request.sort.iter().any(super::sort::SortSpec::is_score);
    let plain = plain(source, part, stored, request, place)?;
    Ok(Hit {
        score: shows_score.then_some(place.score),
        highlight,
        sort,
        ..plain
    })
}

/// A document with its score alone.
pub(super) fn document(sources: &[Source], request: &Request, place: &Place) -> Outcome<Hit> {
    let (source, part) = at(sources, place)?;
    let stored = part.segment.stored(place.doc)?;
    plain(source, part, stored, request, place)
}

fn at<'a>(sources: &'a [Source], place: &Place) -> Outcome<(&'a Source, &'a Part)> {
    sources
        .get(place.source)
        .and_then(|source| Some((source, source.view.parts.get(place.part)?)))
        .ok_or_else(|| Failure::internal("a hit of another view"))
}

fn plain(
    source: &Source,
    part: &Part,
    stored: Stored,
    request: &Request,
    place: &Place,
) -> Outcome<Hit> {
    let (seq, version) = part.segment.seq_version(place.doc);
    Ok(Hit {
        index: source.index.name.clone(),
        id: stored.id,
        score: Some(place.score),
        version: request.version.then_some(version),
        seq_no: request.seq_no.then_some(seq),
        primary_term: request.seq_no.then_some(PRIMARY_TERM),
        source: request.source.apply(&stored.source)?,
        highlight: None,
        sort: None,
    })
}

/// Which members of a document are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SourceFilter {
    hidden: bool,
    includes: Vec<String>,
    excludes: Vec<String>,
}

impl SourceFilter {
    /// All of them.
    pub(crate) fn all() -> Self {
        Self::default()
    }

    /// Those that fit `includes`, all for none, without those that fit `excludes`.
    pub(crate) fn of(includes: Vec<String>, excludes: Vec<String>) -> Self {
        Self {
            hidden: false,
            includes,
            excludes,
        }
    }

    /// From `true`, `false`, a pattern, a list of them, or `{includes, excludes}`.
    pub(crate) fn parse(value: &Value) -> Outcome<Self> {
        let list = |value: &Value| -> Outcome<Vec<String>> {
            match value {
                Value::String(text) => Ok(vec![text.clone()]),
                Value::Array(values) => values
                    .iter()
                    .map(|value| value.as_str().map(str::to_owned))
                    .collect::<Option<_>>()
                    .ok_or_else(|| Failure::parsing("[_source] must be a list of texts")),
                other => Err(Failure::parsing(format!(
                    "[_source] must be texts, found [{other}]"
                ))),
            }
        };
        match value {
            Value::Bool(shown) => Ok(Self {
                hidden: !shown,
                ..Self::default()
            }),
            Value::Object(object) => {
                let mut filter = Self::default();
                for (key, value) in object {
                    match key.as_str() {
                        "include" | "includes" => filter.includes = list(value)?,
                        "exclude" | "excludes" => filter.excludes = list(value)?,
                        _ => {
                            return Err(Failure::parsing(format!(
                                "Unknown key for a VALUE in [{key}] of [_source]"
                            )));
                        }
                    }
                }
                Ok(filter)
            }
            other => Ok(Self::of(list(other)?, Vec::new())),
        }
    }

    /// What is shown of `source`; `None` for nothing at all.
    pub(crate) fn apply(&self, source: &[u8]) -> Outcome<Option<Box<RawValue>>> {
        if self.hidden {
            return Ok(None);
        }
        let broken =
            |error: serde_json::Error| Failure::internal(format!("stored source: {error}"));
        if self.includes.is_empty() && self.excludes.is_empty() {
            return serde_json::from_slice(source).map(Some).map_err(broken);
        }
        let mut value: Value = serde_json::from_slice(source).map_err(broken)?;
        if let Value::Object(object) = &mut value {
            self.prune(object, "");
        }
        serde_json::value::to_raw_value(&value)
            .map(Some)
            .map_err(broken)
    }

    fn prune(&self, object: &mut Map<String, Value>, prefix: &str) {
        object.retain(|key, value| {
            let path = format!("{prefix}{key}");
            if fits(&self.excludes, &path) {
                return false;
            }
            if self.includes.is_empty() || fits(&self.includes, &path) {
                // Taken as a whole; something below may still be left out.
                if !self.excludes.is_empty() {
                    let below = Self::of(Vec::new(), self.excludes.clone());
                    below.descend(value, &path);
                }
                return true;
            }
            self.descend(value, &path)
        });
    }

    /// Prunes below `path`; says whether anything is left.
    fn descend(&self, value: &mut Value, path: &str) -> bool {
        match value {
            Value::Object(object) => {
                self.prune(object, &format!("{path}."));
                !object.is_empty()
            }
            Value::Array(values) => {
                values.retain_mut(|value| self.descend(value, path));
                !values.is_empty()
            }
            _ => self.includes.is_empty(),
        }
    }
}

fn fits(patterns: &[String], path: &str) -> bool {
    patterns.iter().any(|pattern| names::matches(pattern, path))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(filter: &Value) -> Value {
        let source = json!({"a": {"b": 1, "c": 2}, "d": [{"e": 1, "f": 2}], "g": 3}).to_string();
        let filter = SourceFilter::parse(filter).unwrap();
        match filter.apply(source.as_bytes()).unwrap() {
            None => Value::Null,
            Some(raw) => serde_json::from_str(raw.get()).unwrap(),
        }
    }

    #[test]
    fn a_filter_shows_what_it_names() {
        assert_eq!(shown(&json!(false)), Value::Null);
        assert_eq!(shown(&json!("a.b")), json!({"a": {"b": 1}}));
        assert_eq!(
            shown(&json!(["a", "g"])),
            json!({"a": {"b": 1, "c": 2}, "g": 3})
        );
        assert_eq!(shown(&json!("d.e")), json!({"d": [{"e": 1}]}));
        assert_eq!(
            shown(&json!({"excludes": ["a.*", "d"]})),
            json!({"a": {}, "g": 3})
        );
        assert_eq!(
            shown(&json!({"includes": ["a"], "excludes": ["*.c"]})),
            json!({"a": {"b": 1}})
        );
        assert_eq!(shown(&json!("nothing")), json!({}));
    }
}
