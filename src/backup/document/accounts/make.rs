//! Makes accounts and roles anew, as far as a store lets itself be told.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use mongodb::bson::{Bson, Document, doc};

use super::super::connect;
use super::{Accounts, EXTERNAL, pairs, text};
use crate::backup::BackupError;
use crate::engine::Credentials;

/// Of the password that an account has until it is given one, which nobody ever learns.
const SECRET: usize = 32;

/// What came of making them, a line each.
#[derive(Debug, Default)]
pub(in crate::backup) struct Made {
    /// What was compared.
    pub(in crate::backup) compared: Vec<String>,
    /// What a person has to do: give passwords, and make what the store refused.
    pub(in crate::backup) notices: Vec<String>,
    /// What differs although the store refused nothing of it.
    pub(in crate::backup) differing: Vec<String>,
    refused: BTreeSet<Named>,
}

/// Kind, name and database.
type Named = (&'static str, String, String);

impl Accounts {
    /// Makes them in the store at `address`, which has none but the appliance's own, and compares what
    /// it has then. One that the store refuses is told: the documents are good without it.
    pub(in crate::backup) async fn load(
        &self,
        address: SocketAddr,
        own: &Credentials,
    ) -> Result<Made, BackupError> {
        let mut made = Made::default();
        if self.users.is_empty() && self.roles.is_empty() {
            return Ok(made);
        }
        let client = connect(address, &own.supervisor)?;
        for role in &self.roles {
            let done = run(&client, role, create_role(role)).await;
            made.note(done.err(), role, "role", "createRole");
        }
        // One may hold another that is made later.
        for role in &self.roles {
            grant(&client, role, "role", "grantRolesToRole", &mut made).await;
        }
        for user in &self.users {
            let mut secret = [0; SECRET];
            getrandom::fill(&mut secret)
                .map_err(|error| BackupError::Refused(error.to_string()))?;
            let command = create_user(user, &crate::backup::hex(&secret));
            let refused = run(&client, user, command).await.err();
            let is_there = refused.is_none();
            made.note(refused, user, "user", "createUser");
            if is_there {
                grant(&client, user, "user", "grantRolesToUser", &mut made).await;
                if text(user, "db") != EXTERNAL {
                    made.notices.push(notice(user));
                }
            }
        }
        let found = Self::read(&client, own).await?;
        client.shutdown().await;
        let users = made.compare("user", &self.users, &found.users);
        let roles = made.compare("role", &self.roles, &found.roles);
        made.compared.push(format!(
            "document: {users} of {} accounts and {roles} of {} roles equal, but for passwords",
            self.users.len(),
            self.roles.len()
        ));
        Ok(made)
    }
}

impl Made {
    fn note(
        &mut self,
        refused: Option<mongodb::error::Error>,
        of: &Document,
        kind: &'static str,
        command: &str,
    ) {
        if let Some(error) = refused {
            self.refused.insert(named(of, kind));
            self.notices.push(format!(
                "document: {kind} {:?} of {} is not as it was, the store refuses it ({error}): make \
                 it as you want it with {command}",
                text(of, kind),
                text(of, "db")
            ));
        }
    }

    /// Answers how many are there as they were, passwords left out.
    fn compare(&mut self, kind: &'static str, wanted: &[Document], found: &[Document]) -> usize {
        let mut equal = 0;
        for one in wanted {
            let name = named(one, kind);
            let now = found.iter().find(|now| named(now, kind) == name);
            let same = now.is_some_and(|now| {
                pairs(now) == pairs(one)
                    && ["privileges", "customData", "authenticationRestrictions"]
                        .iter()
                        .all(|key| now.get(key) == one.get(key))
            });
            equal += usize::from(same);
            if !same && !self.refused.contains(&name) {
                self.differing.push(format!(
                    "document: {kind} {:?} of {} is not what was backed up, although the store \
                     refused nothing: look at it with {kind}sInfo",
                    name.1, name.2
                ));
            }
        }
        equal
    }
}

fn named(of: &Document, kind: &'static str) -> Named {
    (kind, text(of, kind), text(of, "db"))
}

/// Gives an account or a role the roles that it held, one at a time: one may be gone.
async fn grant(
    client: &mongodb::Client,
    of: &Document,
    kind: &'static str,
    command: &str,
    made: &mut Made,
) {
    for role in of.get_array("roles").cloned().unwrap_or_default() {
        let mut one = Document::new();
        one.insert(command, text(of, kind));
        one.insert("roles", [role]);
        let done = run(client, of, one).await;
        made.note(done.err(), of, kind, command);
    }
}

fn notice(user: &Document) -> String {
    let (name, db) = (text(user, "user"), text(user, "db"));
    format!(
        "document: account {name:?} of {db} lets nobody in until it has a password again: \
         db.getSiblingDB({db:?}).updateUser({name:?}, {{pwd: passwordPrompt()}})"
    )
}

async fn run(
    client: &mongodb::Client,
    of: &Document,
    command: Document,
) -> mongodb::error::Result<()> {
    let database = client.database(&text(of, "db"));
    database.run_command(command).await.map(drop)
}

fn create_role(role: &Document) -> Document {
    let mut command = doc! {
        "createRole": text(role, "role"),
        "privileges": role.get_array("privileges").cloned().unwrap_or_default(),
        "roles": [],
    };
    if let Ok(from) = role.get_array("authenticationRestrictions") {
        command.insert("authenticationRestrictions", from.clone());
    }
    command
}

fn create_user(user: &Document, secret: &str) -> Document {
    let mut command = doc! {
        "createUser": text(user, "user"),
        "roles": [],
    };
    for key in ["customData", "authenticationRestrictions"] {
        if let Some(value) = user.get(key) {
            command.insert(key, value.clone());
        }
    }
    if text(user, "db") != EXTERNAL {
        command.insert("pwd", secret);
        let ways = user.get_document("credentials").map(|ways| {
            let names = ways.keys().filter(|name| name.starts_with("SCRAM-"));
            names.cloned().map(Bson::String).collect::<Vec<_>>()
        });
        if let Ok(ways) = ways
            && !ways.is_empty()
        {
            command.insert("mechanisms", ways);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_unless_the_store_refused_it() {
        let user = |name: &str, roles: &[&str]| {
            let roles: Vec<_> = roles
                .iter()
                .map(|role| doc! { "role": *role, "db": "d" })
                .collect();
            doc! { "user": name, "db": "d", "roles": roles }
        };
        let wanted = [
            user("same", &["a", "b"]),
            user("less", &["a", "b"]),
            user("none", &[]),
        ];
        let found = [user("same", &["b", "a"]), user("less", &["a"])];
        let mut made = Made::default();
        assert_eq!(made.compare("user", &wanted, &found), 1);
        assert_eq!(made.differing.len(), 2);
        assert!(
            made.differing[0].contains("\"less\" of d"),
            "{:?}",
            made.differing
        );
        let mut made = Made::default();
        made.refused.insert(named(&wanted[1], "user"));
        assert_eq!(made.compare("user", &wanted, &found), 1);
        assert_eq!(made.differing.len(), 1);
        assert!(
            made.differing[0].contains("\"none\" of d"),
            "{:?}",
            made.differing
        );
    }
}
