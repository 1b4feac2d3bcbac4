//! `lucid schema`: what the entities of Lucid need of the datastores.

use std::path::Path;

use serde_json::json;

use super::args::{SchemaCommand, SchemaPart};
use super::output::Out;
use super::{CliError, Done, block_on};
use crate::config::{Config, Role};
use crate::paths::Paths;
use crate::schema::search::{self, Change, Report};

pub(super) fn run(
    paths: &Paths,
    file: Option<&Path>,
    command: SchemaCommand,
    out: &mut Out,
) -> Result<Done, CliError> {
    match command {
        SchemaCommand::Show => show(out),
        SchemaCommand::Apply {
            dry_run,
            only,
            reset_policies,
        } => {
            // There is one part so far; without `--only` it is all.
            let SchemaPart::Search = only.unwrap_or(SchemaPart::Search);
            let path = file.map_or_else(|| paths.config_file(), Path::to_path_buf);
            let config = Config::load(&path, file.is_some())?;
            let uri = search_uri(paths, &config)?;
            let report =
                block_on(async { Ok(search::apply(&uri, dry_run, reset_policies).await?) })?;
            print(&report, dry_run, out)
        }
    }
}

/// Address, user and password of the client account.
fn search_uri(paths: &Paths, config: &Config) -> Result<String, CliError> {
    if !config.common(Role::Search).enabled {
        return Err(CliError::Other(
            "search is off: set datastore.search.enabled = true and start the appliance".to_owned(),
        ));
    }
    Ok(super::client_uri(paths, config, Role::Search)?.0)
}

fn show(out: &mut Out) -> Result<Done, CliError> {
    let requests = search::show()?;
    if !out.json(&json!({ "search": requests }))? {
        for request in requests {
            let body = serde_json::to_string_pretty(&request.body)
                .map_err(|error| CliError::Other(error.to_string()))?;
            out.text(&format!("{} /{}\n{body}\n\n", request.method, request.path))?;
        }
    }
    Ok(Done::Well)
}

fn print(report: &Report, dry_run: bool, out: &mut Out) -> Result<Done, CliError> {
    let count = |is: fn(Change) -> bool| {
        let objects = report.objects.iter();
        objects.filter(|object| is(object.change)).count()
    };
    let changed = count(Change::is_one);
    let kept = count(|change| change == Change::Kept);
    let shown = json!({
        "dry_run": dry_run,
        "changed": changed,
        "objects": report.objects,
        "notes": report.notes,
    });
    if out.json(&shown)? {
        return Ok(Done::Well);
    }
    for object in &report.objects {
        let (change, kind) = (object.change.name(), object.kind);
        let note = object.note.as_ref();
        let note = note.map_or(String::new(), |note| format!(": {note}"));
        out.line(&format!("{change:<10} {kind:<19} {}{note}", object.name))?;
    }
    for note in &report.notes {
        out.line(note)?;
    }
    let all = report.objects.len();
    out.line(&match (changed, dry_run) {
        (0, _) if kept > 0 => {
            format!("nothing to change: {kept} of {all} objects are another way and kept so")
        }
        (0, _) => format!("nothing to change: all {all} objects are as they should be"),
        (_, true) => format!("{changed} of {all} objects would be created or updated"),
        (_, false) => format!("{changed} of {all} objects were created or updated"),
    })?;
    Ok(Done::Well)
}
