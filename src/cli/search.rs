//! `lucid search`: the search indices of the platform.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::args::SearchCommand;
use super::output::Out;
use super::{CliError, Done, block_on};
use crate::config::{Config, Role};
use crate::paths::Paths;
use crate::store::feed::{ENTITIES, Feed};
use crate::store::{Access, Stores};
use crate::supervisor;

pub(super) fn run(
    paths: &Paths,
    file: Option<&Path>,
    command: &SearchCommand,
    out: &mut Out,
) -> Result<Done, CliError> {
    let SearchCommand::Reindex { entity } = command;
    let wanted: Vec<&'static str> = ENTITIES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| entity.as_ref().is_none_or(|entity| entity == name))
        .collect();
    if wanted.is_empty() {
        let all: Vec<&str> = ENTITIES.iter().map(|(name, _)| *name).collect();
        return Err(CliError::Other(format!(
            "{:?} is no kind of documents that are searched; there are {}",
            entity.as_deref().unwrap_or_default(),
            all.join(", ")
        )));
    }
    let path = file.map_or_else(|| paths.config_file(), Path::to_path_buf);
    let config = Config::load(&path, file.is_some())?;
    for role in [Role::Document, Role::Search] {
        // Says what is missing before anything begins.
        super::client_uri(paths, &config, role)?;
    }
    let access: Access = {
        let paths = paths.clone();
        Arc::new(move |role| {
            let uri = supervisor::client_uri(&paths, &config, role);
            uri.map(|(uri, _)| uri).map_err(|error| error.to_string())
        })
    };
    let done = block_on(async {
        let feed = Feed::new(Stores::new(&access), paths.search_feed());
        let mut done = Vec::new();
        for entity in wanted {
            done.push((entity, feed.rebuild(entity).await?));
        }
        Ok(done)
    })?;
    let shown: Vec<_> = done
        .iter()
        .map(|(entity, count)| json!({ "entity": entity, "documents": count }))
        .collect();
    if !out.json(&json!(shown))? {
        for (entity, count) in done {
            out.line(&format!("{entity}: {count} documents are in the indices"))?;
        }
    }
    Ok(Done::Well)
}
