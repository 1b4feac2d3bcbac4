//! What aggregations ask of the index that they look at.

use serde_json::{Value, json};
use tantivy::DocId;

use super::collect::{Place, check, documents, silent_weight};
use super::request::Request;
use super::{Source, fetch};
use crate::search_node::aggs::Host;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::query::Context;
use crate::search_node::shard::{Bits, View};

/// See the module.
pub(super) struct IndexHost<'a, 'b> {
    pub(super) source: &'a Source,
    pub(super) context: &'a Context<'b>,
}

impl Host for IndexHost<'_, '_> {
    fn view(&self) -> &View {
        &self.source.view
    }

    fn index_name(&self) -> &str {
        &self.source.index.name
    }

    fn now(&self) -> i64 {
        self.context.now
    }

    fn matching(&self, part: usize, query: &Value, nested: Option<&str>) -> Outcome<Bits> {
        let view = &self.source.view;
        let Some(part) = view.parts.get(part) else {
            return Err(Failure::internal("a part of another view"));
        };
        let weight = self.context.aside(|context| {
            context.within(nested, |context| silent_weight(context, view, query))
        })?;
        documents(weight.as_ref(), part)
    }

    fn hit(&self, part: usize, doc: DocId, score: f32, options: &Value) -> Outcome<Value> {
        let body = match options {
            Value::Object(_) => options.clone(),
            _ => json!({}),
        };
        let request = Request::parse(&body)?;
        if request.highlight.is_some() {
            return Err(Failure::unsupported(
                "[highlight] of aggregation [top_hits]",
            ));
        }
        let place = Place {
            source: 0,
            part,
            doc,
            score,
            keys: Vec::new(),
        };
        let hit = fetch::hit(std::slice::from_ref(self.source), &[], &request, &place)?;
        serde_json::to_value(hit).map_err(|error| Failure::internal(error.to_string()))
    }

    fn check(&self) -> Outcome<()> {
        check(self.context.deadline)
    }
}
