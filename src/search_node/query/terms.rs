//! Queries for exact values.

use std::net::Ipv6Addr;
use std::ops::Bound;

use serde_json::Value;
use tantivy::Term;
use tantivy::query::{
    BooleanQuery, ConstScoreQuery, ExistsQuery, RangeQuery, TermQuery, TermSetQuery,
};
use tantivy::schema::IndexRecordOption;

use super::params::Params;
use super::{Built, Context, Marked, all, boosted, field_params, none, object_of};
use crate::search_node::dates::{Formats, Round, parse_zone, resolve};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::plain;
use crate::search_node::mapping::{
    Kind, Leaf, Number, Storage, SystemFields, parse_boolean, parse_ip, parse_number,
};

/// Values of one terms query at most, as `index.max_terms_count`.
const MAX_TERMS: usize = 65_536;

pub(super) fn term(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    let (field, params) = field_params("term", "value", body)?;
    let boost = params.boost()?;
    let fold = params.flag("case_insensitive", false)?;
    let value = params.need("value")?;
    params.finish()?;
    if value.is_null() {
        return Err(Failure::illegal("value cannot be null"));
    }
    if fold
        && let Some(leaf) = ctx.searchable(field)?
        && matches!(leaf.kind.storage(), Storage::Term | Storage::Text)
    {
        let text = plain(value).unwrap_or_default();
        let query = super::dictionary::folded(ctx, leaf, &text)?;
        return Ok(boosted(query, boost));
    }
    Ok(boosted(exact(ctx, field, value)?, boost))
}

/// Documents whose `field` has this value.
pub(super) fn exact(ctx: &Context<'_>, field: &str, value: &Value) -> Outcome<Built> {
    match field {
        "_id" => return Ok(by_id(&[plain(value).unwrap_or_default()])),
        "_index" => {
            let wanted = plain(value).unwrap_or_default();
            let fits = crate::search_node::names::matches(&wanted, ctx.index);
            return Ok(if fits { all() } else { none() });
        }
        _ => {}
    }
    let Some(leaf) = ctx.searchable(field)? else {
        return Ok(none());
    };
    match leaf.kind.storage() {
        Storage::Text | Storage::Term => {
            let text = term_text(leaf, value)?;
            ctx.mark(leaf, Marked::Term(text.clone()));
            Ok(term_query(leaf, &text))
        }
        _ => values(ctx, leaf, value),
    }
}

pub(super) fn term_text(leaf: &Leaf, value: &Value) -> Outcome<String> {
    let text = plain(value).ok_or_else(|| {
        Failure::parsing(format!(
            "[term] query on field [{}] needs a plain value, found [{value}]",
            leaf.path
        ))
    })?;
    Ok(if leaf.lowercase {
        text.to_lowercase()
    } else {
        text
    })
}

/// Documents that have this one term.
pub(super) fn term_query(leaf: &Leaf, text: &str) -> Built {
    let option = match leaf.kind.storage() {
        Storage::Text => IndexRecordOption::WithFreqs,
        _ => IndexRecordOption::Basic,
    };
    Box::new(TermQuery::new(
        Term::from_field_text(leaf.field(), text),
        option,
    ))
}

/// Documents whose column of numbers, dates or addresses has this value.
fn values(ctx: &Context<'_>, leaf: &Leaf, value: &Value) -> Outcome<Built> {
    let unreadable = |why: String| bad_value(leaf, &why);
    match leaf.kind {
        Kind::Ip => {
            let (low, high) = network(value).map_err(unreadable)?;
            Ok(between(
                leaf,
                Bound::Included(Term::from_field_ip_addr(leaf.field(), low)),
                Bound::Included(Term::from_field_ip_addr(leaf.field(), high)),
            ))
        }
        Kind::Date => {
            let low = date(ctx, leaf, &leaf.formats, value, Round::Down, "UTC")?;
            let high = date(ctx, leaf, &leaf.formats, value, Round::Up, "UTC")?;
            Ok(integers(leaf, low, high))
        }
        Kind::Boolean => {
            let flag = i64::from(parse_boolean(value).map_err(unreadable)?);
            Ok(integers(leaf, flag, flag))
        }
        _ if leaf.kind.storage() == Storage::Int => match whole(leaf, value)? {
            Some(number) => Ok(integers(leaf, number, number)),
            None => Ok(none()),
        },
        _ => match parse_number(leaf, value).map_err(unreadable)? {
            Number::Float(number) => {
                let term = Term::from_field_f64(leaf.field(), number);
                Ok(between(
                    leaf,
                    Bound::Included(term.clone()),
                    Bound::Included(term),
                ))
            }
            Number::Int(number) => Ok(integers(leaf, number, number)),
        },
    }
}

/// The whole number that `value` is; `None` when no document can have it.
pub(super) fn whole(leaf: &Leaf, value: &Value) -> Outcome<Option<i64>> {
    let text = plain(value).unwrap_or_default();
    if let Ok(number) = text.trim().parse::<i64>() {
        return Ok(Some(number));
    }
    match text.trim().parse::<f64>() {
        #[allow(clippy::cast_possible_truncation)]
        Ok(number) if number.fract() == 0.0 && number.abs() < 9.0e18 => Ok(Some(number as i64)),
        Ok(number) if number.is_finite() => Ok(None),
        _ => Err(bad_value(leaf, &format!("For input string: \"{text}\""))),
    }
}

pub(super) fn bad_value(leaf: &Leaf, why: &str) -> Failure {
    Failure::new(
        400,
        "query_shard_exception",
        format!(
            "failed to create query on field [{}] of type [{}]: {why}",
            leaf.path,
            leaf.kind.name()
        ),
    )
}

pub(super) fn integers(leaf: &Leaf, low: i64, high: i64) -> Built {
    between(
        leaf,
        Bound::Included(Term::from_field_i64(leaf.field(), low)),
        Bound::Included(Term::from_field_i64(leaf.field(), high)),
    )
}

pub(super) fn between(leaf: &Leaf, low: Bound<Term>, high: Bound<Term>) -> Built {
    if matches!((&low, &high), (Bound::Unbounded, Bound::Unbounded)) {
        return exists_leaf(leaf);
    }
    super::constant(Box::new(RangeQuery::new(low, high)), 1.0)
}

/// An address, or all of a network such as `10.0.0.0/8`.
fn network(value: &Value) -> Result<(Ipv6Addr, Ipv6Addr), String> {
    let text = plain(value).unwrap_or_default();
    let Some((address, bits)) = text.split_once('/') else {
        let ip = parse_ip(value)?;
        return Ok((ip, ip));
    };
    let is_v4 = !address.contains(':');
    let address = u128::from(parse_ip(&Value::from(address))?);
    let bits: u32 = bits
        .parse()
        .map_err(|_| format!("'{text}' is not a network"))?;
    let bits = if is_v4 { bits + 96 } else { bits };
    if bits > 128 || (is_v4 && bits < 96) {
        return Err(format!("'{text}' has too long a prefix"));
    }
    let host = u128::MAX.checked_shr(bits).unwrap_or(0);
    Ok(((address & !host).into(), (address | host).into()))
}

pub(super) fn date(
    ctx: &Context<'_>,
    leaf: &Leaf,
    formats: &Formats,
    value: &Value,
    round: Round,
    zone: &str,
) -> Outcome<i64> {
    let unreadable =
        |error: crate::search_node::dates::DateError| bad_value(leaf, &error.to_string());
    let zone = parse_zone(zone).map_err(unreadable)?;
    let text = plain(value).unwrap_or_default();
    resolve(&text, formats, ctx.now, round, &zone).map_err(unreadable)
}

pub(super) fn terms(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    let params = Params::from_map("terms", object_of("terms", body)?);
    let boost = params.boost()?;
    let mut fields = object_of("terms", body)?
        .iter()
        .filter(|(key, _)| *key != "boost" && *key != "_name");
    let (Some((field, list)), None) = (fields.next(), fields.next()) else {
        return Err(Failure::parsing("[terms] query needs one field"));
    };
    params.get(field);
    params.finish()?;
    let Value::Array(list) = list else {
        return Err(if list.is_object() {
            Failure::unsupported("terms lookup of query [terms]")
        } else {
            Failure::parsing("[terms] query requires an array of terms")
        });
    };
    if list.len() > MAX_TERMS {
        return Err(Failure::illegal(format!(
            "The number of terms [{}] used in the Terms Query request has exceeded the allowed \
             maximum of [{MAX_TERMS}]. This maximum can be set by changing the \
             [index.max_terms_count] index level setting.",
            list.len()
        )));
    }
    if field == "_id" {
        let ids: Vec<String> = list.iter().filter_map(plain).collect();
        return Ok(boosted(by_id(&ids), boost));
    }
    if field == "_index" {
        let fits = list
            .iter()
            .filter_map(plain)
            .any(|wanted| crate::search_node::names::matches(&wanted, ctx.index));
        return Ok(if fits { all() } else { none() });
    }
    let Some(leaf) = ctx.searchable(field)? else {
        return Ok(none());
    };
    let query: Built = match leaf.kind.storage() {
        Storage::Text | Storage::Term => {
            let mut found = Vec::with_capacity(list.len());
            for value in list {
                let text = term_text(leaf, value)?;
                ctx.mark(leaf, Marked::Term(text.clone()));
                found.push(Term::from_field_text(leaf.field(), &text));
            }
            Box::new(TermSetQuery::new(found))
        }
        _ => {
            ctx.count(list.len())?;
            let queries = list
                .iter()
                .map(|value| values(ctx, leaf, value))
                .collect::<Outcome<Vec<_>>>()?;
            Box::new(BooleanQuery::union(queries))
        }
    };
    Ok(Box::new(ConstScoreQuery::new(query, boost)))
}

pub(super) fn ids(_: &Context<'_>, body: &Value) -> Outcome<Built> {
    let params = Params::from_map("ids", object_of("ids", body)?);
    let boost = params.boost()?;
    let list: Vec<String> = match params.need("values")? {
        Value::Array(values) => values.iter().filter_map(plain).collect(),
        value => plain(value).into_iter().collect(),
    };
    params.finish()?;
    Ok(boosted(by_id(&list), boost))
}

fn by_id(ids: &[String]) -> Built {
    let terms = ids
        .iter()
        .map(|id| Term::from_field_text(SystemFields::ID, id));
    Box::new(ConstScoreQuery::new(
        Box::new(TermSetQuery::new(terms)),
        1.0,
    ))
}

pub(super) fn exists(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    let params = Params::from_map("exists", object_of("exists", body)?);
    let boost = params.boost()?;
    let field = params.need_text("field")?;
    params.finish()?;
    Ok(boosted(exists_path(ctx, &field), boost))
}

/// Documents with any value in `path`, a field or an object.
pub(super) fn exists_path(ctx: &Context<'_>, path: &str) -> Built {
    if ["_id", "_index", "_source", "_seq_no", "_version"].contains(&path) {
        return Box::new(ConstScoreQuery::new(all(), 1.0));
    }
    let inside = format!("{path}.");
    let queries: Vec<Built> = if path.contains('*') {
        ctx.mapping()
            .matching(path)
            .map(|leaf| exists_leaf(leaf))
            .collect()
    } else if let Some(leaf) = ctx.mapping().leaf(path) {
        vec![exists_leaf(leaf)]
    } else {
        ctx.mapping()
            .leaves()
            .filter(|leaf| leaf.path.starts_with(&inside))
            .map(|leaf| exists_leaf(leaf))
            .collect()
    };
    if queries.is_empty() {
        return none();
    }
    Box::new(ConstScoreQuery::new(
        Box::new(BooleanQuery::union(queries)),
        1.0,
    ))
}

pub(super) fn exists_leaf(leaf: &Leaf) -> Built {
    match leaf.kind.storage() {
        Storage::Text | Storage::Completion => Box::new(TermQuery::new(
            Term::from_field_text(SystemFields::PRESENT, &leaf.slot.to_string()),
            IndexRecordOption::Basic,
        )),
        _ => Box::new(ExistsQuery::new(leaf.column(), false)),
    }
}
