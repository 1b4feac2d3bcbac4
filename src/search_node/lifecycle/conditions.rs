//! When an index is followed by a new one.

use serde_json::{Map, Value};

use crate::search_node::dates::parse_duration_millis;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::text;
use crate::search_node::sizes::parse_bytes;

/// What a condition measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Age,
    Docs,
    Bytes,
}

/// All conditions; an index has one shard, so that its figures are those of its primary shard.
const KNOWN: [(&str, Measure); 10] = [
    ("max_age", Measure::Age),
    ("max_docs", Measure::Docs),
    ("max_primary_shard_docs", Measure::Docs),
    ("max_size", Measure::Bytes),
    ("max_primary_shard_size", Measure::Bytes),
    ("min_age", Measure::Age),
    ("min_docs", Measure::Docs),
    ("min_primary_shard_docs", Measure::Docs),
    ("min_size", Measure::Bytes),
    ("min_primary_shard_size", Measure::Bytes),
];

/// What an index is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Milliseconds since it was made.
    pub age: u64,
    /// Documents that searches see.
    pub docs: u64,
    /// Bytes of its segments.
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    name: &'static str,
    text: String,
    measure: Measure,
    limit: u64,
}

/// Conditions of a rollover.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Conditions(Vec<Condition>);

impl Conditions {
    /// Reads `{"max_age": "31d", ...}`; `of` names what has them.
    pub(crate) fn parse(of: &str, body: &Value) -> Outcome<Self> {
        let object = match body {
            Value::Null => return Ok(Self::default()),
            Value::Object(object) => object,
            other => {
                return Err(Failure::parsing(format!(
                    "[{of}] must be an object, found [{other}]"
                )));
            }
        };
        let mut conditions = Vec::new();
        for (key, value) in object {
            let Some((name, measure)) = KNOWN.iter().find(|(name, _)| name == key) else {
                return Err(Failure::parsing(format!("[{of}] unknown field [{key}]")));
            };
            if value.is_null() {
                continue;
            }
            let text = text(value);
            let (limit, wanted) = match measure {
                Measure::Age => (parse_duration_millis(&text).ok(), "a time such as [31d]"),
                Measure::Docs => (text.parse().ok(), "a whole number of at least 0"),
                Measure::Bytes => (parse_bytes(&text), "a size such as [5gb]"),
            };
            let limit = limit.ok_or_else(|| {
                Failure::illegal(format!(
                    "failed to parse [{key}] of [{of}] with value [{text}]: it must be {wanted}"
                ))
            })?;
            conditions.push(Condition {
                name,
                text,
                measure: *measure,
                limit,
            });
        }
        let is_max = |condition: &Condition| condition.name.starts_with("max_");
        if !conditions.is_empty() && !conditions.iter().any(is_max) {
            return Err(Failure::illegal(format!(
                "at least one max_* rollover condition must be set in [{of}] when using min_* \
                 conditions"
            )));
        }
        Ok(Self(conditions))
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a least number of documents is asked for.
    pub(crate) fn has_min_docs(&self) -> bool {
        let mut names = self.0.iter().map(|condition| condition.name);
        names.any(|name| name == "min_docs" || name == "min_primary_shard_docs")
    }

    /// As they were given, for showing.
    pub(crate) fn json(&self) -> Value {
        let pair = |condition: &Condition| {
            let value = match condition.measure {
                Measure::Docs => condition.limit.into(),
                _ => condition.text.clone().into(),
            };
            (condition.name.to_owned(), value)
        };
        Value::Object(self.0.iter().map(pair).collect::<Map<_, _>>())
    }

    /// Each condition as `[max_age: 31d]`, and whether it is met.
    pub(crate) fn results(&self, figures: Figures) -> Vec<(String, bool)> {
        let result = |condition: &Condition| {
            (
                format!("[{}: {}]", condition.name, condition.text),
                condition.is_met(figures),
            )
        };
        self.0.iter().map(result).collect()
    }

    /// Whether all `min_*` and any `max_*` are met, or there are none at all.
    pub(crate) fn are_met(&self, figures: Figures) -> bool {
        let (max, min): (Vec<_>, Vec<_>) = self
            .0
            .iter()
            .partition(|condition| condition.name.starts_with("max_"));
        self.0.is_empty()
            || (min.iter().all(|condition| condition.is_met(figures))
                && max.iter().any(|condition| condition.is_met(figures)))
    }
}

impl Condition {
    fn is_met(&self, figures: Figures) -> bool {
        let figure = match self.measure {
            Measure::Age => figures.age,
            Measure::Docs => figures.docs,
            Measure::Bytes => figures.bytes,
        };
        figure >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FIGURES: Figures = Figures {
        age: 86_400_000,
        docs: 100,
        bytes: 5 << 20,
    };

    #[test]
    fn any_max_and_all_min_conditions_lead_to_a_rollover() {
        for (body, met) in [
            (json!({}), true),
            (json!({"max_age": "1d"}), true),
            (json!({"max_age": "2d"}), false),
            (json!({"max_docs": 100}), true),
            (json!({"max_docs": "101", "max_size": "5mb"}), true),
            (json!({"max_primary_shard_size": "6mb"}), false),
            (json!({"max_primary_shard_docs": 1, "min_docs": 101}), false),
            (
                json!({"max_docs": 1, "min_age": "1h", "min_size": "1mb"}),
                true,
            ),
            (
                json!({"max_docs": 1, "min_age": "1h", "min_size": "1gb"}),
                false,
            ),
        ] {
            let conditions = Conditions::parse("conditions", &body).unwrap();
            assert_eq!(conditions.are_met(FIGURES), met, "{body}");
        }
    }

    #[test]
    fn conditions_that_mean_nothing_are_refused_by_name() {
        for (body, said) in [
            (json!({"max_dogs": 1}), "max_dogs"),
            (json!({"max_age": "soon"}), "max_age"),
            (json!({"max_docs": -1}), "max_docs"),
            (json!({"max_size": "big"}), "max_size"),
            (json!({"min_docs": 1}), "at least one max_*"),
            (json!([]), "must be an object"),
        ] {
            let failure = Conditions::parse("conditions", &body).unwrap_err();
            assert!(failure.reason.contains(said), "{failure}");
        }
    }

    #[test]
    fn results_name_each_condition_as_it_was_given() {
        let body = json!({"max_age": "7d", "max_docs": 100});
        let conditions = Conditions::parse("conditions", &body).unwrap();
        let shown = conditions.results(FIGURES);
        assert!(shown.contains(&("[max_age: 7d]".to_owned(), false)));
        assert!(shown.contains(&("[max_docs: 100]".to_owned(), true)));
    }
}
