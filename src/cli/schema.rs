//! `lucid schema`: what the entities of Lucid need of the datastores.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::args::{SchemaCommand, SchemaPart};
use super::output::Out;
use super::{CliError, Done, block_on};
use crate::config::{Config, Role};
use crate::paths::Paths;
use crate::schema::{documents, search};

/// The datastores that have a schema.
const PARTS: [(SchemaPart, Role); 2] = [
    (SchemaPart::Document, Role::Document),
    (SchemaPart::Search, Role::Search),
];

pub(super) fn run(
    paths: &Paths,
    file: Option<&Path>,
    command: SchemaCommand,
    out: &mut Out,
) -> Result<Done, CliError> {
    let (only, dry_run, reset_policies, is_check) = match command {
        SchemaCommand::Show { only } => return show(only, out),
        SchemaCommand::Apply {
            dry_run,
            only,
            reset_policies,
        } => (only, dry_run, reset_policies, false),
        SchemaCommand::Check { only } => (only, true, false, true),
    };
    let path = file.map_or_else(|| paths.config_file(), Path::to_path_buf);
    let config = Config::load(&path, file.is_some())?;
    let mut found = Found::default();
    let mut refused = Vec::new();
    for (part, role) in PARTS {
        if only.is_some_and(|only| only != part) {
            continue;
        }
        if !config.common(role).enabled {
            if only.is_some() {
                return Err(CliError::Other(format!(
                    "{role} is off: set datastore.{role}.enabled = true and start the appliance"
                )));
            }
            continue;
        }
        let done = super::client_uri(paths, &config, role).and_then(|(uri, _)| match part {
            SchemaPart::Document => {
                let report = block_on(async { Ok(documents::apply(&uri, &[], dry_run).await?) })?;
                found.documents(&report);
                Ok(())
            }
            SchemaPart::Search => {
                let report =
                    block_on(async { Ok(search::apply(&uri, dry_run, reset_policies).await?) })?;
                found.search(&report);
                Ok(())
            }
        });
        // One datastore that is away keeps no other from its schema.
        if let Err(error) = done {
            refused.push(format!("{role}: {error}"));
        }
    }
    if found.objects.is_empty() && refused.is_empty() {
        return Err(CliError::Other(
            "document and search are off: set datastore.document.enabled = true or \
             datastore.search.enabled = true and start the appliance"
                .to_owned(),
        ));
    }
    if !found.objects.is_empty() {
        found.print(dry_run, out)?;
    }
    if !refused.is_empty() {
        return Err(CliError::Other(refused.join("\n")));
    }
    let well = if is_check {
        found.changed + found.other + found.failed == 0
    } else {
        found.failed == 0
    };
    Ok(if well { Done::Well } else { Done::Failed })
}

/// What both datastores have, and what becomes of it.
#[derive(Default)]
struct Found {
    objects: Vec<Value>,
    lines: Vec<String>,
    notes: Vec<String>,
    changed: usize,
    other: usize,
    failed: usize,
}

impl Found {
    fn add(&mut self, datastore: Role, change: &str, kind: &str, name: &str, note: Option<&str>) {
        let mut object = json!({
            "datastore": datastore.name(), "kind": kind, "name": name, "change": change,
        });
        if let Some(note) = note {
            object["note"] = note.into();
        }
        self.objects.push(object);
        let note = note.map_or_else(String::new, |note| format!(": {note}"));
        self.lines
            .push(format!("{change:<10} {kind:<19} {name}{note}"));
        match change {
            "created" | "updated" => self.changed += 1,
            "kept" | "drifted" => self.other += 1,
            "failed" => self.failed += 1,
            _ => {}
        }
    }

    fn documents(&mut self, report: &documents::Report) {
        for object in &report.objects {
            let (change, note) = (object.change.name(), object.note.as_deref());
            self.add(Role::Document, change, object.kind, &object.name, note);
        }
    }

    fn search(&mut self, report: &search::Report) {
        for object in &report.objects {
            let (change, note) = (object.change.name(), object.note.as_deref());
            self.add(Role::Search, change, object.kind, &object.name, note);
        }
        self.notes.extend(report.notes.iter().cloned());
    }

    fn print(&self, dry_run: bool, out: &mut Out) -> Result<(), CliError> {
        let (changed, all) = (self.changed, self.objects.len());
        let shown = json!({
            "dry_run": dry_run, "changed": changed, "another_way": self.other,
            "failed": self.failed, "objects": self.objects, "notes": self.notes,
        });
        if out.json(&shown)? {
            return Ok(());
        }
        for line in self.lines.iter().chain(&self.notes) {
            out.line(line)?;
        }
        if self.failed > 0 {
            out.line(&format!("{} of {all} objects were refused", self.failed))?;
        }
        out.line(&match (changed, dry_run) {
            (0, _) if self.other > 0 => format!(
                "nothing to change: {} of {all} objects are another way and kept so",
                self.other
            ),
            (0, _) if self.failed > 0 => "nothing was changed".to_owned(),
            (0, _) => format!("nothing to change: all {all} objects are as they should be"),
            (_, true) => format!("{changed} of {all} objects would be created or updated"),
            (_, false) => format!("{changed} of {all} objects were created or updated"),
        })?;
        Ok(())
    }
}

fn show(only: Option<SchemaPart>, out: &mut Out) -> Result<Done, CliError> {
    let wanted = |part| only.is_none_or(|only| only == part);
    let mut shown = json!({});
    let mut text = String::new();
    let pretty = |value: &Value| {
        serde_json::to_string_pretty(value).map_err(|error| CliError::Other(error.to_string()))
    };
    if wanted(SchemaPart::Document) {
        let mut collections = Vec::new();
        for collection in documents::all()? {
            let indexes = collection.indexes.iter();
            let indexes: Vec<_> = indexes.map(documents::index_command).collect();
            let whole = json!({
                "name": collection.name, "purpose": collection.purpose,
                "validator": documents::validator(collection), "indexes": indexes,
            });
            let _ = write!(text, "{}\n\n", pretty(&whole)?);
            collections.push(whole);
        }
        shown["document"] = collections.into();
    }
    if wanted(SchemaPart::Search) {
        let requests = search::show()?;
        for request in &requests {
            let body = pretty(&request.body)?;
            let _ = write!(text, "{} /{}\n{body}\n\n", request.method, request.path);
        }
        shown["search"] =
            serde_json::to_value(requests).map_err(|error| CliError::Other(error.to_string()))?;
    }
    if !out.json(&shown)? {
        out.text(&text)?;
    }
    Ok(Done::Well)
}
