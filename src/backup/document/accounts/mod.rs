//! Accounts and roles of the store, where mongodump puts them. The appliance's own two accounts are
//! no part of it: they are made from its credentials.
//!
//! What a password is checked against comes out of a store and goes into no other one but by
//! mongorestore, which writes it into mongod. An account that is made anew here has everything but
//! that, and lets nobody in until it is given a password.

mod make;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mongodb::bson::{Bson, Document, doc};

use super::load::{LOOK, next};
use super::{DUMP, failed};
use crate::backup::BackupError;
use crate::engine::Credentials;
use crate::fsx::FsError;

const ADMIN: &str = "admin";
/// Accounts that another service vouches for have no password.
const EXTERNAL: &str = "$external";
/// The layout of accounts in mongod since 3.0, which mongorestore asks for.
const SCHEMA: i32 = 5;

const USERS: &str = "system.users";
const ROLES: &str = "system.roles";
const VERSION: &str = "system.version";

pub(in crate::backup) use make::Made;

/// Accounts and roles as mongod keeps them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::backup) struct Accounts {
    pub(in crate::backup) users: Vec<Document>,
    pub(in crate::backup) roles: Vec<Document>,
}

/// A file of the dump.
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) content: Vec<u8>,
}

impl Accounts {
    /// What `client` has, but for the appliance's own accounts.
    pub(super) async fn read(
        client: &mongodb::Client,
        own: &Credentials,
    ) -> Result<Self, BackupError> {
        let run = async |db: &str, command: Document| {
            let answer = client.database(db).run_command(command).await;
            answer.map_err(|error| failed(&error))
        };
        let every = doc! { "usersInfo": { "forAllDBs": true }, "showCredentials": true };
        let mut users = documents(&run(ADMIN, every).await?, "users");
        users.retain(|user| !is_own(user, own));
        let mut databases: BTreeSet<String> = client
            .list_database_names()
            .await
            .map_err(|error| failed(&error))?
            .into_iter()
            .collect();
        databases.insert(ADMIN.to_owned());
        for user in &mut users {
            let (name, db) = (text(user, "user"), text(user, "db"));
            // A list of all does not say from where one may come.
            let detail = doc! {
                "usersInfo": { "user": name, "db": &db },
                "showAuthenticationRestrictions": true,
            };
            let detail = documents(&run(ADMIN, detail).await?, "users");
            let found = detail.first();
            let from = found.and_then(|one| one.get_array("authenticationRestrictions").ok());
            if let Some(from) = from.filter(|from| !from.is_empty()) {
                user.insert("authenticationRestrictions", from.clone());
            }
            user.remove("mechanisms");
            databases.insert(db);
            databases.extend(pairs(user).into_iter().map(|(_, db)| db));
        }
        let mut roles = Vec::new();
        let mut asked = BTreeSet::from([EXTERNAL.to_owned()]);
        // A list of databases has none without collections; a role that is held leads there.
        while let Some(db) = databases.pop_first() {
            if !asked.insert(db.clone()) {
                continue;
            }
            let every = doc! {
                "rolesInfo": 1,
                "showPrivileges": true,
                "showAuthenticationRestrictions": true,
            };
            for told in documents(&run(&db, every).await?, "roles") {
                databases.extend(pairs(&told).into_iter().map(|(_, db)| db));
                let mut role = stored_role(&told);
                let from = told.get_array("authenticationRestrictions").ok();
                if let Some(from) = from.filter(|from| !from.is_empty()) {
                    // Its own come first, and only where it has any.
                    let held = told.get_array("roles").cloned().unwrap_or_default();
                    let held = if held.is_empty() {
                        0
                    } else {
                        let of_held = doc! {
                            "rolesInfo": held,
                            "showPrivileges": "asUserFragment",
                            "showAuthenticationRestrictions": true,
                        };
                        restrictions(&run(&db, of_held).await?)
                    };
                    if from.len() > held
                        && let Some(Bson::Array(own)) = from.first()
                    {
                        role.insert("authenticationRestrictions", own.clone());
                    }
                }
                roles.push(role);
            }
        }
        Ok(Self { users, roles })
    }

    /// Its files; none where there is neither an account nor a role.
    pub(super) fn files(&self) -> Result<Vec<File>, BackupError> {
        if self.users.is_empty() && self.roles.is_empty() {
            return Ok(Vec::new());
        }
        let schema = vec![doc! { "_id": "authSchema", "currentVersion": SCHEMA }];
        let mut files = Vec::new();
        for (name, all) in [
            (USERS, &self.users),
            (ROLES, &self.roles),
            (VERSION, &schema),
        ] {
            let wrong = |cause: String| BackupError::Capture {
                part: format!("{ADMIN}.{name}"),
                cause,
            };
            let mut content = Vec::new();
            for one in all {
                one.to_writer(&mut content)
                    .map_err(|error| wrong(error.to_string()))?;
            }
            let metadata = doc! { "options": {}, "indexes": [], "uuid": "", "collectionName": name,
            "type": "collection" };
            let metadata = Bson::Document(metadata).into_canonical_extjson();
            let metadata =
                serde_json::to_vec(&metadata).map_err(|error| wrong(error.to_string()))?;
            let path = PathBuf::from(format!("{DUMP}/{ADMIN}/{name}"));
            for (end, content) in [("bson", content), ("metadata.json", metadata)] {
                files.push(File {
                    path: PathBuf::from(format!("{}.{end}", path.display())),
                    content,
                });
            }
        }
        Ok(files)
    }

    /// What a dump in `dump` has, which has to be as many as were backed up.
    pub(in crate::backup) fn of_dump(
        dump: &Path,
        users: u64,
        roles: u64,
    ) -> Result<Self, BackupError> {
        let read = |name: &str, known: u64| {
            if users == 0 && roles == 0 {
                return Ok(Vec::new());
            }
            let path = dump.join(ADMIN).join(format!("{name}.bson"));
            let wrong =
                |cause: String| BackupError::Refused(format!("{}: {cause}", path.display()));
            let bytes = std::fs::read(&path).map_err(FsError::wrap("read", &path))?;
            let (mut rest, mut found) = (bytes.as_slice(), Vec::new());
            while let Some(one) = next(&mut rest).map_err(wrong)? {
                let one = Document::from_reader(one.as_slice());
                found.push(one.map_err(|error| wrong(error.to_string()))?);
            }
            if found.len() as u64 == known {
                return Ok(found);
            }
            Err(wrong(format!(
                "{} are in it, {known} were backed up. {LOOK}",
                found.len()
            )))
        };
        Ok(Self {
            users: read(USERS, users)?,
            roles: read(ROLES, roles)?,
        })
    }
}

fn text(of: &Document, key: &str) -> String {
    of.get_str(key).unwrap_or_default().to_owned()
}

fn documents(answer: &Document, key: &str) -> Vec<Document> {
    let all = answer.get_array(key).map(Vec::as_slice).unwrap_or_default();
    all.iter()
        .filter_map(|one| one.as_document().cloned())
        .collect()
}

fn is_own(user: &Document, own: &Credentials) -> bool {
    let name = user.get_str("user").unwrap_or_default();
    user.get_str("db").is_ok_and(|db| db == ADMIN)
        && [&own.supervisor.user, &own.client.user]
            .iter()
            .any(|own| own.as_str() == name)
}

/// The roles that an account or a role holds, and their databases.
fn pairs(of: &Document) -> BTreeSet<(String, String)> {
    documents(of, "roles")
        .iter()
        .map(|role| (text(role, "role"), text(role, "db")))
        .collect()
}

/// A role as `admin.system.roles` has it, out of what a store tells of it.
fn stored_role(told: &Document) -> Document {
    doc! {
        "_id": format!("{}.{}", text(told, "db"), text(told, "role")),
        "role": text(told, "role"),
        "db": text(told, "db"),
        "privileges": told.get_array("privileges").cloned().unwrap_or_default(),
        "roles": told.get_array("roles").cloned().unwrap_or_default(),
    }
}

/// How many lists of restrictions the roles of a fragment of a user bring with them.
fn restrictions(answer: &Document) -> usize {
    answer
        .get_document("userFragment")
        .and_then(|user| user.get_array("inheritedAuthenticationRestrictions"))
        .map_or(0, Vec::len)
}
