//! The query DSL: from JSON to what tantivy runs, under the mapping of one index.

mod blended;
mod compound;
mod dictionary;
mod fuzzy;
mod nested;
mod params;
mod patterns;
mod range;
mod strings;
mod terms;
mod text;

use std::cell::{Cell, RefCell};
use std::time::Instant;

use serde_json::{Map, Value};
use tantivy::query::{BoostQuery, ConstScoreQuery, EmptyQuery, Query};

use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::{Kind, Leaf, Mapping};
use crate::search_node::shard::View;

pub(super) use dictionary::{TIMED_OUT, Terms, timed_out};
pub(super) use params::Params;
pub(super) use text::analyzer;

/// Queries within queries at most, as `indices.query.bool.max_nested_depth`.
const MAX_DEPTH: usize = 30;

/// Clauses of one request at most.
const MAX_CLAUSES: usize = 4096;

/// Patterns of one request at most; each takes up to some MB.
const MAX_PATTERNS: usize = 256;

/// A query that tantivy runs.
pub(super) type Built = Box<dyn Query>;

/// What a highlighter looks for in a field.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    /// The field's path.
    pub path: String,
    /// What its tokens are compared with.
    pub what: Marked,
}

/// See [`Mark`].
#[derive(Debug, Clone)]
pub(super) enum Marked {
    /// One token.
    Term(String),
    /// Tokens that fit a pattern.
    Fitting(Terms),
}

/// What building depends on.
#[derive(Debug)]
pub(super) struct Context<'a> {
    /// What is searched.
    pub view: &'a View,
    /// The index's name.
    pub index: &'a str,
    /// Now, in milliseconds since the epoch.
    pub now: i64,
    /// When the request must have ended.
    pub deadline: Instant,
    /// The nested object that the query stands in.
    scope: RefCell<Option<String>>,
    marks: RefCell<Vec<Mark>>,
    clauses: Cell<usize>,
    patterns: Cell<usize>,
    depth: Cell<usize>,
}

impl<'a> Context<'a> {
    /// For queries on `view`.
    pub(super) fn new(view: &'a View, index: &'a str, now: i64, deadline: Instant) -> Self {
        Self {
            view,
            index,
            now,
            deadline,
            scope: RefCell::new(None),
            marks: RefCell::new(Vec::new()),
            clauses: Cell::new(0),
            patterns: Cell::new(0),
            depth: Cell::new(0),
        }
    }

    /// Builds as for a query inside the nested object `path`.
    pub(super) fn within<T>(&self, path: Option<&str>, work: impl FnOnce(&Self) -> T) -> T {
        let outer = self.scope.replace(path.map(str::to_owned));
        let result = work(self);
        self.scope.replace(outer);
        result
    }

    /// Builds something beside the query: it does not count as a part of it, and is not marked.
    pub(super) fn aside<T>(&self, work: impl FnOnce(&Self) -> T) -> T {
        let before = (
            self.clauses.get(),
            self.patterns.get(),
            self.marks.borrow().len(),
        );
        let result = work(self);
        self.clauses.set(before.0);
        self.patterns.set(before.1);
        self.marks.borrow_mut().truncate(before.2);
        result
    }

    /// Counts a pattern, which takes memory until the request has ended.
    fn count_pattern(&self) -> Outcome<()> {
        let all = self.patterns.get() + 1;
        self.patterns.set(all);
        if all > MAX_PATTERNS {
            return Err(Failure::new(
                400,
                "too_many_clauses",
                format!(
                    "a request may have at most {MAX_PATTERNS} wildcards, regular expressions and \
                     fuzzy terms, each counted once a field; name fewer fields"
                ),
            ));
        }
        self.on_time()
    }

    /// Refuses to go on when the request has taken too long.
    fn on_time(&self) -> Outcome<()> {
        if Instant::now() > self.deadline {
            return Err(timed_out("make the query narrower"));
        }
        Ok(())
    }

    fn mapping(&self) -> &Mapping {
        &self.view.mapping
    }

    /// What the queries built so far look for, for highlighting.
    pub(super) fn marks(&self) -> Vec<Mark> {
        self.marks.borrow().clone()
    }

    fn mark(&self, leaf: &Leaf, what: Marked) {
        self.marks.borrow_mut().push(Mark {
            path: leaf.path.clone(),
            what,
        });
    }

    fn count(&self, clauses: usize) -> Outcome<()> {
        let all = self.clauses.get() + clauses;
        self.clauses.set(all);
        if all > MAX_CLAUSES {
            return Err(Failure::new(
                400,
                "too_many_clauses",
                format!("too_many_nested_clauses: maxClauseCount is set to {MAX_CLAUSES}"),
            ));
        }
        Ok(())
    }

    /// Builds `{"name": {…}}`.
    pub(super) fn build(&self, query: &Value) -> Outcome<Built> {
        let depth = self.depth.get();
        if depth >= MAX_DEPTH {
            return Err(Failure::illegal(format!(
                "The nested depth of the query exceeds the maximum nested depth for queries set \
                 in [indices.query.bool.max_nested_depth], which is {MAX_DEPTH}"
            )));
        }
        self.count(1)?;
        let Some(object) = query.as_object() else {
            return Err(Failure::parsing(format!(
                "[_na] query malformed, must start with start_object, found [{query}]"
            )));
        };
        let mut members = object.iter();
        let (Some((name, body)), None) = (members.next(), members.next()) else {
            return Err(Failure::parsing(if object.is_empty() {
                "query malformed, empty clause found".to_owned()
            } else {
                "[bool] malformed query, expected [END_OBJECT] but found [FIELD_NAME]: a query \
                 object names one query; put several into a bool query"
                    .to_owned()
            }));
        };
        self.depth.set(depth + 1);
        let built = self.named(name, body);
        self.depth.set(depth);
        built
    }

    fn named(&self, name: &str, body: &Value) -> Outcome<Built> {
        match name {
            "match_all" | "match_none" => {
                let params = Params::of(name, body)?;
                let boost = params.boost()?;
                params.finish()?;
                Ok(if name == "match_all" {
                    boosted(all(), boost)
                } else {
                    none()
                })
            }
            "bool" => compound::boolean(self, body),
            "constant_score" => compound::constant_score(self, body),
            "dis_max" => compound::dis_max(self, body),
            "nested" => compound::nested(self, body),
            "term" => terms::term(self, body),
            "terms" => terms::terms(self, body),
            "range" => range::range(self, body),
            "exists" => terms::exists(self, body),
            "ids" => terms::ids(self, body),
            "prefix" => dictionary::prefix(self, body),
            "wildcard" => dictionary::wildcard(self, body),
            "regexp" => dictionary::regexp(self, body),
            "fuzzy" => fuzzy::fuzzy(self, body),
            "match" => text::matching(self, body),
            "match_phrase" => text::match_phrase(self, body),
            "match_phrase_prefix" => text::match_phrase_prefix(self, body),
            "match_bool_prefix" => text::match_bool_prefix(self, body),
            "multi_match" => text::multi_match(self, body),
            "query_string" => strings::query_string(self, body),
            "simple_query_string" => strings::simple_query_string(self, body),
            _ if REFUSED.contains(&name) => Err(Failure::unsupported(format!("query [{name}]"))),
            _ => Err(Failure::parsing(format!("unknown query [{name}]"))),
        }
    }

    /// The field at `path`, when it can be searched; `None` when the mapping has none.
    fn searchable(&self, path: &str) -> Outcome<Option<&Leaf>> {
        let Some(leaf) = self.mapping().leaf(path) else {
            return Ok(None);
        };
        if leaf.kind == Kind::Completion {
            return Err(Failure::unsupported(format!(
                "a query on field [{path}] of type [completion] (there are [exists], the completion \
                 suggester, and multi-fields of type [text] or [keyword])"
            )));
        }
        if !(leaf.index || leaf.kind.is_numeric() && leaf.doc_values) {
            return Err(Failure::new(
                400,
                "query_shard_exception",
                format!(
                    "failed to create query: Cannot search on field [{path}] since it is not \
                     indexed."
                ),
            ));
        }
        Ok(Some(leaf))
    }
}

/// Queries that Elasticsearch has and this node does not.
const REFUSED: &[&str] = &[
    "boosting",
    "combined_fields",
    "common",
    "distance_feature",
    "function_score",
    "geo_bounding_box",
    "geo_distance",
    "geo_polygon",
    "geo_shape",
    "has_child",
    "has_parent",
    "intervals",
    "knn",
    "more_like_this",
    "parent_id",
    "percolate",
    "pinned",
    "rank_feature",
    "rule_query",
    "script",
    "script_score",
    "shape",
    "span_containing",
    "span_field_masking",
    "span_first",
    "span_multi",
    "span_near",
    "span_not",
    "span_or",
    "span_term",
    "span_within",
    "sparse_vector",
    "terms_set",
    "text_expansion",
    "weighted_tokens",
    "wrapper",
];

/// Every document, with a score of 1. Without the score being said, tantivy leaves it away beside
/// other clauses.
fn all() -> Built {
    constant(Box::new(tantivy::query::AllQuery), 1.0)
}

/// The same documents with this score.
fn constant(query: Built, score: f32) -> Built {
    Box::new(ConstScoreQuery::new(query, score))
}

fn none() -> Built {
    Box::new(EmptyQuery)
}

fn boosted(query: Built, boost: f32) -> Built {
    #[allow(clippy::float_cmp)]
    let plain = boost == 1.0;
    if plain {
        query
    } else {
        Box::new(BoostQuery::new(query, boost))
    }
}

/// `{"field": {…}}` or `{"field": value}`: the field, and its parameters with the value under
/// `short`.
fn field_params<'a>(
    name: &'static str,
    short: &str,
    body: &'a Value,
) -> Outcome<(&'a str, Params<'a>)> {
    let Some(object) = body.as_object() else {
        return Err(Failure::parsing(format!(
            "[{name}] query malformed, no start_object after query name"
        )));
    };
    let mut members = object.iter();
    match (members.next(), members.next()) {
        (Some((field, value)), None) => Ok((field, Params::or_value(name, short, value)?)),
        (None, _) => Err(Failure::parsing(format!("[{name}] query names no field"))),
        (Some((first, _)), Some((second, _))) => Err(Failure::parsing(format!(
            "[{name}] query doesn't support multiple fields, found [{first}] and [{second}]"
        ))),
    }
}

fn object_of<'a>(name: &str, body: &'a Value) -> Outcome<&'a Map<String, Value>> {
    body.as_object().ok_or_else(|| {
        Failure::parsing(format!(
            "[{name}] query malformed, no start_object after query name"
        ))
    })
}
