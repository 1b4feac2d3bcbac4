//! What there is to be: the files beside this one, as the requests have it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::SchemaError;

/// Entities in the order in which they are looked at.
const ENTITIES: [&str; 8] = [
    include_str!("sessions.json"),
    include_str!("blocks.json"),
    include_str!("users.json"),
    include_str!("transactions.json"),
    include_str!("manifests.json"),
    include_str!("audit-logs.json"),
    include_str!("logs.json"),
    include_str!("metrics.json"),
];

/// Phases of each lifecycle policy. Ages count from the rollover, so that an index that is still
/// written to never becomes read-only.
const POLICIES: &str = include_str!("policies.json");

/// The component template that all index templates are made of.
pub(super) const COMPONENT: &str = "lucid-settings";

/// Before templates of ordinary users, which have none or a low one.
const PRIORITY: u64 = 200;

/// See the module.
#[derive(Debug)]
pub(super) struct Catalogue {
    /// Entities.
    pub entities: Vec<Entity>,
    /// Phases of policies by name.
    pub policies: BTreeMap<String, Value>,
}

/// A kind of documents.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entity {
    /// `sessions` and so on.
    #[serde(rename = "entity")]
    pub name: String,
    /// How long a document may stay invisible to searches.
    pub refresh_interval: String,
    /// Lifecycle policy.
    pub policy: String,
    /// Another name, for reading.
    #[serde(default)]
    pub read_alias: Option<String>,
    /// Mapping.
    pub mappings: Value,
}

impl Catalogue {
    /// Reads the built-in files.
    pub(super) fn load() -> Result<Self, SchemaError> {
        let wrong = |error: serde_json::Error| SchemaError::Catalogue(error.to_string());
        let entities = ENTITIES
            .into_iter()
            .map(|text| serde_json::from_str(text).map_err(wrong));
        Ok(Self {
            entities: entities.collect::<Result<_, _>>()?,
            policies: serde_json::from_str(POLICIES).map_err(wrong)?,
        })
    }

    /// Body of the component template.
    pub(super) fn component() -> Value {
        json!({
            "template": {"settings": {"index": {
                "number_of_shards": "1",
                "number_of_replicas": "0",
                "max_result_window": "10000",
            }}},
            "_meta": meta(),
        })
    }
}

/// Says whose an object is.
fn meta() -> Value {
    json!({"managed_by": "lucid schema"})
}

/// Body of a policy with these phases.
pub(super) fn policy(phases: &Value) -> Value {
    json!({"policy": {"phases": phases, "_meta": meta()}})
}

impl Entity {
    /// The alias that is written to.
    pub(super) fn alias(&self) -> String {
        format!("lucid-{}", self.name)
    }

    /// Name of its index template.
    pub(super) fn template_name(&self) -> String {
        format!("lucid-{}-template", self.name)
    }

    /// Settings of its indices that may be changed, by full name.
    pub(super) fn settings(&self) -> [(&'static str, String); 4] {
        [
            ("index.number_of_replicas", "0".to_owned()),
            ("index.refresh_interval", self.refresh_interval.clone()),
            ("index.lifecycle.name", self.policy.clone()),
            ("index.lifecycle.rollover_alias", self.alias()),
        ]
    }

    /// Body of its index template. The alias that is written to is not in it: it stands for one
    /// index, and goes on by rollovers.
    pub(super) fn template(&self) -> Value {
        let mut template = json!({
            "settings": {"index": {
                "refresh_interval": self.refresh_interval,
                "lifecycle": {"name": self.policy, "rollover_alias": self.alias()},
            }},
            "mappings": self.mappings,
        });
        if let Some(alias) = &self.read_alias {
            template["aliases"] = json!({ alias: {} });
        }
        json!({
            "index_patterns": [format!("lucid-{}-*", self.name)],
            "composed_of": [COMPONENT],
            "priority": PRIORITY,
            "template": template,
            "_meta": meta(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entity_has_a_policy_and_all_policies_are_used() {
        let catalogue = Catalogue::load().unwrap();
        let mut used: Vec<&str> = catalogue
            .entities
            .iter()
            .map(|entity| entity.policy.as_str())
            .collect();
        used.sort_unstable();
        used.dedup();
        let known: Vec<&str> = catalogue.policies.keys().map(String::as_str).collect();
        assert_eq!(used, known);
    }

    #[test]
    fn blocks_and_users_are_never_deleted() {
        let catalogue = Catalogue::load().unwrap();
        for entity in &catalogue.entities {
            let phases = &catalogue.policies[&entity.policy];
            let permanent =
                ["blocks", "users", "transactions", "manifests"].contains(&entity.name.as_str());
            assert_eq!(phases.get("delete").is_none(), permanent, "{}", entity.name);
        }
    }

    #[test]
    fn the_refresh_intervals_and_aliases_are_those_of_the_reference() {
        let catalogue = Catalogue::load().unwrap();
        for (name, refresh, alias) in [
            ("sessions", "5s", "lucid_sessions"),
            ("blocks", "10s", "lucid_blocks"),
            ("users", "30s", "lucid_users"),
        ] {
            let mut entities = catalogue.entities.iter();
            let entity = entities.find(|entity| entity.name == name).unwrap();
            assert_eq!(entity.refresh_interval, refresh);
            assert_eq!(entity.read_alias.as_deref(), Some(alias));
        }
    }
}
