//! The document store: a dump as mongodump lays it out, read from one state of the store.

mod accounts;
mod difference;
mod dump;
mod load;
mod namespaces;
mod noted;
mod read;
mod replay;
mod state;
mod unchanged;

use std::net::SocketAddr;
use std::time::Duration;

use mongodb::bson::{Bson, doc};
use mongodb::options::{AuthMechanism, ClientOptions, Credential, ServerAddress};
use sha2::{Digest, Sha256};

use super::BackupError;
use crate::engine::Login;

pub(super) use accounts::{Accounts, Made};
pub(super) use difference::names;
pub(super) use dump::{Base, Dump, Wanted};
pub(super) use load::load;
pub(super) use namespaces::{Listed, list};
pub(super) use noted::Names;
pub(super) use read::contents;
pub(super) use replay::{chain, replay};
pub(super) use state::Log;
pub(super) use unchanged::Before;

/// Name of the part.
pub(super) const PART: &str = "document";
/// Where the dump lies in it.
pub(super) const DUMP: &str = "/document/dump";
/// What of it is otherwise than in the files of the collections, by the name that mongorestore expects.
pub(super) const DIFFERENCE: &str = "oplog.bson";
/// Changes between the last backup and this one.
pub(super) const LOG: &str = "/document/oplog.bson";
const SELECTION: Duration = Duration::from_secs(10);

/// A driver for the store at `address`.
pub(super) fn connect(address: SocketAddr, login: &Login) -> Result<mongodb::Client, BackupError> {
    let mut options = ClientOptions::default();
    options.hosts = vec![ServerAddress::Tcp {
        host: address.ip().to_string(),
        port: Some(address.port()),
    }];
    options.app_name = Some("lucid-backup".to_owned());
    options.direct_connection = Some(true);
    options.max_pool_size = Some(2);
    options.server_selection_timeout = Some(SELECTION);
    options.connect_timeout = Some(SELECTION);
    let mut credential = Credential::default();
    credential.username = Some(login.user.clone());
    credential.password = Some(login.password.clone());
    credential.source = Some("admin".to_owned());
    credential.mechanism = Some(AuthMechanism::ScramSha256);
    options.credential = Some(credential);
    mongodb::Client::with_options(options).map_err(|error| failed(&error))
}

/// A fault of the store, or of what it was asked.
pub(super) fn failed(error: &mongodb::error::Error) -> BackupError {
    BackupError::Capture {
        part: PART.to_owned(),
        cause: error.to_string(),
    }
}

/// Reads and writes that the store did since it was started.
///
/// # Errors
/// [`BackupError`]
pub(super) async fn operations(client: &mongodb::Client) -> Result<u64, BackupError> {
    let only = doc! { "serverStatus": 1, "repl": 0, "metrics": 0, "wiredTiger": 0, "tcmalloc": 0 };
    let status = client.database("admin").run_command(only).await;
    let status = status.map_err(|error| failed(&error))?;
    let counters = status.get_document("opcounters").cloned();
    let counters = counters.unwrap_or_default();
    let of = |key| match counters.get(key) {
        Some(Bson::Int32(count)) => u64::try_from(*count).unwrap_or(0),
        Some(Bson::Int64(count)) => u64::try_from(*count).unwrap_or(0),
        _ => 0,
    };
    Ok(["insert", "query", "update", "delete"].map(of).iter().sum())
}

/// Sum of the documents' SHA-256 modulo 2^256: the same for the same documents in any order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum([u64; 4]);

impl Sum {
    pub(super) fn add(&mut self, document: &[u8]) {
        let digest = Sha256::digest(document);
        let mut carry = 0_u128;
        for (word, bytes) in self.0.iter_mut().zip(digest.chunks_exact(8)) {
            let added = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
            let sum = u128::from(*word) + u128::from(added) + carry;
            #[allow(clippy::cast_possible_truncation)]
            let low = sum as u64;
            *word = low;
            carry = sum >> 64;
        }
    }

    pub(super) fn hex(self) -> String {
        let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_be_bytes()).collect();
        super::hex(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_documents_does_not_change_their_sum_and_everything_else_does() {
        let sum = |documents: &[&str]| {
            let mut sum = Sum::default();
            for document in documents {
                sum.add(document.as_bytes());
            }
            sum.hex()
        };
        assert_eq!(sum(&["a", "b", "c"]), sum(&["c", "a", "b"]));
        assert_ne!(sum(&["a", "b"]), sum(&["a", "b", "b"]));
        assert_ne!(sum(&["a", "b"]), sum(&["ab"]));
        assert_ne!(sum(&["a"]), sum(&[]));
    }
}
