//! What aggregations of one piece of a segment work on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;
use tantivy::DocId;

use super::budget::Budget;
use super::part::Part;
use super::tree::{Node, Rows};
use super::{Host, Matches};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::{Kind, Leaf};
use crate::search_node::shard::{self, Bits};

/// Fields that every document has, which are no columns here.
const METADATA: [&str; 7] = [
    "_doc_count",
    "_id",
    "_ignored",
    "_primary_term",
    "_routing",
    "_seq_no",
    "_version",
];

/// What all pieces of an index share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub budget: Budget,
    /// What filters match in the present part, by the address of their query.
    filters: RefCell<HashMap<usize, Rc<Bits>>>,
}

impl Shared {
    /// Forgets what holds for one part only.
    pub(super) fn next_part(&self) {
        self.filters.borrow_mut().clear();
    }
}

/// See the module.
#[derive(Clone, Copy)]
pub(super) struct Ctx<'a> {
    pub host: &'a dyn Host,
    /// Number of the part.
    pub number: usize,
    /// `None` when the index has no documents.
    pub part: Option<&'a shard::Part>,
    pub shared: &'a Shared,
    /// With scores.
    matches: Matches<'a>,
    /// Whether this is the first piece of the part.
    pub first: bool,
    /// The nested object whose instances the documents are.
    pub nested: Option<&'a str>,
}

impl<'a> Ctx<'a> {
    pub(super) fn new(
        host: &'a dyn Host,
        number: usize,
        shared: &'a Shared,
        matches: Matches<'a>,
    ) -> Self {
        Self {
            host,
            number,
            part: host.view().parts.get(number),
            shared,
            matches,
            first: true,
            nested: None,
        }
    }

    /// Among instances of `path`, or among documents of their own.
    pub(super) fn within(self, path: Option<&'a str>) -> Self {
        Self {
            nested: path,
            ..self
        }
    }

    /// Among all documents, whether they were found or not.
    pub(super) fn everything(self) -> Self {
        Self {
            matches: Matches::default(),
            ..self
        }
    }

    /// The score of a document.
    pub(super) fn score(&self, doc: DocId) -> f32 {
        match self.matches.docs.binary_search(&doc) {
            Ok(at) => self.matches.scores.get(at).copied().unwrap_or(1.0),
            Err(_) => 1.0,
        }
    }

    /// The parts of all `nodes` for each bucket of `rows`.
    pub(super) fn run(&self, nodes: &[Node], rows: &Rows<'_>) -> Outcome<Vec<Vec<Part>>> {
        let mut all = Vec::new();
        all.resize_with(rows.count, Vec::new);
        if nodes.is_empty() {
            return Ok(all);
        }
        let size = size_of::<Part>() * nodes.len() * rows.count;
        self.shared.budget.charge(size)?;
        for one in &mut all {
            one.reserve_exact(nodes.len());
        }
        for node in nodes {
            self.host.check()?;
            let parts = node.agg.collect(node, self, rows)?;
            debug_assert_eq!(parts.len(), rows.count);
            for (one, part) in all.iter_mut().zip(parts) {
                one.push(part);
            }
        }
        Ok(all)
    }

    /// What `query` matches in this part; computed once.
    pub(super) fn filter(&self, query: &Value) -> Outcome<Rc<Bits>> {
        if self.part.is_none() {
            return Ok(Rc::new(Bits::empty(0)));
        }
        let address = std::ptr::from_ref(query).addr();
        if let Some(bits) = self.shared.filters.borrow().get(&address) {
            return Ok(Rc::clone(bits));
        }
        let bits = Rc::new(self.host.matching(self.number, query, self.nested)?);
        let mut filters = self.shared.filters.borrow_mut();
        filters.insert(address, Rc::clone(&bits));
        Ok(bits)
    }

    /// The field at `path` for an aggregation of type `agg`; `None` when the mapping has none.
    pub(super) fn leaf(
        &self,
        path: &str,
        agg: &str,
        takes: fn(Kind) -> bool,
    ) -> Outcome<Option<&'a Arc<Leaf>>> {
        let Some(leaf) = self.host.view().mapping.leaf(path) else {
            if METADATA.contains(&path) {
                return Err(Failure::unsupported(format!("aggregating by [{path}]")));
            }
            return Ok(None);
        };
        if leaf.kind == Kind::Text {
            return Err(Failure::illegal(format!(
                "Fielddata is disabled on [{path}] in [{}]. Text fields are not optimised for \
                 operations that require per-document field data like aggregations and sorting, so \
                 these operations are disabled by default. Please use a keyword field instead.",
                self.host.index_name()
            )));
        }
        let name = leaf.kind.name();
        if leaf.kind == Kind::Completion || !takes(leaf.kind) {
            return Err(Failure::illegal(format!(
                "Field [{path}] of type [{name}] is not supported for aggregation [{agg}]"
            )));
        }
        if !leaf.doc_values {
            return Err(Failure::illegal(format!(
                "Can't load fielddata on [{path}] because fielddata is unsupported on fields of \
                 type [{name}]. Use doc values instead."
            )));
        }
        Ok(Some(leaf))
    }
}
