//! The key of a repository: twelve words (BIP 39, 128 bits), which are restic's password as they stand.

use std::path::Path;

use bip39::Mnemonic;

use crate::fsx::{self, FsError};

/// A key as words. Whoever has them reads every backup; without them nobody does.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(***)")
    }
}

/// Words that are no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// As written.
    #[error(
        "these words are no key: {0}; a key has twelve words, as `lucid backup key show` printed them"
    )]
    Words(String),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}; is /dev/urandom there?")]
    Random(String),
    /// The file that holds it.
    #[error(transparent)]
    File(#[from] FsError),
}

const MAX_BYTES: u64 = 4096;

impl Key {
    /// A new one.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut entropy = [0_u8; 16];
        getrandom::fill(&mut entropy).map_err(|error| KeyError::Random(error.to_string()))?;
        let words =
            Mnemonic::from_entropy(&entropy).map_err(|error| KeyError::Words(error.to_string()))?;
        Ok(Self(words.to_string()))
    }

    /// From words as a person writes them: case and spaces do not matter, a wrong word is told.
    ///
    /// # Errors
    /// [`KeyError::Words`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
        let text = words.join(" ");
        let checked = Mnemonic::parse_normalized(&text).map_err(|error| match error {
            bip39::Error::UnknownWord(at) => KeyError::Words(format!(
                "word {} ({:?}) is in no key",
                at + 1,
                words.get(at).map_or("", String::as_str)
            )),
            error => KeyError::Words(error.to_string()),
        })?;
        if checked.word_count() != 12 {
            return Err(KeyError::Words(format!(
                "they are {}",
                checked.word_count()
            )));
        }
        Ok(Self(text))
    }

    /// Reads it from its file.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        Self::parse(&fsx::read_text(path, MAX_BYTES)?)
    }

    /// Writes it, for its owner alone.
    ///
    /// # Errors
    /// [`KeyError::File`].
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        Ok(fsx::write_atomic(
            path,
            format!("{}\n", self.0).as_bytes(),
            0o600,
        )?)
    }

    /// The words, with a space between two.
    pub fn words(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_after_it_was_written_down() {
        let key = Key::generate().unwrap();
        let written = key.words().to_uppercase().replace(' ', "\n  ");
        assert_eq!(Key::parse(&written).unwrap(), key);
        assert_ne!(Key::generate().unwrap(), key);
        let dir = tempfile::tempdir().unwrap();
        key.write(&dir.path().join("key")).unwrap();
        assert_eq!(Key::read(&dir.path().join("key")).unwrap(), key);
        assert!(!format!("{key:?}").contains(key.words()));
    }

    #[test]
    fn a_slip_of_the_pen_is_told_by_its_word() {
        let key = Key::generate().unwrap();
        let wrong = key
            .words()
            .replacen(key.words().split(' ').nth(2).unwrap(), "lucidity", 1);
        let told = Key::parse(&wrong).unwrap_err().to_string();
        assert!(told.contains("lucidity"), "{told}");
        assert!(Key::parse("").is_err());
        assert!(Key::parse("legal winner thank year").is_err());
    }
}
