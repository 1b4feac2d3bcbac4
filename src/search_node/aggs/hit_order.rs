//! What the documents of `top_hits` are sorted by.

use serde_json::Value;
use tantivy::DocId;

use super::codes::Coded;
use super::key::Key;
use super::params::Params;
use super::target::Target;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::plain;

/// One criterion.
#[derive(Debug)]
pub(super) struct By {
    pub what: What,
    pub descending: bool,
    /// Whether documents without a value come first.
    pub missing_first: bool,
}

/// What is compared.
#[derive(Debug)]
pub(super) enum What {
    Score,
    Doc,
    Field(Target),
}

/// Reads `"field"`, `{"field": "asc"}` or `{"field": {"order": "asc", …}}`.
pub(super) fn by(params: &Params<'_>, one: &Value, all: &mut Vec<By>) -> Outcome<()> {
    match one {
        Value::String(field) => all.push(by_field(params, field, None, None)?),
        Value::Object(members) => {
            for (field, body) in members {
                let Value::Object(_) = body else {
                    all.push(by_field(params, field, Some(body), None)?);
                    continue;
                };
                let inner = Params::of(params.name, "sort", body)?;
                inner.ignore(&["unmapped_type"]);
                inner.refuse(&["mode", "nested", "nested_path", "format", "numeric_type"])?;
                let (order, missing) = (inner.get("order"), inner.get("missing"));
                all.push(by_field(params, field, order, missing)?);
                inner.finish()?;
            }
        }
        other => return Err(params.bad("sort", other, "a field, an object or a list of them")),
    }
    Ok(())
}

fn by_field(
    params: &Params<'_>,
    field: &str,
    order: Option<&Value>,
    missing: Option<&Value>,
) -> Outcome<By> {
    let what = match field {
        "_score" => What::Score,
        "_doc" => What::Doc,
        "_script" | "_geo_distance" | "_shard_doc" => {
            return Err(Failure::unsupported(format!(
                "sorting by [{field}] in aggregation [{}]",
                params.name
            )));
        }
        field => What::Field(Target {
            field: field.to_owned(),
            missing: None,
            format: None,
            zone: jiff::tz::TimeZone::UTC,
            dates: false,
        }),
    };
    let order = order.and_then(plain).map(|text| text.to_ascii_lowercase());
    let descending = match order.as_deref() {
        None => matches!(what, What::Score),
        Some("asc") => false,
        Some("desc") => true,
        Some(other) => {
            return Err(Failure::illegal(format!(
                "No enum constant for sort order [{other}]"
            )));
        }
    };
    let missing_first = match missing.and_then(plain).as_deref() {
        None | Some("_last") => false,
        Some("_first") => true,
        Some(other) => {
            return Err(Failure::unsupported(format!(
                "[missing: {other}] of a sort in aggregation [{}]",
                params.name
            )));
        }
    };
    Ok(By {
        what,
        descending,
        missing_first,
    })
}

/// What documents are compared by.
pub(super) enum Column {
    Score,
    Doc,
    /// The lowest or, when descending, the highest code of each document, plus one; 0 is none.
    Codes(Vec<u64>, Coded),
}

/// As [`Column`], with the keys of the documents that were chosen.
pub(super) enum Decoded {
    Score,
    Doc,
    Keys(Vec<u64>, Vec<u64>, Vec<Key>),
}

impl Column {
    /// Looks up the keys of the documents at the positions `chosen`.
    pub(super) fn decoded(self, chosen: &[usize]) -> Outcome<Decoded> {
        Ok(match self {
            Column::Score => Decoded::Score,
            Column::Doc => Decoded::Doc,
            Column::Codes(best, coded) => {
                let wanted = chosen.iter().filter_map(|at| best[*at].checked_sub(1));
                let mut wanted: Vec<u64> = wanted.collect();
                wanted.sort_unstable();
                wanted.dedup();
                let keys = coded.decode.keys(&wanted)?;
                Decoded::Keys(best, wanted, keys)
            }
        })
    }
}

impl Decoded {
    pub(super) fn key(&self, at: usize, doc: DocId, score: f32) -> Key {
        match self {
            Decoded::Score => Key::Float(f64::from(score)),
            Decoded::Doc => Key::Int(i64::from(doc)),
            Decoded::Keys(best, codes, keys) => {
                let code = best[at].checked_sub(1);
                let at = code.and_then(|code| codes.binary_search(&code).ok());
                at.and_then(|at| keys.get(at)).map_or(Key::Null, Key::clone)
            }
        }
    }
}
