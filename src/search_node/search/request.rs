//! The body of a search.

use std::time::Duration;

use serde_json::{Value, json};

use super::fetch::SourceFilter;
use super::highlight::Highlight;
use super::sort::{SortSpec, parse_sort};
use crate::search_node::aggs::Aggs;
use crate::search_node::dates::parse_duration_millis;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::query::Params;
use crate::search_node::suggest::Suggest;

/// How exactly hits are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Track {
    /// Not at all.
    No,
    /// Up to this many.
    To(u64),
    /// All of them.
    All,
}

impl Track {
    pub(super) fn show(self, total: u64) -> Option<Value> {
        match self {
            Track::No => None,
            Track::To(limit) if total > limit => Some(json!({"value": limit, "relation": "gte"})),
            _ => Some(json!({"value": total, "relation": "eq"})),
        }
    }

    /// From a flag or a number.
    pub(crate) fn parse(value: &Value) -> Outcome<Self> {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match text.as_str() {
            "true" => Ok(Track::All),
            "false" | "-1" => Ok(Track::No),
            number => number.parse().map(Track::To).map_err(|_| {
                Failure::illegal(format!(
                    "[track_total_hits] parameter must be positive or equals to -1, got [{text}]"
                ))
            }),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Request {
    /// What must match.
    pub query: Option<Value>,
    /// What hits must match besides; aggregations do not look at it.
    pub post_filter: Option<Value>,
    /// Hits to pass over.
    pub from: usize,
    /// Hits to show.
    pub size: usize,
    /// The order; by score when empty.
    pub sort: Vec<SortSpec>,
    /// Sort values of the last hit of the page before.
    pub search_after: Option<Vec<Value>>,
    /// How exactly hits are counted.
    pub track: Track,
    /// Whether scores are worked out although they do not decide the order.
    pub track_scores: bool,
    /// Hits below are left out.
    pub min_score: Option<f32>,
    /// What is shown of a document.
    pub source: SourceFilter,
    /// Whether versions are shown.
    pub version: bool,
    /// Whether sequence numbers are shown.
    pub seq_no: bool,
    /// Time limit.
    pub timeout: Option<Duration>,
    /// Aggregations.
    pub aggs: Option<Aggs>,
    /// What is marked in hits.
    pub highlight: Option<Highlight>,
    /// What is suggested beside the hits.
    pub suggest: Option<Suggest>,
    /// The point in time to search, and how long it is kept further.
    pub pit: Option<(String, Option<String>)>,
}

impl Request {
    /// Reads the body.
    pub(crate) fn parse(body: &Value) -> Outcome<Self> {
        let params = Params::of("search", body)?;
        for key in [
            "fields",
            "docvalue_fields",
            "stored_fields",
            "script_fields",
            "runtime_mappings",
            "rescore",
            "collapse",
            "knn",
            "slice",
            "indices_boost",
            "rank",
        ] {
            if params.get(key).is_some() {
                return Err(Failure::unsupported(format!("[{key}] of a search")));
            }
        }
        params.only("explain", "false")?;
        params.only("profile", "false")?;
        params.ignore(&["stats"]);
        params.only("terminate_after", "0")?;
        let aggs = match (params.get("aggs"), params.get("aggregations")) {
            (Some(_), Some(_)) => {
                return Err(Failure::parsing(
                    "a search has [aggs] or [aggregations], not both",
                ));
            }
            (Some(aggs), None) | (None, Some(aggs)) => Some(Aggs::parse(aggs)?),
            (None, None) => None,
        };
        let timeout = match params.text("timeout")? {
            None => None,
            Some(text) if text == "-1" => None,
            Some(text) => Some(Duration::from_millis(
                parse_duration_millis(&text)
                    .map_err(|error| Failure::illegal(error.to_string()))?,
            )),
        };
        let pit = match params.get("pit") {
            None => None,
            Some(pit) => {
                let pit = Params::of("pit", pit)?;
                let id = pit.need_text("id")?;
                let keep = pit.text("keep_alive")?;
                pit.finish()?;
                Some((id, keep))
            }
        };
        let search_after = match params.get("search_after") {
            None => None,
            Some(Value::Array(values)) => Some(values.clone()),
            Some(other) => return Err(params.bad("search_after", other, "a list of values")),
        };
        let request = Self {
            query: params.get("query").cloned(),
            post_filter: params.get("post_filter").cloned(),
            from: params.count("from")?.unwrap_or(0),
            size: params.count("size")?.unwrap_or(10),
            sort: params
                .get("sort")
                .map(parse_sort)
                .transpose()?
                .unwrap_or_default(),
            search_after,
            track: match params.get("track_total_hits") {
                None => Track::To(10_000),
                Some(value) => Track::parse(value)?,
            },
            track_scores: params.flag("track_scores", false)?,
            min_score: match params.get("min_score") {
                None => None,
                Some(_) => Some(params.float("min_score", 0.0)?),
            },
            source: match params.get("_source") {
                None => SourceFilter::all(),
                Some(value) => SourceFilter::parse(value)?,
            },
            version: params.flag("version", false)?,
            seq_no: params.flag("seq_no_primary_term", false)?,
            timeout,
            aggs: aggs.filter(|aggs| !aggs.is_empty()),
            highlight: params.get("highlight").map(Highlight::parse).transpose()?,
            suggest: params.get("suggest").map(Suggest::parse).transpose()?,
            pit,
        };
        params.finish()?;
        let mut request = request;
        let by_place = request.sort.iter().any(SortSpec::is_shard_doc);
        match (&request.pit, by_place) {
            (None, true) => {
                return Err(Failure::illegal(
                    "[_shard_doc] sort field cannot be used without [point in time]",
                ));
            }
            (Some(_), false) if !request.sort.is_empty() => {
                request.sort.push(SortSpec::shard_doc());
            }
            _ => {}
        }
        request.check_after()?;
        Ok(request)
    }

    fn check_after(&self) -> Outcome<()> {
        let Some(after) = &self.search_after else {
            return Ok(());
        };
        if self.from > 0 {
            return Err(Failure::illegal(
                "`from` parameter must be set to 0 when `search_after` is used.",
            ));
        }
        let keys = self.sort.len().max(1);
        // The last key of a point in time may have been left to the node.
        let by_place = self.sort.last().is_some_and(SortSpec::is_shard_doc);
        if after.len() != keys && !(by_place && after.len() + 1 == keys) {
            return Err(Failure::illegal(format!(
                "search_after has {} value(s) but sort has {keys}.",
                after.len()
            )));
        }
        Ok(())
    }

    pub(super) fn check_window(&self, window: usize) -> Outcome<()> {
        let end = self.from.saturating_add(self.size);
        if end > window {
            return Err(Failure::illegal(format!(
                "Result window is too large, from + size must be less than or equal to: [{window}] \
                 but was [{end}]. See the scroll api for a more efficient way to request large \
                 data sets. This limit can be set by changing the [index.max_result_window] index \
                 level setting."
            )));
        }
        Ok(())
    }

    /// Whether nothing is searched: suggestions alone come without hits.
    pub(crate) fn is_suggest_only(&self) -> bool {
        self.suggest.is_some() && self.query.is_none() && self.aggs.is_none()
    }

    /// Whether the best score is shown.
    pub(super) fn shows_best(&self) -> bool {
        let first = self.sort.first();
        self.size > 0 && (self.track_scores || first.is_none_or(SortSpec::is_score))
    }

    /// Whether scores are needed.
    pub(crate) fn wants_scores(&self) -> bool {
        self.sort.is_empty()
            || self.track_scores
            || self.min_score.is_some()
            || self.sort.iter().any(SortSpec::is_score)
    }
}
