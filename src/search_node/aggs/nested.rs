//! `nested`, `reverse_nested` and `global`: other documents than those that were found.
//!
//! Instances of nested objects lie directly before the document or the instance that they are
//! in.

use tantivy::DocId;

use super::PIECE;
use super::buckets::Spread;
use super::context::Ctx;
use super::params::Params;
use super::part::{self, Part};
use super::tree::{Agg, Choose, Node, Rows, Single};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::{Mapping, Property};
use crate::search_node::shard;

/// `nested`: instances of a nested object in the documents.
#[derive(Debug)]
struct Nested {
    path: String,
}

/// Reads `nested`.
pub(super) fn nested(params: &Params<'_>) -> Outcome<Box<dyn Agg>> {
    params.need("path")?;
    Ok(Box::new(Single(Nested {
        path: params.text("path")?.unwrap_or_default().to_owned(),
    })))
}

/// The numbers of the nested objects that lie in `path`, or in documents.
fn inside(mapping: &Mapping, path: Option<&str>) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut open = vec![(String::new(), &mapping.root)];
    while let Some((prefix, object)) = open.pop() {
        for (name, property) in &object.properties {
            let Property::Object(inner) = property else {
                continue;
            };
            let name = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            let is_in = path.is_none_or(|path| {
                let rest = name.strip_prefix(path);
                rest.is_some_and(|rest| rest.starts_with('.'))
            });
            if is_in {
                numbers.extend(mapping.nested_number(&name));
            }
            open.push((name, inner));
        }
    }
    numbers
}

/// The number of a document's nested object, 0 when it is one of its own.
fn nest_of(part: &shard::Part, doc: DocId) -> u64 {
    let nest = part.segment.nest.as_ref();
    nest.and_then(|nest| nest.first(doc)).unwrap_or(0)
}

impl Choose for Nested {
    fn choose(&self, node: &Node, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Vec<Part>> {
        let mapping = &ctx.host.view().mapping;
        let number = mapping.nested_number(&self.path);
        if number.is_none() && mapping.is_object(&self.path) {
            return Err(Failure::new(
                400,
                "aggregation_execution_exception",
                format!("[nested] nested path [{}] is not nested", self.path),
            ));
        }
        let mut spread = Spread::new(node, rows.count, rows.docs.len());
        if let (Some(number), Some(part)) = (number, ctx.part) {
            let inside = inside(mapping, ctx.nested);
            for (doc, owner) in rows.docs.iter().zip(rows.owners) {
                let mut first = *doc;
                while first > 0 && inside.contains(&nest_of(part, first - 1)) {
                    first -= 1;
                }
                for child in first..*doc {
                    if nest_of(part, child) == number {
                        spread.add(child, *owner as usize);
                    }
                }
            }
        }
        spread.singles(node, &ctx.within(Some(&self.path)))
    }
}

/// `reverse_nested`: what the instances are in.
#[derive(Debug)]
struct Reverse {
    path: Option<String>,
}

/// Reads `reverse_nested`.
pub(super) fn reverse(params: &Params<'_>) -> Outcome<Box<dyn Agg>> {
    Ok(Box::new(Single(Reverse {
        path: params.text("path")?.map(str::to_owned),
    })))
}

impl Choose for Reverse {
    fn choose(&self, node: &Node, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Vec<Part>> {
        let mapping = &ctx.host.view().mapping;
        let number = self.path.as_deref().map(|path| mapping.nested_number(path));
        if number == Some(None)
            && self
                .path
                .as_deref()
                .is_some_and(|path| mapping.is_object(path))
        {
            return Err(Failure::new(
                400,
                "aggregation_execution_exception",
                format!(
                    "[reverse_nested] nested path [{}] is not nested",
                    self.path.as_deref().unwrap_or_default()
                ),
            ));
        }
        let mut spread = Spread::new(node, rows.count, rows.docs.len());
        // Instances of one document follow each other.
        let mut last = vec![None; rows.count];
        if let Some(part) = ctx.part {
            for (doc, owner) in rows.docs.iter().zip(rows.owners) {
                let Some(root) = part.roots.next(*doc) else {
                    continue;
                };
                let outer = match number {
                    None => Some(root),
                    Some(None) => None,
                    Some(Some(number)) => {
                        (*doc..root).find(|outer| nest_of(part, *outer) == number)
                    }
                };
                let last = &mut last[*owner as usize];
                if let Some(outer) = outer
                    && *last != Some(outer)
                {
                    *last = Some(outer);
                    spread.add(outer, *owner as usize);
                }
            }
        }
        spread.singles(node, &ctx.within(self.path.as_deref()))
    }
}

/// `global`: all documents.
#[derive(Debug)]
pub(super) struct Global;

impl Choose for Global {
    fn choose(&self, node: &Node, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Vec<Part>> {
        let mut all = vec![Part::Single(0, Vec::new())];
        // Each part once, whatever was found in it.
        let docs: Vec<DocId> = match ctx.part {
            Some(part) if ctx.first => part.roots.iter().collect(),
            _ => Vec::new(),
        };
        let mut ctx = ctx.everything();
        let budget = &ctx.shared.budget;
        let before = budget.used();
        let pieces = docs
            .chunks(PIECE)
            .chain(docs.is_empty().then_some(&docs[..]));
        for piece in pieces {
            let mut spread = Spread::new(node, 1, piece.len());
            for doc in piece {
                spread.add(*doc, 0);
            }
            let parts = spread.singles(node, &ctx)?;
            part::merge_all(std::slice::from_ref(node), &mut all, parts)?;
            budget.reset(before + part::bytes_of(&all))?;
            ctx.first = false;
        }
        debug_assert_eq!(rows.count, 1);
        Ok(all)
    }
}
