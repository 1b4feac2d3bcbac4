//! `filter`, `filters` and `missing`: buckets of what queries match.

use serde_json::{Map, Value};

use super::bounds::with_buckets;
use super::buckets::Spread;
use super::context::Ctx;
use super::params::Params;
use super::part::{Fixed, Part};
use super::source::{Source, anything};
use super::target::Target;
use super::tree::{Agg, Choose, End, Node, Rows, Single};
use crate::search_node::failure::{Failure, Outcome};

/// `filter`: documents that match a query.
#[derive(Debug)]
struct Filter {
    query: Value,
}

/// `filter`, whose body is the query itself.
pub(super) fn filter(query: &Value) -> Box<dyn Agg> {
    Box::new(Single(Filter {
        query: query.clone(),
    }))
}

impl Choose for Filter {
    fn choose(&self, node: &Node, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Vec<Part>> {
        let bits = ctx.filter(&self.query)?;
        let mut spread = Spread::new(node, rows.count, rows.docs.len());
        for (doc, owner) in rows.docs.iter().zip(rows.owners) {
            if bits.contains(*doc) {
                spread.add(*doc, *owner as usize);
            }
        }
        spread.singles(node, ctx)
    }
}

/// `filters`: a bucket for each query.
#[derive(Debug)]
struct Filters {
    /// With names, or by position.
    queries: Vec<(Option<String>, Value)>,
    /// Name of the bucket of all other documents.
    other: Option<String>,
    keyed: bool,
}

/// Reads `filters`.
pub(super) fn filters(params: &Params<'_>) -> Outcome<Box<dyn Agg>> {
    let filters = params.need("filters")?;
    let (queries, named) = match filters {
        Value::Object(named) => {
            let named = named.iter();
            let mut queries: Vec<_> = named
                .map(|(name, query)| (Some(name.clone()), query.clone()))
                .collect();
            queries.sort_by(|a, b| a.0.cmp(&b.0));
            (queries, true)
        }
        Value::Array(list) => (
            list.iter().map(|query| (None, query.clone())).collect(),
            false,
        ),
        other => return Err(params.bad("filters", other, "an object or a list of queries")),
    };
    if queries.is_empty() {
        return Err(Failure::illegal(format!(
            "[filters] cannot be empty in [{}]",
            params.name
        )));
    }
    let key = params.text("other_bucket_key")?;
    let wanted = params.flag("other_bucket", key.is_some())?;
    Ok(Box::new(Filters {
        queries,
        other: wanted.then(|| key.unwrap_or("_other_").to_owned()),
        keyed: params.flag("keyed", true)? && named,
    }))
}

impl Agg for Filters {
    fn collect(&self, node: &Node, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Vec<Part>> {
        let bits = self.queries.iter().map(|(_, query)| ctx.filter(query));
        let bits = bits.collect::<Outcome<Vec<_>>>()?;
        let count = bits.len() + usize::from(self.other.is_some());
        let all = count.saturating_mul(rows.count);
        ctx.shared
            .budget
            .charge(all.saturating_mul(size_of::<(u64, Vec<Part>)>()))?;
        let mut spread = Spread::new(node, all, rows.docs.len());
        for (doc, owner) in rows.docs.iter().zip(rows.owners) {
            let first = *owner as usize * count;
            let mut any = false;
            for (at, bits) in bits.iter().enumerate() {
                if bits.contains(*doc) {
                    any = true;
                    spread.add(*doc, first + at);
                }
            }
            if !any && self.other.is_some() {
                spread.add(*doc, first + bits.len());
            }
        }
        let mut buckets = spread.run(node, ctx)?.into_iter();
        let part = |_| {
            Part::Fixed(Box::new(Fixed {
                buckets: buckets.by_ref().take(count).collect(),
                ..Fixed::default()
            }))
        };
        Ok((0..rows.count).map(part).collect())
    }

    fn finish(&self, node: &Node, part: Part, end: &End<'_>) -> Outcome<Map<String, Value>> {
        let fixed = match part {
            Part::Fixed(fixed) => *fixed,
            _ => Fixed::default(),
        };
        let mut buckets = fixed.buckets.into_iter();
        let mut rendered = Vec::new();
        let named = self.queries.iter().any(|(name, _)| name.is_some());
        let queries = self.queries.iter().map(|(name, _)| name.as_deref());
        for name in queries.chain(self.other.as_deref().map(Some)) {
            end.bucket()?;
            let (count, subs) = buckets.next().unwrap_or_default();
            let name = name.unwrap_or_default().to_owned();
            let mut object = Map::new();
            if named && !self.keyed {
                object.insert("key".to_owned(), name.clone().into());
            }
            object.insert("doc_count".to_owned(), count.into());
            end.render(&node.subs, subs, &mut object)?;
            rendered.push((name, Value::Object(object)));
        }
        Ok(with_buckets(rendered, self.keyed))
    }
}

/// `missing`: documents without a value.
#[derive(Debug)]
struct Missing {
    target: Target,
}

/// Reads `missing`.
pub(super) fn missing(params: &Params<'_>) -> Outcome<Box<dyn Agg>> {
    params.refuse(&["missing"])?;
    Ok(Box::new(Single(Missing {
        target: Target::parse(params)?,
    })))
}

impl Choose for Missing {
    fn choose(&self, node: &Node, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Vec<Part>> {
        let source = Source::open(ctx, &self.target, "missing", anything)?;
        let mut spread = Spread::new(node, rows.count, rows.docs.len());
        for (doc, owner) in rows.docs.iter().zip(rows.owners) {
            if !source.has(*doc) {
                spread.add(*doc, *owner as usize);
            }
        }
        spread.singles(node, ctx)
    }
}
