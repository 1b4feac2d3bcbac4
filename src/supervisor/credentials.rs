//! Passwords: made at first start, kept in files of mode 0600, never defaults.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::Role;
use crate::engine::{Credentials, Login, account_names};
use crate::fsx::{self, FsError};
use crate::paths::Paths;

/// 32 of 62 characters: 190 bits.
const PASSWORD_LENGTH: usize = 32;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A credential file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Reading or writing failed.
    #[error(transparent)]
    File(#[from] FsError),
    /// The content is not what Lucid wrote.
    #[error("{}: {source}; restore it from a backup of etc/lucid/credentials, since the datastore \
             knows only the passwords that stood in it", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Others can read the secrets.
    #[error("{}: mode {mode:o} lets others read it; run: chmod 600 {}",
        path.display(), path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Permission bits found.
        mode: u32,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}; is /dev/urandom there?")]
    Random(String),
}

/// The credential file of `role`.
pub fn file(paths: &Paths, role: Role) -> PathBuf {
    paths.credentials().join(format!("{role}.json"))
}

/// Reads the credentials of `role`.
///
/// # Errors
/// [`CredentialError`]; a missing file is [`CredentialError::File`].
pub fn load(paths: &Paths, role: Role) -> Result<Credentials, CredentialError> {
    let path = file(paths, role);
    let text = fsx::read_text(&path, 16 * 1024)?;
    let mode = mode_of(&path)?;
    if mode & 0o077 != 0 {
        return Err(CredentialError::Mode { path, mode });
    }
    serde_json::from_str(&text).map_err(|source| CredentialError::Content { path, source })
}

fn mode_of(path: &Path) -> Result<u32, FsError> {
    std::fs::metadata(path)
        .map(|meta| meta.permissions().mode() & 0o7777)
        .map_err(FsError::wrap("read the mode of", path))
}

/// Writes the credentials of `role`.
///
/// # Errors
/// [`CredentialError::File`].
pub fn save(paths: &Paths, role: Role, credentials: &Credentials) -> Result<(), CredentialError> {
    fsx::create_dir(&paths.credentials(), 0o700)?;
    let text = serde_json::to_vec_pretty(credentials).unwrap_or_default();
    Ok(fsx::write_atomic(&file(paths, role), &text, 0o600)?)
}

/// Reads the credentials of `role`, or makes them. Tells whether they are new.
///
/// # Errors
/// As [`load`] and [`save`]; an unreadable file is never replaced.
pub fn load_or_create(paths: &Paths, role: Role) -> Result<(Credentials, bool), CredentialError> {
    match load(paths, role) {
        Err(CredentialError::File(error))
            if error.source.kind() == std::io::ErrorKind::NotFound =>
        {
            let (supervisor, client) = account_names(role);
            let credentials = Credentials {
                supervisor: Login {
                    user: supervisor.to_owned(),
                    password: password()?,
                },
                client: Login {
                    user: client.to_owned(),
                    password: password()?,
                },
            };
            save(paths, role, &credentials)?;
            Ok((credentials, true))
        }
        other => other.map(|credentials| (credentials, false)),
    }
}

/// A new random password of letters and digits.
///
/// # Errors
/// [`CredentialError::Random`].
pub fn password() -> Result<String, CredentialError> {
    let mut text = String::with_capacity(PASSWORD_LENGTH);
    let mut bytes = [0u8; 64];
    while text.len() < PASSWORD_LENGTH {
        getrandom::fill(&mut bytes).map_err(|e| CredentialError::Random(e.to_string()))?;
        // 248 is the largest multiple of 62 below 256: no character is likelier than another.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        text.extend(fair.map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])));
    }
    text.truncate(PASSWORD_LENGTH);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_made_once_and_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        let (made, new) = load_or_create(&paths, Role::Cache).unwrap();
        assert!(new);
        assert_eq!(
            load_or_create(&paths, Role::Cache).unwrap(),
            (made.clone(), false)
        );
        assert_eq!(mode_of(&file(&paths, Role::Cache)).unwrap(), 0o600);
        assert_eq!(mode_of(&paths.credentials()).unwrap(), 0o700);
        assert_ne!(made.client.password, made.supervisor.password);
        assert!(
            !format!("{made:?}").contains(&made.client.password),
            "a password in a log"
        );
    }

    #[test]
    fn a_damaged_or_open_file_is_refused_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        load_or_create(&paths, Role::Cache).unwrap();
        let path = file(&paths, Role::Cache);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = load_or_create(&paths, Role::Cache).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        fsx::write_atomic(&path, b"{", 0o600).unwrap();
        let error = load_or_create(&paths, Role::Cache).unwrap_err().to_string();
        assert!(error.contains("backup"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"{");
    }

    #[test]
    fn passwords_are_long_plain_and_different() {
        let (a, b) = (password().unwrap(), password().unwrap());
        assert_ne!(a, b);
        assert!(
            a.len() == 32 && a.bytes().all(|c| c.is_ascii_alphanumeric()),
            "{a}"
        );
    }
}
