//! A new index takes the place of the one that an alias writes to.

use std::sync::Arc;

use serde_json::Value;

use super::settings::{Operation, PROVIDED_NAME};
use super::state::{Alias, State};
use super::{Index, Node, aliases, now_millis, unavailable};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::lifecycle::{Conditions, Figures, next_name};
use crate::search_node::names;

/// What is wanted of a rollover.
#[derive(Debug, Default)]
pub(crate) struct Rollover {
    /// The alias.
    pub alias: String,
    /// Name of the new index; the old one's says it otherwise.
    pub name: Option<String>,
    /// When it is done.
    pub conditions: Conditions,
    /// Settings, mappings and aliases of the new index, as for making one.
    pub body: Value,
    /// Nothing is done.
    pub dry_run: bool,
}

/// What became of a rollover.
#[derive(Debug)]
pub(crate) struct Rolled {
    /// The index that was written to.
    pub old: String,
    /// The index that is, or would be, written to.
    pub new: String,
    /// Each condition, and whether it is met.
    pub results: Vec<(String, bool)>,
    /// Whether it was done.
    pub done: bool,
}

/// The index that an alias writes to, and whether the alias says so itself.
struct Writer {
    index: Arc<Index>,
    explicit: bool,
}

/// What an index is measured by.
pub(super) fn figures(index: &Index, now: i64) -> Figures {
    let view = index.shard.view();
    Figures {
        age: u64::try_from(now.saturating_sub(index.created)).unwrap_or(0),
        docs: view.docs,
        bytes: view.bytes,
    }
}

impl Node {
    /// Does a rollover, or says that its conditions are not met yet.
    pub(crate) fn roll_over(&self, wanted: &Rollover) -> Outcome<Rolled> {
        let now = now_millis();
        let alias = wanted.alias.as_str();
        let writer = self.writer_of(alias)?;
        let old = &writer.index;
        old.check(Operation::Metadata)?;
        let next = if let Some(name) = &wanted.name {
            (name.clone(), name.clone())
        } else {
            let settings = old.settings();
            let provided = settings.flat.get(PROVIDED_NAME).unwrap_or(&old.name);
            let next = next_name(&old.name, provided, now, |name| self.is_taken(name))?;
            (next.name, next.provided)
        };
        let (name, provided) = (names::dated(&next.0, now)?, next.1);
        names::check(&name)?;
        if self
            .plan_index(&name, &Value::Null)?
            .aliases
            .contains_key(alias)
        {
            return Err(Failure::illegal(format!(
                "Rollover alias [{alias}] can point to multiple indices, found duplicated alias \
                 [[{alias}]] in the index template of [{name}]"
            )));
        }
        let figures = figures(old, now);
        let mut rolled = Rolled {
            old: old.name.clone(),
            new: name.to_string(),
            results: wanted.conditions.results(figures),
            done: false,
        };
        if wanted.dry_run || !wanted.conditions.are_met(figures) {
            return Ok(rolled);
        }
        self.create_with(&name, &provided, &wanted.body, |state| {
            swap(state, alias, &writer, &name, now)
        })?;
        rolled.done = true;
        Ok(rolled)
    }

    fn is_taken(&self, name: &str) -> bool {
        let inner = self.read();
        inner.state.indices.contains_key(name) || inner.state.is_alias(name)
    }

    fn writer_of(&self, alias: &str) -> Outcome<Writer> {
        let inner = self.read();
        if inner.state.indices.contains_key(alias) {
            return Err(Failure::illegal(
                "rollover target is a [concrete index] but one of [alias,data_stream] was expected",
            ));
        }
        let of_alias: Vec<_> = inner
            .state
            .indices
            .iter()
            .filter_map(|(name, entry)| Some((name, entry.aliases.get(alias)?.is_write_index)))
            .collect();
        let named = of_alias.iter().find(|(_, writes)| *writes == Some(true));
        let (name, explicit) = match (named, of_alias.as_slice()) {
            (Some((name, _)), _) => (*name, true),
            (None, [(name, None)]) => (*name, false),
            (None, []) => {
                return Err(Failure::illegal(format!(
                    "rollover target [{alias}] does not exist"
                )));
            }
            _ => {
                return Err(Failure::illegal(format!(
                    "rollover target [{alias}] does not point to a write index"
                )));
            }
        };
        let index = inner.open.get(name).map(Arc::clone);
        let index = index.ok_or_else(|| {
            let why = inner.broken.get(name).map_or("", String::as_str);
            unavailable(name, why)
        })?;
        Ok(Writer { index, explicit })
    }

    /// The name of the index that `alias` writes to.
    pub(super) fn writer_name(&self, alias: &str) -> Outcome<String> {
        Ok(self.writer_of(alias)?.index.name.clone())
    }
}

/// Lets `alias` write to the index `new`.
fn swap(state: &mut State, alias: &str, writer: &Writer, new: &str, now: i64) -> Outcome<()> {
    let old = &writer.index;
    let entry = state.indices.get_mut(&old.name);
    let entry = entry.filter(|entry| entry.uuid == old.uuid);
    let was = entry.as_ref().and_then(|entry| entry.aliases.get(alias));
    let still = was.is_some_and(|was| (was.is_write_index == Some(true)) == writer.explicit);
    let (Some(entry), true) = (entry, still) else {
        return Err(Failure::new(
            409,
            "illegal_state_exception",
            format!(
                "alias [{alias}] does not write to [{}] any more, it was changed in this moment; \
                 try again",
                old.name
            ),
        ));
    };
    let mut of_new = Alias::default();
    if writer.explicit {
        if let Some(was) = entry.aliases.get_mut(alias) {
            was.is_write_index = Some(false);
            of_new = was.clone();
        }
        of_new.is_write_index = Some(true);
    } else {
        of_new = entry.aliases.remove(alias).unwrap_or_default();
    }
    entry.rolled.insert(alias.to_owned(), now);
    if let Some(entry) = state.indices.get_mut(new) {
        entry.aliases.insert(alias.to_owned(), of_new);
    }
    aliases::check_writers(state, alias)
}
