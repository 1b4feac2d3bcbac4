//! Who may: API keys in a file of the appliance, kept as hashes, and tokens that are signed for a
//! while.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::fsx::{self, FsError};

/// What every key begins with, so that one is recognised where it should not be.
const MARK: &str = "lucid_";
/// Random bytes of a key.
const RANDOM: usize = 32;
/// Keys of one appliance at most.
const MOST: usize = 200;

/// What somebody may: each what the ones before may, and more.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    ToSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum ApiRole {
    /// Look.
    Reader,
    /// Change data.
    Writer,
    /// Change the appliance, and destroy.
    Admin,
}

impl ApiRole {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Admin => "admin",
        }
    }
}

/// A key, without the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// What a person calls it; once.
    pub name: String,
    /// What it may.
    pub role: ApiRole,
    /// SHA-256 of the key, in hex.
    pub sha256: String,
    /// RFC 3339.
    pub created: String,
    /// RFC 3339; absent where it does not expire.
    pub expires: Option<String>,
}

/// Why keys could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file.
    #[error(transparent)]
    File(#[from] FsError),
    /// It is none of Lucid's.
    #[error("{} is damaged ({cause}): remove it and make new keys with `lucid api key create`", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The name.
    #[error("{0}")]
    Refused(String),
}

/// The file that keys are kept in.
#[derive(Debug, Clone)]
pub struct KeyFile(PathBuf);

impl KeyFile {
    /// The one among the credentials, which outlive the card's read-only system.
    pub fn below(credentials: &Path) -> Self {
        Self(credentials.join("api-keys.json"))
    }

    /// All keys.
    ///
    /// # Errors
    /// [`KeysError`]
    pub fn load(&self) -> Result<Vec<ApiKey>, KeysError> {
        let text = match std::fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(FsError::wrap("read", &self.0)(error).into()),
        };
        serde_json::from_slice(&text).map_err(|error| KeysError::Damaged {
            path: self.0.clone(),
            cause: error.to_string(),
        })
    }

    fn save(&self, keys: &[ApiKey]) -> Result<(), KeysError> {
        let text = serde_json::to_vec_pretty(keys)
            .map_err(|error| KeysError::Refused(error.to_string()))?;
        Ok(fsx::write_atomic(&self.0, &text, 0o600)?)
    }

    /// Makes a key and answers it: nobody can show it again.
    ///
    /// # Errors
    /// [`KeysError`]
    pub fn create(
        &self,
        name: &str,
        role: ApiRole,
        days: Option<u32>,
    ) -> Result<String, KeysError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !(1..=64).contains(&name.len()) || !name.chars().all(allowed) {
            let message =
                format!("{name:?} is no name: 1 to 64 letters, digits, - _ and dots are one");
            return Err(KeysError::Refused(message));
        }
        let mut keys = self.load()?;
        if keys.iter().any(|key| key.name == name) {
            let message =
                format!("key {name:?} is there already; revoke it first, or take another name");
            return Err(KeysError::Refused(message));
        }
        if keys.len() >= MOST {
            return Err(KeysError::Refused(format!(
                "there are {MOST} keys; revoke one first"
            )));
        }
        let mut random = [0; RANDOM];
        getrandom::fill(&mut random).map_err(|error| KeysError::Refused(error.to_string()))?;
        let key = format!("{MARK}{}", BASE64.encode(random));
        let now = Timestamp::now();
        let expires = days
            .map(|days| now.checked_add(SignedDuration::from_hours(24 * i64::from(days))))
            .transpose()
            .map_err(|error| KeysError::Refused(error.to_string()))?;
        keys.push(ApiKey {
            name: name.to_owned(),
            role,
            sha256: hash(&key),
            created: now.to_string(),
            expires: expires.map(|time| time.to_string()),
        });
        self.save(&keys)?;
        Ok(key)
    }

    /// Ends a key.
    ///
    /// # Errors
    /// [`KeysError`]
    pub fn revoke(&self, name: &str) -> Result<(), KeysError> {
        let mut keys = self.load()?;
        let before = keys.len();
        keys.retain(|key| key.name != name);
        if keys.len() == before {
            return Err(KeysError::Refused(format!(
                "there is no key {name:?}; `lucid api key list` shows all"
            )));
        }
        self.save(&keys)
    }

    /// Which file it is: each change is another one. Times alone are ticks of some milliseconds.
    fn mark(&self) -> Option<Mark> {
        let meta = std::fs::metadata(&self.0).ok()?;
        Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
    }
}

fn hash(key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    digest.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Principal {
    pub(super) name: String,
    pub(super) role: ApiRole,
}

/// Inode, length and time of a file.
type Mark = (u64, u64, i64, i64);

/// Recognises keys and tokens.
pub(super) struct Keys {
    file: KeyFile,
    loaded: Mutex<(Option<Mark>, Vec<ApiKey>)>,
    /// Tokens end with the process: a restart is a way to end them all.
    secret: [u8; 32],
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    pub(super) fn new(file: KeyFile) -> Result<Self, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Self {
            file,
            loaded: Mutex::new((None, Vec::new())),
            secret,
        })
    }

    /// Who this is; absent for a stranger.
    pub(super) fn recognise(&self, shown: &str) -> Option<Principal> {
        if shown.starts_with(MARK) {
            return self.by_key(shown);
        }
        self.by_token(shown)
    }

    /// The key with this hash, where its time is not over.
    fn key(&self, sha256: &str) -> Option<ApiKey> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = self.file.mark();
        if loaded.0 != mark || mark.is_none() {
            match self.file.load() {
                Ok(keys) => *loaded = (mark, keys),
                Err(error) => tracing::error!("{error}"),
            }
        }
        // Hashes of what is shown tell nothing by the time that comparing them takes.
        let key = loaded.1.iter().find(|key| key.sha256 == sha256)?;
        let is_over = key.expires.as_ref().is_some_and(|time| {
            time.parse::<Timestamp>()
                .is_ok_and(|time| time <= Timestamp::now())
        });
        (!is_over).then(|| key.clone())
    }

    fn by_key(&self, shown: &str) -> Option<Principal> {
        let key = self.key(&hash(shown))?;
        Some(Principal {
            name: key.name,
            role: key.role,
        })
    }

    fn sign(&self, text: &str) -> Option<Vec<u8>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).ok()?;
        mac.update(text.as_bytes());
        Some(mac.finalize().into_bytes().to_vec())
    }

    /// A token for whoever shows a key, good for so many seconds; none in the place of a token, which
    /// would never end then.
    pub(super) fn token(&self, shown: &str, role: ApiRole, seconds: i64) -> Option<String> {
        let key = self.key(&hash(shown))?;
        let role = role.min(key.role);
        let until = Timestamp::now().as_second().checked_add(seconds)?;
        let text = format!("{until} {} {}", role.name(), key.sha256);
        let signature = BASE64.encode(self.sign(&text)?);
        Some(format!("{}.{signature}", BASE64.encode(text)))
    }

    fn by_token(&self, shown: &str) -> Option<Principal> {
        let (text, signature) = shown.split_once('.')?;
        let text = String::from_utf8(BASE64.decode(text).ok()?).ok()?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).ok()?;
        mac.update(text.as_bytes());
        mac.verify_slice(&BASE64.decode(signature).ok()?).ok()?;
        let mut parts = text.splitn(3, ' ');
        let until: i64 = parts.next()?.parse().ok()?;
        let role = match parts.next()? {
            "reader" => ApiRole::Reader,
            "writer" => ApiRole::Writer,
            "admin" => ApiRole::Admin,
            _ => return None,
        };
        if until <= Timestamp::now().as_second() {
            return None;
        }
        // With its key it ends, and it never may more than that.
        let key = self.key(parts.next()?)?;
        Some(Principal {
            name: key.name,
            role: role.min(key.role),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_by_their_hash_and_end_when_they_are_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::below(dir.path());
        let key = file.create("grafana", ApiRole::Reader, None).unwrap();
        let text = std::fs::read_to_string(dir.path().join("api-keys.json")).unwrap();
        assert!(!text.contains(&key));
        let keys = Keys::new(file.clone()).unwrap();
        assert_eq!(keys.recognise(&key).unwrap().role, ApiRole::Reader);
        assert_eq!(keys.recognise("lucid_other"), None);
        assert!(file.create("grafana", ApiRole::Admin, None).is_err());
        assert!(file.create("a b", ApiRole::Admin, None).is_err());
        let old = file.create("old", ApiRole::Admin, Some(0)).unwrap();
        assert_eq!(keys.recognise(&old), None);
        file.revoke("grafana").unwrap();
        assert_eq!(keys.recognise(&key), None);
        assert!(file.revoke("grafana").is_err());
    }

    #[test]
    fn a_token_is_good_for_its_time_ends_with_its_key_and_cannot_be_changed() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::below(dir.path());
        let key = file.create("page", ApiRole::Writer, None).unwrap();
        let keys = Keys::new(file.clone()).unwrap();
        let token = keys.token(&key, ApiRole::Admin, 60).unwrap();
        assert_eq!(keys.recognise(&token).unwrap().role, ApiRole::Writer);
        let less = keys.token(&key, ApiRole::Reader, 60).unwrap();
        assert_eq!(keys.recognise(&less).unwrap().role, ApiRole::Reader);
        let over = keys.token(&key, ApiRole::Writer, -1).unwrap();
        assert_eq!(keys.recognise(&over), None);
        // No token for a token: it would never end.
        assert_eq!(keys.token(&token, ApiRole::Writer, 60), None);
        let (text, signature) = token.split_once('.').unwrap();
        let text = String::from_utf8(BASE64.decode(text).unwrap()).unwrap();
        let forged = BASE64.encode(text.replace("writer", "admin"));
        assert_eq!(keys.recognise(&format!("{forged}.{signature}")), None);
        let other = Keys::new(file.clone()).unwrap();
        assert_eq!(other.recognise(&token), None);
        file.revoke("page").unwrap();
        assert_eq!(keys.recognise(&token), None);
        // Another key of the same name is not the key.
        file.create("page", ApiRole::Writer, None).unwrap();
        assert_eq!(keys.recognise(&token), None);
    }
}
