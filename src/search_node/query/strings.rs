//! Query strings that people type.

use serde_json::Value;

use super::compound::{best_of, combine, minimum_should_match};
use super::dictionary::{prefix_of, regex_of, wildcard_of};
use super::fuzzy::{Fuzziness, read_expansions};
use super::params::Params;
use super::range::Bounds;
use super::terms::exists_path;
use super::text::{Matching, Phrase, analyzer, fields};
use super::{Built, Context, all, boosted, none, object_of};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::query_string::{Flags, Fuzzy, Node, Operator, parse, parse_simple};

/// What a query string means, beyond its text.
struct Options {
    fields: Vec<(String, f32)>,
    matching: Matching,
    minimum: Option<String>,
    fuzziness: Fuzziness,
    phrase_slop: u32,
    tie: f32,
    allow_leading_wildcard: bool,
    zone: Option<String>,
}

pub(super) fn query_string(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    let params = Params::from_map("query_string", object_of("query_string", body)?);
    let boost = params.boost()?;
    let text = params.need_text("query")?;
    let operator = operator(&params)?;
    let mut options = options(ctx, &params)?;
    options.matching.and = operator == Operator::And;
    options.phrase_slop = u32::try_from(params.count("phrase_slop")?.unwrap_or(0))
        .map_err(|_| Failure::illegal("[phrase_slop] is too large"))?;
    options.tie = params.float("tie_breaker", 0.0)?;
    options.allow_leading_wildcard = params.flag("allow_leading_wildcard", true)?;
    options.zone = params.text("time_zone")?;
    if let Some(fuzziness) = params.text("fuzziness")? {
        options.fuzziness = Fuzziness::parse(&fuzziness)?;
    }
    params.only("type", "best_fields")?;
    params.ignore(&[
        "auto_generate_synonyms_phrase_query",
        "enable_position_increments",
        "max_determinized_states",
    ]);
    params.only("analyze_wildcard", "false")?;
    params.only("escape", "false")?;
    params.only("rewrite", "constant_score")?;
    fuzzy_rest(&params, &mut options)?;
    params.finish()?;
    let node = parse(&text, operator).map_err(|error| {
        Failure::new(
            400,
            "query_shard_exception",
            format!("Failed to parse query [{text}]: {error}"),
        )
    })?;
    Ok(boosted(
        options.node(ctx, &node, true)?.unwrap_or_else(none),
        boost,
    ))
}

pub(super) fn simple_query_string(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    let params = Params::from_map(
        "simple_query_string",
        object_of("simple_query_string", body)?,
    );
    let boost = params.boost()?;
    let text = params.need_text("query")?;
    let operator = operator(&params)?;
    let mut options = options(ctx, &params)?;
    options.matching.and = operator == Operator::And;
    let flags = match params.text("flags")? {
        None => Flags::ALL,
        Some(names) => Flags::from_names(&names).map_err(|unknown| {
            Failure::illegal(format!(
                "unknown flag [{}] of [simple_query_string]",
                unknown.0
            ))
        })?,
    };
    params.ignore(&["auto_generate_synonyms_phrase_query"]);
    params.only("analyze_wildcard", "false")?;
    fuzzy_rest(&params, &mut options)?;
    params.finish()?;
    let node = parse_simple(&text, operator, flags)
        .map_err(|error| Failure::illegal(format!("Failed to parse query [{text}]: {error}")))?;
    Ok(boosted(
        options.node(ctx, &node, true)?.unwrap_or_else(none),
        boost,
    ))
}

fn operator(params: &Params<'_>) -> Outcome<Operator> {
    match params
        .text("default_operator")?
        .map(|text| text.to_lowercase())
        .as_deref()
    {
        None | Some("or") => Ok(Operator::Or),
        Some("and") => Ok(Operator::And),
        Some(other) => Err(Failure::illegal(format!(
            "operator needs to be either AND or OR, but not [{other}]"
        ))),
    }
}

fn options(ctx: &Context<'_>, params: &Params<'_>) -> Outcome<Options> {
    let given = match (params.get("fields"), params.get("default_field")) {
        (Some(fields), _) => Some(fields),
        (None, field) => field,
    };
    let everywhere = given.is_none_or(|given| given == "*" || *given == serde_json::json!(["*"]));
    let mut matching = Matching::plain(Phrase::No);
    matching.lenient = params.flag("lenient", everywhere)?;
    if let Some(name) = params.text("analyzer")? {
        matching.analyzer = Some(analyzer(&name)?);
    }
    Ok(Options {
        fields: fields(ctx, given)?,
        matching,
        minimum: params.text("minimum_should_match")?,
        fuzziness: Fuzziness::AUTO,
        phrase_slop: 0,
        tie: 0.0,
        allow_leading_wildcard: true,
        zone: None,
    })
}

fn fuzzy_rest(params: &Params<'_>, options: &mut Options) -> Outcome<()> {
    options.fuzziness.prefix_length = params.count("fuzzy_prefix_length")?.unwrap_or(0);
    options.fuzziness.transpositions = params.flag("fuzzy_transpositions", true)?;
    options.fuzziness.expansions = read_expansions(params, "fuzzy_max_expansions")?;
    params.ignore(&["fuzzy_rewrite"]);
    Ok(())
}

impl Options {
    /// `None` when analysis leaves nothing of the clause: it then does not count.
    fn node(&self, ctx: &Context<'_>, node: &Node, top: bool) -> Outcome<Option<Built>> {
        match node {
            Node::Nothing => Ok(Some(none())),
            Node::All => Ok(Some(all())),
            Node::Exists { field } => Ok(Some(exists_path(ctx, field))),
            Node::Boosted { node, boost } => Ok(self
                .node(ctx, node, false)?
                .map(|query| boosted(query, *boost))),
            Node::Bool {
                must,
                should,
                must_not,
            } => {
                let list = |nodes: &[Node]| -> Outcome<Vec<Built>> {
                    let built = nodes.iter().map(|node| self.node(ctx, node, false));
                    built.filter_map(Outcome::transpose).collect()
                };
                let (must, should) = (list(must)?, list(should)?);
                let must_not = super::compound::without_marks(ctx, || list(must_not))?;
                if must.is_empty() && should.is_empty() && must_not.is_empty() {
                    return Ok(None);
                }
                let wanted = match &self.minimum {
                    Some(spec) if top => minimum_should_match(spec, should.len())?,
                    _ => usize::from(must.is_empty() && !should.is_empty()),
                };
                Ok(Some(combine(must, Vec::new(), should, must_not, wanted)))
            }
            Node::Text {
                field,
                text,
                quoted,
                slop,
                fuzzy,
                boost,
            } => {
                let mut matching = self.matching.clone();
                if *quoted {
                    matching.kind = Phrase::Yes;
                    matching.slop = slop.unwrap_or(self.phrase_slop);
                }
                matching.fuzziness = fuzzy.map(|fuzzy| match fuzzy {
                    Fuzzy::Auto => self.fuzziness,
                    Fuzzy::Edits(edits) => Fuzziness {
                        prefix_length: self.fuzziness.prefix_length,
                        transpositions: self.fuzziness.transpositions,
                        ..Fuzziness::edits(edits)
                    },
                });
                // Several words in one clause without quotes come from a word that analysis
                // splits: all of them belong together, as Lucene has it.
                let value = Value::from(text.as_str());
                self.over(ctx, field.as_deref(), *boost, |path| {
                    matching.field(ctx, path, &value)
                })
            }
            Node::Wildcard {
                field,
                pattern,
                boost,
            } => {
                if !self.allow_leading_wildcard && pattern.starts_with(['*', '?']) {
                    return Err(Failure::illegal(format!(
                        "'*' or '?' not allowed as first character in [{pattern}]"
                    )));
                }
                self.over(ctx, field.as_deref(), *boost, |path| {
                    let pattern = self.normal(ctx, path, pattern);
                    self.skip(wildcard_of(ctx, path, pattern, false))
                })
            }
            Node::Prefix {
                field,
                prefix,
                boost,
            } => self.over(ctx, field.as_deref(), *boost, |path| {
                let prefix = self.normal(ctx, path, prefix);
                self.skip(prefix_of(ctx, path, prefix, false))
            }),
            Node::Regex {
                field,
                pattern,
                boost,
            } => self.over(ctx, field.as_deref(), *boost, |path| {
                self.skip(regex_of(ctx, path, pattern, false))
            }),
            Node::Range {
                field,
                from,
                to,
                boost,
            } => {
                let side = |end: &Option<(String, bool)>| {
                    end.as_ref()
                        .map(|(text, closed)| (Value::from(text.as_str()), *closed))
                };
                let (low, high) = (side(from), side(to));
                self.over(ctx, field.as_deref(), *boost, |path| {
                    let bounds = Bounds {
                        low: low.as_ref().map(|(value, closed)| (value, *closed)),
                        high: high.as_ref().map(|(value, closed)| (value, *closed)),
                        format: None,
                        zone: self.zone.as_deref(),
                    };
                    self.skip(bounds.build(ctx, path))
                })
            }
        }
    }

    /// Patterns are lower-cased where the field's terms are.
    fn normal(&self, ctx: &Context<'_>, path: &str, text: &str) -> String {
        use crate::search_node::analysis::Analyzer::{English, Simple, Standard};
        let lower = ctx.mapping().leaf(path).is_some_and(|leaf| {
            let analyzer = self.matching.analyzer.unwrap_or(leaf.search_analyzer);
            matches!(analyzer, Standard | Simple | English)
        });
        if lower {
            text.to_lowercase()
        } else {
            text.to_owned()
        }
    }

    /// An error of a field that was not named is no match.
    fn skip(&self, result: Outcome<Built>) -> Outcome<Option<Built>> {
        match result {
            Ok(query) => Ok(Some(query)),
            Err(_) if self.matching.lenient => Ok(Some(none())),
            Err(failure) => Err(failure),
        }
    }

    /// The best of `build` over the clause's field, or all fields of the request.
    fn over(
        &self,
        ctx: &Context<'_>,
        field: Option<&str>,
        boost: f32,
        build: impl Fn(&str) -> Outcome<Option<Built>>,
    ) -> Outcome<Option<Built>> {
        let named;
        let fields = match field {
            None => &self.fields,
            Some(pattern) if pattern.contains('*') => {
                named = fields(ctx, Some(&Value::from(pattern)))?;
                &named
            }
            Some(path) => return Ok(build(path)?.map(|query| boosted(query, boost))),
        };
        let mut queries = Vec::new();
        for (path, factor) in fields {
            if let Some(query) = build(path)? {
                queries.push(boosted(query, *factor));
            }
        }
        if queries.is_empty() {
            return Ok(if fields.is_empty() {
                Some(none())
            } else {
                None
            });
        }
        Ok(Some(boosted(best_of(queries, self.tie), boost)))
    }
}
