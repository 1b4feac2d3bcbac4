//! Aggregations from JSON.

use serde_json::{Map, Value};

use super::params::Params;
use super::tree::{Agg, Node, Single};
use super::{cardinality, composite, date_histogram, filters, histogram, metrics, nested};
use super::{quantiles, ranges, terms, top_hits};
use crate::search_node::failure::{Failure, Outcome};

/// Aggregations in aggregations at most.
const MAX_DEPTH: usize = 10;

/// Aggregations of one request at most.
const MAX_NODES: usize = 1000;

/// Types that Elasticsearch has and this node does not.
const REFUSED: &[&str] = &[
    "adjacency_matrix",
    "auto_date_histogram",
    "avg_bucket",
    "boxplot",
    "bucket_correlation",
    "bucket_count_ks_test",
    "bucket_script",
    "bucket_selector",
    "bucket_sort",
    "categorize_text",
    "change_point",
    "children",
    "cumulative_cardinality",
    "cumulative_sum",
    "derivative",
    "diversified_sampler",
    "extended_stats_bucket",
    "frequent_item_sets",
    "geo_bounds",
    "geo_centroid",
    "geo_distance",
    "geo_line",
    "geohash_grid",
    "geohex_grid",
    "geotile_grid",
    "inference",
    "ip_prefix",
    "ip_range",
    "matrix_stats",
    "max_bucket",
    "median_absolute_deviation",
    "min_bucket",
    "moving_avg",
    "moving_fn",
    "moving_percentiles",
    "multi_terms",
    "normalize",
    "parent",
    "percentiles_bucket",
    "random_sampler",
    "rare_terms",
    "rate",
    "sampler",
    "scripted_metric",
    "serial_diff",
    "significant_terms",
    "significant_text",
    "stats_bucket",
    "string_stats",
    "sum_bucket",
    "t_test",
    "time_series",
    "top_metrics",
    "variable_width_histogram",
    "weighted_avg",
];

/// Reads the object under `aggs`.
pub(super) fn parse(json: &Value) -> Outcome<Vec<Node>> {
    let mut reader = Reader {
        count: 0,
        above: Vec::new(),
    };
    reader.all(json)
}

struct Reader {
    count: usize,
    /// Types of the aggregations around, outermost first.
    above: Vec<String>,
}

impl Reader {
    fn all(&mut self, json: &Value) -> Outcome<Vec<Node>> {
        let Value::Object(object) = json else {
            return Err(Failure::parsing(format!(
                "Expected [START_OBJECT] for aggregations, but got [{json}]"
            )));
        };
        if self.above.len() >= MAX_DEPTH {
            return Err(Failure::illegal(format!(
                "aggregations lie more than [{MAX_DEPTH}] deep"
            )));
        }
        let mut nodes = Vec::with_capacity(object.len());
        for (name, body) in object {
            nodes.push(self.one(name, body)?);
        }
        Ok(nodes)
    }

    fn one(&mut self, name: &str, body: &Value) -> Outcome<Node> {
        self.count += 1;
        if self.count > MAX_NODES {
            return Err(Failure::illegal(format!(
                "a search may have at most [{MAX_NODES}] aggregations"
            )));
        }
        if name.is_empty() || name.contains(['[', ']', '>']) {
            return Err(Failure::parsing(format!(
                "Invalid aggregation name [{name}]. Aggregation names can contain any character \
                 except '[', ']', and '>'"
            )));
        }
        let Value::Object(members) = body else {
            return Err(Failure::parsing(format!(
                "Aggregation definition for [{name}] starts with a [{body}], expected a \
                 [START_OBJECT]."
            )));
        };
        let (kind, params) = definition(name, members)?;
        self.check_place(name, kind)?;
        let subs = match (members.get("aggs"), members.get("aggregations")) {
            (None, None) => Vec::new(),
            (Some(subs), None) | (None, Some(subs)) => {
                self.above.push(kind.to_owned());
                let subs = self.all(subs)?;
                self.above.pop();
                subs
            }
            _ => {
                return Err(Failure::parsing(format!(
                    "Found two sub aggregation definitions under [{name}]"
                )));
            }
        };
        let meta = members.get("meta");
        if let Some(wrong) = meta.filter(|meta| !meta.is_object()) {
            return Err(Failure::parsing(format!(
                "[meta] of aggregation [{name}] must be an object, found [{wrong}]"
            )));
        }
        let agg = build(name, kind, params, &subs)?;
        if !subs.is_empty() && !agg.takes_subs() {
            return Err(Failure::new(
                400,
                "aggregation_initialization_exception",
                format!("Aggregator [{name}] of type [{kind}] cannot accept sub-aggregations"),
            ));
        }
        Ok(Node {
            name: name.to_owned(),
            agg,
            subs,
            meta: meta.cloned(),
        })
    }

    /// Some types stand in certain places only.
    fn check_place(&self, name: &str, kind: &str) -> Outcome<()> {
        let above = |kinds: &[&str]| self.above.iter().any(|kind| kinds.contains(&kind.as_str()));
        let nested = self
            .above
            .iter()
            .fold(false, |nested, kind| match kind.as_str() {
                "nested" => true,
                "reverse_nested" => false,
                _ => nested,
            });
        match kind {
            "global" if !self.above.is_empty() => Err(Failure::new(
                400,
                "aggregation_execution_exception",
                format!(
                    "Aggregation [{name}] cannot have a global aggregation here: global \
                     aggregations can only be at the top level"
                ),
            )),
            "composite" => {
                let wrong = |kind: &&String| kind.as_str() != "nested" && kind.as_str() != "filter";
                match self.above.iter().find(wrong) {
                    None => Ok(()),
                    Some(parent) => Err(Failure::illegal(format!(
                        "[composite] aggregation [{name}] cannot be used with a parent \
                         aggregation of type: [{parent}]"
                    ))),
                }
            }
            "reverse_nested" if !above(&["nested"]) => Err(Failure::illegal(format!(
                "Reverse nested aggregation [{name}] can not be used outside a [nested] aggregation"
            ))),
            "top_hits" if nested => Err(Failure::unsupported(format!(
                "aggregation [{name}] of type [top_hits] in a [nested] aggregation"
            ))),
            _ => Ok(()),
        }
    }
}

/// The type of an aggregation, and its parameters.
fn definition<'a>(name: &str, members: &'a Map<String, Value>) -> Outcome<(&'a str, &'a Value)> {
    let others = ["aggs", "aggregations", "meta"];
    let mut types = members
        .iter()
        .filter(|(key, _)| !others.contains(&key.as_str()));
    match (types.next(), types.next()) {
        (Some((kind, params)), None) => Ok((kind, params)),
        (None, _) => Err(Failure::parsing(format!(
            "Missing definition for aggregation [{name}]"
        ))),
        (Some((first, _)), Some((second, _))) => Err(Failure::parsing(format!(
            "Found two aggregation type definitions in [{name}]: [{first}] and [{second}]"
        ))),
    }
}

fn build(name: &str, kind: &str, body: &Value, subs: &[Node]) -> Outcome<Box<dyn Agg>> {
    if REFUSED.contains(&kind) {
        return Err(Failure::unsupported(format!(
            "aggregation [{name}] of type [{kind}]"
        )));
    }
    if kind == "filter" {
        return Ok(filters::filter(body));
    }
    let unknown = || Failure::parsing(format!("Unknown aggregation type [{kind}]"));
    let params = Params::of(name, kind, body).map_err(|why| match kind {
        _ if KNOWN.contains(&kind) => why,
        _ => unknown(),
    })?;
    let agg = match kind {
        "terms" => terms::parse(&params, subs)?,
        "date_histogram" => date_histogram::parse(&params, subs)?,
        "histogram" => histogram::parse(&params, subs)?,
        "range" | "date_range" => ranges::parse(&params)?,
        "filters" => filters::filters(&params)?,
        "missing" => filters::missing(&params)?,
        "nested" => nested::nested(&params)?,
        "reverse_nested" => nested::reverse(&params)?,
        "global" => Box::new(Single(nested::Global)),
        "avg" | "sum" | "min" | "max" | "value_count" | "stats" | "extended_stats" => {
            metrics::parse(&params)?
        }
        "cardinality" => cardinality::parse(&params)?,
        "percentiles" | "percentile_ranks" => quantiles::parse(&params)?,
        "top_hits" => top_hits::parse(&params)?,
        "composite" => composite::parse(&params)?,
        _ => return Err(unknown()),
    };
    params.finish()?;
    Ok(agg)
}

const KNOWN: &[&str] = &[
    "avg",
    "cardinality",
    "composite",
    "date_histogram",
    "date_range",
    "extended_stats",
    "filters",
    "global",
    "histogram",
    "max",
    "min",
    "missing",
    "nested",
    "percentile_ranks",
    "percentiles",
    "range",
    "reverse_nested",
    "stats",
    "sum",
    "terms",
    "top_hits",
    "value_count",
];
