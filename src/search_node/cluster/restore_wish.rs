//! What is to be restored of a snapshot, and how.

use std::collections::BTreeSet;

use serde_json::Value;

use super::settings::{self, Flat};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::names;

/// Settings that belong to the documents, and stay as they are.
const FIXED: &[&str] = &["index.number_of_shards"];

/// See the module.
#[derive(Debug)]
pub(in crate::search_node) struct RestoreWish {
    /// Which indices, names and patterns.
    pub indices: Vec<String>,
    /// Whether those that are missing are passed over.
    pub ignore_unavailable: bool,
    /// Pattern and replacement of their names.
    pub rename: Option<(String, String)>,
    /// Whether they get their aliases.
    pub aliases: bool,
    /// Whether templates and lifecycle policies are restored.
    pub global: bool,
    /// Settings that they get.
    pub settings: Value,
    /// Settings that they lose, names and patterns.
    pub ignored: Vec<String>,
}

impl RestoreWish {
    /// The settings that an index with these gets.
    pub(super) fn change(&self, flat: &Flat) -> Result<Flat, Failure> {
        let full = |name: &str| match name.strip_prefix("index.") {
            Some(_) => name.to_owned(),
            None => format!("index.{name}"),
        };
        let mut new = flat.clone();
        for pattern in &self.ignored {
            let pattern = full(pattern);
            if FIXED.contains(&pattern.as_str()) {
                return Err(Failure::illegal(format!(
                    "cannot remove setting [{pattern}] on restore"
                )));
            }
            new.retain(|key, _| FIXED.contains(&key.as_str()) || !names::matches(&pattern, key));
        }
        if self.settings.is_null() {
            return Ok(new);
        }
        let changes = settings::flatten(&self.settings)?;
        settings::check(&changes, true)?;
        for (key, value) in changes {
            match value {
                Some(value) => new.insert(key, value),
                None => new.remove(&key),
            };
        }
        Ok(new)
    }
}

/// The names of `all` that `wanted` names, as Elasticsearch reads such lists of a snapshot.
pub(super) fn pick_names(
    wanted: &[String],
    all: &BTreeSet<&str>,
    ignore_unavailable: bool,
) -> Outcome<BTreeSet<String>> {
    let every = || all.iter().map(|name| (*name).to_owned()).collect();
    let mut picked: BTreeSet<String> = BTreeSet::new();
    if wanted.is_empty() || wanted == ["_all"] {
        return Ok(every());
    }
    for (at, part) in wanted.iter().enumerate() {
        let (part, add) = match part.strip_prefix('-') {
            Some(part) => (part, false),
            None => (part.as_str(), true),
        };
        if at == 0 && !add {
            picked = every();
        }
        if !part.contains('*') && !all.contains(part) {
            if ignore_unavailable {
                continue;
            }
            return Err(Failure::no_index(part));
        }
        for name in all.iter().filter(|name| names::matches(part, name)) {
            if add {
                picked.insert((*name).to_owned());
            } else {
                picked.remove(*name);
            }
        }
    }
    Ok(picked)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn indices_of_a_snapshot_are_picked_as_elasticsearch_does() {
        let all = BTreeSet::from(["a1", "a2", "b"]);
        let pick = |list: &str| {
            let wanted: Vec<String> = list.split_whitespace().map(str::to_owned).collect();
            pick_names(&wanted, &all, false)
                .map(|names| names.into_iter().collect::<Vec<_>>().join(" "))
        };
        for (list, names) in [
            ("", "a1 a2 b"),
            ("_all", "a1 a2 b"),
            ("*", "a1 a2 b"),
            ("a*", "a1 a2"),
            ("a* -a1", "a2"),
            ("-a*", "b"),
            ("-*", ""),
            ("x*", ""),
        ] {
            assert_eq!(pick(list).unwrap(), names, "{list}");
        }
        assert_eq!(pick("c").unwrap_err().status, 404);
        assert!(
            pick_names(&["c".to_owned()], &all, true)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn settings_change_as_asked_but_not_those_of_the_documents() {
        let flat = Flat::from([
            ("index.number_of_shards".to_owned(), "1".to_owned()),
            ("index.refresh_interval".to_owned(), "5s".to_owned()),
            ("index.hidden".to_owned(), "true".to_owned()),
        ]);
        let mut wish = RestoreWish {
            indices: Vec::new(),
            ignore_unavailable: false,
            rename: None,
            aliases: true,
            global: false,
            settings: json!({"index.number_of_replicas": 0}),
            ignored: vec!["index.refresh_*".to_owned(), "hidden".to_owned()],
        };
        let new = wish.change(&flat).unwrap();
        assert_eq!(new.len(), 2, "{new:?}");
        assert_eq!(new["index.number_of_replicas"], "0");
        wish.ignored = vec!["index.number_of_shards".to_owned()];
        assert!(wish.change(&flat).is_err());
        wish.ignored.clear();
        for settings in [
            json!({"number_of_shards": 2}),
            json!({"codec": "default"}),
            json!({"x": 1}),
        ] {
            wish.settings = settings;
            assert!(wish.change(&flat).is_err());
        }
    }
}
