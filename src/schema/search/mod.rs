//! Templates, mappings, lifecycle policies and aliases of the search engine.
//!
//! Each entity has indices of a month, `lucid-sessions-2026.11`, behind the alias `lucid-sessions`
//! that writes go to the newest of. Only Elasticsearch's own interface is used.

mod catalogue;
mod client;
mod compare;
mod plan;

use serde::Serialize;
use serde_json::Value;

use catalogue::Catalogue;
use client::Client;
use plan::{Current, Step, target};

/// What becomes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It was not there.
    Created,
    /// It was another one.
    Updated,
    /// It is as it should be.
    Unchanged,
    /// It is another one, and stays so: it is about how long data are kept.
    Kept,
}

impl Change {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Change::Created => "created",
            Change::Updated => "updated",
            Change::Unchanged => "unchanged",
            Change::Kept => "kept",
        }
    }

    /// Whether something is changed.
    pub fn is_one(self) -> bool {
        matches!(self, Change::Created | Change::Updated)
    }
}

/// A policy, template, index or alias, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Object {
    /// `policy` and so on.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub change: Change,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What was done, or would be.
#[derive(Debug, Serialize)]
pub struct Report {
    /// All objects in the order in which they were looked at.
    pub objects: Vec<Object>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// A request that makes or changes an object.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    /// `PUT` and so on.
    pub method: &'static str,
    /// Path, encoded.
    pub path: String,
    /// Body.
    pub body: Value,
}

/// Why the schema was not applied.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The URI of the engine is none.
    #[error("the address of the search engine is no URI: {0}")]
    Address(String),
    /// Nobody answers.
    #[error(
        "the search engine does not answer: {0}; `lucid status` tells its state, and `lucid \
         datastore start search` starts it"
    )]
    Silent(String),
    /// It refuses a request.
    #[error("{what}: the search engine answers {status}: {reason}")]
    Refused {
        /// What was asked.
        what: String,
        /// HTTP status.
        status: u16,
        /// Its cause.
        reason: String,
    },
    /// What is there cannot be changed into what is wanted; one line each.
    #[error("nothing was changed:\n{}", .0.join("\n"))]
    Conflicts(Vec<String>),
    /// A file of this program is damaged.
    #[error("the built-in schema cannot be read: {0}")]
    Catalogue(String),
}

/// All requests that make the schema where there is none, in their order.
///
/// # Errors
/// [`SchemaError::Catalogue`].
pub fn show() -> Result<Vec<Request>, SchemaError> {
    let catalogue = Catalogue::load()?;
    let steps = plan::plan(&catalogue, &Current::empty(), &month(), false)?;
    Ok(steps.into_iter().flat_map(|step| step.requests).collect())
}

/// Makes the schema in the engine at `uri`, which has user and password in it, or says what would
/// be done. Everything is looked at before anything is changed; doing it again changes nothing.
/// A policy that deletes at another age than Lucid's own is kept unless `reset_policies`.
///
/// # Errors
/// [`SchemaError`]: with [`SchemaError::Conflicts`] nothing was changed.
pub async fn apply(uri: &str, dry_run: bool, reset_policies: bool) -> Result<Report, SchemaError> {
    let catalogue = Catalogue::load()?;
    let client = Client::new(uri)?;
    let month = month();
    let current = look(&client, &catalogue, &month).await?;
    let steps = plan::plan(&catalogue, &current, &month, reset_policies)?;
    if !dry_run {
        for step in &steps {
            run(&client, step).await?;
        }
    }
    let mut notes = Vec::new();
    if !current.own {
        notes.push(
            "this is no search node of Lucid: indices are numbered \
             (lucid-sessions-2026.11-000001) and named by date math, since only Lucid's own rolls \
             over names of a month alone"
                .to_owned(),
        );
    }
    Ok(Report {
        objects: steps.into_iter().map(|step| step.object).collect(),
        notes,
    })
}

async fn run(client: &Client, step: &Step) -> Result<(), SchemaError> {
    for request in &step.requests {
        let what = format!("{} [{}]", step.object.kind, step.object.name);
        client.change(&what, request).await?;
    }
    Ok(())
}

/// The present month as it stands in names, in UTC as the engine counts.
fn month() -> String {
    jiff::Timestamp::now().strftime("%Y.%m").to_string()
}

/// What the engine has of the catalogue's objects.
async fn look(client: &Client, catalogue: &Catalogue, month: &str) -> Result<Current, SchemaError> {
    let mut current = Current::empty();
    let root = client.get("", "looking at the engine").await?;
    current.own = root.is_some_and(|root| root["version"]["build_flavor"] == "lucid");
    for name in catalogue.policies.keys() {
        let path = format!("_ilm/policy/{name}");
        if let Some(found) = client.get(&path, "reading policies").await? {
            let phases = found[name]["policy"]["phases"].clone();
            current.policies.insert(name.clone(), phases);
        }
    }
    for (path, list, one, into) in [
        (
            "_component_template",
            "component_templates",
            "component_template",
            &mut current.components,
        ),
        (
            "_index_template",
            "index_templates",
            "index_template",
            &mut current.templates,
        ),
    ] {
        let all = client.get(path, "reading templates").await?;
        let all = all.as_ref().and_then(|all| all[list].as_array());
        for found in all.into_iter().flatten() {
            if let Some(name) = found["name"].as_str() {
                into.insert(name.to_owned(), found[one].clone());
            }
        }
    }
    let aliases = client
        .get("_alias?expand_wildcards=all", "reading aliases")
        .await?;
    let aliases = aliases.as_ref().and_then(Value::as_object);
    for (index, entry) in aliases.into_iter().flatten() {
        let of_index = entry["aliases"].as_object().cloned().unwrap_or_default();
        current.aliases.insert(index.clone(), of_index);
    }
    for entity in &catalogue.entities {
        let Some(index) = target(&current, entity, month).existing() else {
            continue;
        };
        let mapping = client
            .get(&format!("{index}/_mapping"), "reading mappings")
            .await?;
        let settings = client
            .get(
                &format!("{index}/_settings?flat_settings=true"),
                "reading settings",
            )
            .await?;
        let inside = |answer: Option<Value>, key: &str| {
            answer.map_or(Value::Null, |answer| answer[&index][key].clone())
        };
        current
            .mappings
            .insert(index.clone(), inside(mapping, "mappings"));
        current
            .settings
            .insert(index.clone(), inside(settings, "settings"));
    }
    Ok(current)
}
