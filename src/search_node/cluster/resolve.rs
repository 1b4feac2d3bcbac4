//! From an expression such as `logs-*,-logs-old,alias` to indices.

use std::sync::Arc;

use serde_json::Value;

use super::index::Index;
use super::state::Alias;
use super::{Node, now_millis};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::names;

/// What wildcards mean, and what happens to names that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lenience {
    /// Missing and closed indices that are named are passed over.
    pub ignore_unavailable: bool,
    /// It is no error when nothing is left.
    pub allow_no_indices: bool,
    /// Wildcards reach open indices.
    pub open: bool,
    /// Wildcards reach closed indices.
    pub closed: bool,
    /// Wildcards reach hidden indices.
    pub hidden: bool,
}

impl Default for Lenience {
    fn default() -> Self {
        Self {
            ignore_unavailable: false,
            allow_no_indices: true,
            open: true,
            closed: false,
            hidden: false,
        }
    }
}

/// An index that a request is about.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The index.
    pub index: Arc<Index>,
    /// Any of these queries must match; from the aliases it was reached through. Empty when it
    /// was reached by its own name or an alias without filter.
    pub filters: Vec<Value>,
}

impl Node {
    /// The indices that `expression` names, by name.
    pub(crate) fn resolve(&self, expression: &str, lenience: Lenience) -> Outcome<Vec<Target>> {
        let mut found: Vec<(Target, bool)> = Vec::new();
        let expression = if expression.is_empty() || expression == "_all" {
            "*"
        } else {
            expression
        };
        let mut wildcard_seen = false;
        for part in expression.split(',').map(str::trim) {
            if part.is_empty() {
                return Err(Failure::illegal("an empty name in the list of indices"));
            }
            if let Some(excluded) = part.strip_prefix('-')
                && wildcard_seen
            {
                found.retain(|(target, _)| !names::matches(excluded, &target.index.name));
                continue;
            }
            if part.contains('*') {
                wildcard_seen = true;
                for target in self.wildcard(part, lenience) {
                    add(&mut found, target);
                }
                continue;
            }
            let part = &*names::dated(part, now_millis())?;
            let targets = self.named(part);
            if targets.is_empty() {
                if lenience.ignore_unavailable {
                    continue;
                }
                if let Some((name, why)) = self.broken_among(part).first() {
                    return Err(unavailable(name, why));
                }
                if part.starts_with('_') {
                    return Err(Failure::new(
                        400,
                        "invalid_index_name_exception",
                        format!("Invalid index name [{part}], must not start with '_'."),
                    )
                    .with("index", part));
                }
                return Err(Failure::no_index(part));
            }
            for target in targets {
                if lenience.ignore_unavailable && !target.0.index.is_open() {
                    continue;
                }
                add(&mut found, target);
            }
        }
        if found.is_empty() && !lenience.allow_no_indices {
            return Err(Failure::no_index(expression));
        }
        let mut targets: Vec<Target> = found.into_iter().map(|(target, _)| target).collect();
        targets.sort_by(|a, b| a.index.name.cmp(&b.index.name));
        Ok(targets)
    }

    /// Indices that `expression` names, by themselves or an alias or a pattern, and that could not
    /// be opened; with the cause.
    pub(crate) fn broken_among(&self, expression: &str) -> Vec<(String, String)> {
        let inner = self.read();
        let all = ["", "_all"].contains(&expression);
        let named = |name: &str| {
            let mut parts = expression.split(',');
            all || parts.any(|part| names::matches(part.trim(), name))
        };
        inner
            .broken
            .iter()
            .filter(|(name, _)| {
                let entry = inner.state.indices.get(*name);
                let mut aliases = entry.into_iter().flat_map(|entry| entry.aliases.keys());
                named(name) || aliases.any(|alias| named(alias))
            })
            .map(|(name, why)| (name.clone(), why.clone()))
            .collect()
    }

    fn wildcard(&self, pattern: &str, lenience: Lenience) -> Vec<(Target, bool)> {
        let mut found = Vec::new();
        // A pattern that begins with a dot asks for hidden ones.
        let hidden = lenience.hidden || pattern.starts_with('.');
        let inner = self.read();
        for (name, index) in &inner.open {
            let wanted = if index.is_open() {
                lenience.open
            } else {
                lenience.closed
            };
            if !wanted {
                continue;
            }
            if names::matches(pattern, name) && (hidden || !index.settings().hidden) {
                found.push((target(index, None), true));
            }
            let aliases = inner.state.indices.get(name).map(|entry| &entry.aliases);
            for (alias, of) in aliases.into_iter().flatten() {
                let shown = hidden || of.is_hidden != Some(true);
                if shown && names::matches(pattern, alias) {
                    found.push((target(index, Some(of)), of.filter.is_none()));
                }
            }
        }
        found
    }

    /// The indices of one name: an index, or those of an alias.
    fn named(&self, name: &str) -> Vec<(Target, bool)> {
        let inner = self.read();
        if let Some(index) = inner.open.get(name) {
            return vec![(target(index, None), true)];
        }
        inner
            .state
            .indices
            .iter()
            .filter_map(|(index, entry)| {
                let alias = entry.aliases.get(name)?;
                let index = inner.open.get(index)?;
                Some((target(index, Some(alias)), alias.filter.is_none()))
            })
            .collect()
    }

    /// The one index of a name, for reading one document.
    pub(crate) fn one(&self, name: &str) -> Outcome<Arc<Index>> {
        let name = &*names::dated(name, now_millis())?;
        let mut targets = self.named(name);
        match targets.len() {
            1 => match targets.pop() {
                Some((target, _)) => Ok(target.index),
                None => Err(Failure::no_index(name)),
            },
            0 => match self.broken_among(name).first() {
                Some((name, why)) => Err(unavailable(name, why)),
                None => Err(Failure::no_index(name)),
            },
            _ => Err(Failure::illegal(format!(
                "alias [{name}] has more than one index associated with it [{}], can't execute a \
                 single index op",
                list(&targets)
            ))),
        }
    }

    /// The index that writes to `name` go to; `None` when there is none.
    pub(crate) fn write_index(&self, name: &str) -> Outcome<Option<Arc<Index>>> {
        let name = &*names::dated(name, now_millis())?;
        // Looked for before the lock is taken: what could not be opened never opens later.
        let broken = self.broken_among(name).into_iter().next();
        let inner = self.read();
        if let Some(index) = inner.open.get(name) {
            return Ok(Some(Arc::clone(index)));
        }
        let mut of_alias = Vec::new();
        for (index, entry) in &inner.state.indices {
            if let (Some(alias), Some(index)) = (entry.aliases.get(name), inner.open.get(index)) {
                if alias.is_write_index == Some(true) {
                    return Ok(Some(Arc::clone(index)));
                }
                of_alias.push((alias.is_write_index, index));
            }
        }
        // Whether the broken one was to be written to is not known, or it is.
        if let Some((name, why)) = broken {
            return Err(unavailable(&name, &why));
        }
        match of_alias.as_slice() {
            [] => Ok(None),
            [(None, index)] => Ok(Some(Arc::clone(index))),
            _ => Err(Failure::illegal(format!(
                "no write index is defined for alias [{name}]. The write index may be explicitly \
                 disabled using is_write_index=false or the alias points to multiple indices \
                 without one being designated as a write index"
            ))),
        }
    }
}

/// 503: an index is there and could not be opened.
pub(crate) fn unavailable(name: &str, why: &str) -> Failure {
    Failure::new(
        503,
        "no_shard_available_action_exception",
        format!("index [{name}] could not be opened: {why}"),
    )
    .with("index", name)
}

fn target(index: &Arc<Index>, alias: Option<&Alias>) -> Target {
    Target {
        index: Arc::clone(index),
        filters: alias
            .and_then(|alias| alias.filter.clone())
            .into_iter()
            .collect(),
    }
}

/// Adds a target; one that was reached without a filter has none any more.
fn add(found: &mut Vec<(Target, bool)>, (target, free): (Target, bool)) {
    match found
        .iter_mut()
        .find(|(known, _)| known.index.name == target.index.name)
    {
        None => found.push((target, free)),
        Some((known, known_free)) => {
            if free || *known_free {
                known.filters.clear();
                *known_free = true;
            } else {
                known.filters.extend(target.filters);
            }
        }
    }
}

fn list(targets: &[(Target, bool)]) -> String {
    let names: Vec<&str> = targets
        .iter()
        .map(|(target, _)| target.index.name.as_str())
        .collect();
    names.join(", ")
}
