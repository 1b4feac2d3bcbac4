//! Queries made of queries.

use serde_json::Value;
use tantivy::query::{BooleanQuery, ConstScoreQuery, DisjunctionMaxQuery, Occur};

use super::nested::{NestedQuery, ScoreMode};
use super::params::Params;
use super::{Built, Context, all, boosted, none, object_of};
use crate::search_node::failure::{Failure, Outcome};

/// Clauses of one bool query at most.
const MAX_BOOL: usize = 1024;

pub(super) fn boolean(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    let params = Params::from_map("bool", object_of("bool", body)?);
    let boost = params.boost()?;
    let clauses = |key: &str| -> Outcome<Vec<Built>> {
        let list: Vec<&Value> = match params.get(key) {
            None => Vec::new(),
            Some(Value::Array(many)) => many.iter().collect(),
            Some(one) => vec![one],
        };
        if list.len() > MAX_BOOL {
            return Err(Failure::new(
                400,
                "too_many_clauses",
                format!("too_many_clauses: maxClauseCount is set to {MAX_BOOL}"),
            ));
        }
        list.into_iter().map(|query| ctx.build(query)).collect()
    };
    let must = clauses("must")?;
    let filter = clauses("filter")?;
    let should = clauses("should")?;
    let must_not = without_marks(ctx, || clauses("must_not"))?;
    let wanted = params.text("minimum_should_match")?;
    params.finish()?;
    let optional = !must.is_empty() || !filter.is_empty();
    let wanted = match wanted {
        Some(spec) => minimum_should_match(&spec, should.len())?,
        None => usize::from(!optional && !should.is_empty()),
    };
    Ok(boosted(
        combine(must, filter, should, must_not, wanted),
        boost,
    ))
}

/// What must not match is not shown as a match.
pub(super) fn without_marks<T>(ctx: &Context<'_>, work: impl FnOnce() -> T) -> T {
    let before = ctx.marks.borrow().len();
    let result = work();
    ctx.marks.borrow_mut().truncate(before);
    result
}

/// A bool query of which at least `wanted` of `should` match.
pub(super) fn combine(
    must: Vec<Built>,
    filter: Vec<Built>,
    should: Vec<Built>,
    must_not: Vec<Built>,
    wanted: usize,
) -> Built {
    if wanted > should.len() {
        return none();
    }
    // Where nothing else says what matches, one of them must, whatever number was asked for.
    let optional = must.is_empty() && filter.is_empty() && !should.is_empty();
    let wanted = if optional { wanted.max(1) } else { wanted };
    let positive = !must.is_empty() || !filter.is_empty() || wanted > 0;
    let mut clauses: Vec<(Occur, Built)> = Vec::new();
    clauses.extend(must.into_iter().map(|query| (Occur::Must, query)));
    clauses.extend(filter.into_iter().map(|query| (Occur::Must, silent(query))));
    if !positive {
        // Nothing says what matches: everything does, without a score of its own when there are
        // only exclusions.
        let rest = if should.is_empty() && must_not.is_empty() {
            all()
        } else {
            silent(all())
        };
        clauses.push((Occur::Must, rest));
    }
    let has_should = !should.is_empty();
    clauses.extend(should.into_iter().map(|query| (Occur::Should, query)));
    clauses.extend(must_not.into_iter().map(|query| (Occur::MustNot, query)));
    if has_should && wanted > 0 {
        Box::new(BooleanQuery::with_minimum_required_clauses(clauses, wanted))
    } else {
        Box::new(BooleanQuery::new(clauses))
    }
}

/// The same matches with a score of 0.
pub(super) fn silent(query: Built) -> Built {
    Box::new(ConstScoreQuery::new(query, 0.0))
}

/// How many of `clauses` must match, from `2`, `-1`, `75%`, `-25%`, `3<90%` and lists of these.
pub(super) fn minimum_should_match(spec: &str, clauses: usize) -> Outcome<usize> {
    let bad = || {
        Failure::illegal(format!(
            "[minimum_should_match: {spec}] must be a number, a percentage, or conditions such as \
             [2<-25% 9<-3]"
        ))
    };
    let spec = spec.trim();
    if spec.contains('<') {
        let mut result = clauses;
        for condition in spec.split_whitespace() {
            let (above, rule) = condition.split_once('<').ok_or_else(bad)?;
            let above: usize = above.trim().parse().map_err(|_| bad())?;
            if clauses <= above {
                return Ok(result);
            }
            result = minimum_should_match(rule, clauses)?;
        }
        return Ok(result);
    }
    let total = i64::try_from(clauses).map_err(|_| bad())?;
    let number = if let Some(percent) = spec.strip_suffix('%') {
        let percent: i64 = percent.trim().parse().map_err(|_| bad())?;
        let part = total.checked_mul(percent).ok_or_else(bad)? / 100;
        if percent < 0 { total + part } else { part }
    } else {
        let number: i64 = spec.parse().map_err(|_| bad())?;
        if number < 0 {
            total.saturating_add(number)
        } else {
            number
        }
    };
    usize::try_from(number.max(0)).map_err(|_| bad())
}

pub(super) fn constant_score(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    let params = Params::from_map("constant_score", object_of("constant_score", body)?);
    let boost = params.boost()?;
    let filter = ctx.build(params.need("filter")?)?;
    params.finish()?;
    Ok(Box::new(ConstScoreQuery::new(filter, boost)))
}

pub(super) fn dis_max(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    let params = Params::from_map("dis_max", object_of("dis_max", body)?);
    let boost = params.boost()?;
    let tie = params.float("tie_breaker", 0.0)?;
    let queries = match params.need("queries")? {
        Value::Array(queries) => queries
            .iter()
            .map(|query| ctx.build(query))
            .collect::<Outcome<Vec<_>>>()?,
        one => vec![ctx.build(one)?],
    };
    params.finish()?;
    Ok(boosted(best_of(queries, tie), boost))
}

/// The best score of `queries`, and `tie` times the others.
pub(super) fn best_of(mut queries: Vec<Built>, tie: f32) -> Built {
    match queries.len() {
        0 => none(),
        1 => queries.pop().unwrap_or_else(none),
        _ => Box::new(DisjunctionMaxQuery::with_tie_breaker(queries, tie)),
    }
}

pub(super) fn nested(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    let params = Params::from_map("nested", object_of("nested", body)?);
    let boost = params.boost()?;
    let path = params.need_text("path")?;
    let mode = match params.text("score_mode")?.as_deref() {
        None | Some("avg") => ScoreMode::Avg,
        Some("sum") => ScoreMode::Sum,
        Some("max") => ScoreMode::Max,
        Some("min") => ScoreMode::Min,
        Some("none") => ScoreMode::None,
        Some(other) => {
            return Err(Failure::illegal(format!(
                "No score mode for child query [{other}] found"
            )));
        }
    };
    let ignore_unmapped = params.flag("ignore_unmapped", false)?;
    if params.get("inner_hits").is_some() {
        return Err(Failure::unsupported("[inner_hits] of query [nested]"));
    }
    let query = params.need("query")?;
    params.finish()?;
    let Some(number) = ctx.mapping().nested_number(&path) else {
        if ignore_unmapped {
            return Ok(none());
        }
        return Err(Failure::new(
            400,
            "query_shard_exception",
            format!(
                "failed to create query: [nested] failed to find nested object under path [{path}]"
            ),
        ));
    };
    let outer = ctx.scope.replace(Some(path));
    let child = ctx.build(query);
    let inner = ctx.scope.replace(outer);
    debug_assert!(inner.is_some());
    let parent = ctx
        .scope
        .borrow()
        .as_deref()
        .and_then(|path| ctx.mapping().nested_number(path));
    Ok(boosted(
        Box::new(NestedQuery::new(ctx.view, child?, number, parent, mode)),
        boost,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minimum_should_match_counts_as_elasticsearch_does() {
        for (spec, clauses, wanted) in [
            ("2", 5, 2),
            ("-1", 5, 4),
            ("75%", 5, 3),
            ("-25%", 5, 4),
            ("3<90%", 3, 3),
            ("3<90%", 10, 9),
            ("2<-25% 9<-3", 2, 2),
            ("2<-25% 9<-3", 9, 7),
            ("2<-25% 9<-3", 10, 7),
            ("-9", 5, 0),
            ("100%", 3, 3),
        ] {
            assert_eq!(
                minimum_should_match(spec, clauses).unwrap(),
                wanted,
                "{spec} {clauses}"
            );
        }
        for spec in ["", "a", "1.5", "<2", "3<", "%"] {
            assert!(minimum_should_match(spec, 4).is_err(), "{spec}");
        }
    }
}
