//! The data services against real datastores, by the categories of the platform's test plan: documents,
//! cache, search, all together, and how fast. Backups and volumes have files of their own.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

#[path = "../common/mod.rs"]
mod common;

mod cache;
mod documents;
mod integration;
mod performance;
mod search;

use std::sync::Arc;

use common::{Appliance, Options, free_port, said};
use lucid::store::{Access, Stores};
use serde_json::{Map, Value, json};

/// Services over an appliance of its own.
struct Bench {
    appliance: Appliance,
    stores: Stores,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn over(appliance: Appliance, roles: &[&str]) -> Self {
        if roles != ["cache"] {
            for role in roles.iter().filter(|role| **role != "cache") {
                said(&appliance, &["schema", "apply", "--only", role]);
            }
        }
        let uris: Vec<(String, String)> = roles
            .iter()
            .map(|role| ((*role).to_owned(), appliance.uri(role)))
            .collect();
        let access: Access = Arc::new(move |role| {
            let found = uris.iter().find(|(name, _)| name == role.name());
            found
                .map(|(_, uri)| uri.clone())
                .ok_or_else(|| format!("{role} is off"))
        });
        appliance.wait_state("ready");
        Self {
            stores: Stores::new(&access),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap(),
            appliance,
        }
    }

    fn documents() -> Self {
        Self::over(Appliance::ready(Options::document()), &["document"])
    }

    fn cache() -> Self {
        Self::over(Appliance::ready(Options::cache()), &["cache"])
    }

    fn search() -> Self {
        let search = format!(
            "datastore.search.enabled = true\ndatastore.search.port = {}",
            free_port()
        );
        let mut options = Options::cache().with(&search);
        options.cache = true;
        Self::over(Appliance::ready(options), &["search", "cache"])
    }

    fn all() -> Self {
        let search = format!(
            "datastore.search.enabled = true\ndatastore.search.port = {}",
            free_port()
        );
        let appliance = Appliance::ready(Options::both().with(&search));
        Self::over(appliance, &["document", "search", "cache"])
    }

    /// Runs the work on the services, then stops the appliance.
    fn run(mut self, work: impl AsyncFnOnce(&Stores, &mut Appliance)) {
        let stores = self.stores.clone();
        self.runtime.block_on(work(&stores, &mut self.appliance));
        self.appliance.stop();
    }
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("no object: {other}"),
    }
}

fn session(id: &str, user: &str) -> Map<String, Value> {
    fields(json!({
        "session_id": id, "user_id": user, "status": "active",
        "created_at": "2026-11-27T12:00:00Z",
    }))
}
