//! Files of a repository as restic seals them: AES-256 in counter mode with Poly1305, and named
//! after their SHA-256.

use aes256ctr_poly1305aes::aead::Aead;
use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key as CipherKey, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustic_core::repofile::MasterKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const NONCE: usize = 16;
/// What is no pack begins so where it is compressed, in repositories of version 2.
const PACKED: u8 = 2;
/// zstd's own default.
const LEVEL: i32 = 3;

/// A key as JSON, in the parts that restic names so.
#[derive(Deserialize)]
struct Parts {
    mac: Mac,
    encrypt: String,
}

#[derive(Deserialize)]
struct Mac {
    k: String,
    r: String,
}

/// The key of a repository.
#[derive(Clone)]
pub(super) struct Seal(CipherKey);

impl Seal {
    /// # Errors
    /// What is wrong with the key.
    pub(super) fn new(key: &MasterKey) -> Result<Self, String> {
        let parts: Parts = serde_json::to_value(key)
            .and_then(serde_json::from_value)
            .map_err(|error| error.to_string())?;
        let mut bytes = Vec::with_capacity(64);
        for part in [parts.encrypt, parts.mac.k, parts.mac.r] {
            let part = STANDARD.decode(part).map_err(|error| error.to_string())?;
            bytes.extend(part);
        }
        let whole: [u8; 64] = bytes
            .try_into()
            .map_err(|_| "the key is of an unknown length".to_owned())?;
        Ok(Self(whole.into()))
    }

    /// What only the key opens.
    ///
    /// # Errors
    /// What the random generator or the cipher says.
    pub(super) fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, String> {
        let mut nonce = [0_u8; NONCE];
        getrandom::fill(&mut nonce).map_err(|error| error.to_string())?;
        let secret = Aes256CtrPoly1305Aes::new(&self.0)
            .encrypt(Nonce::from_slice(&nonce), plain)
            .map_err(|error| error.to_string())?;
        Ok([&nonce[..], &secret].concat())
    }

    /// A value, compressed and sealed as files beside packs are.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub(super) fn file(&self, value: &impl Serialize) -> Result<Vec<u8>, String> {
        let plain = serde_json::to_vec(value).map_err(|error| error.to_string())?;
        let mut packed = vec![PACKED];
        packed.extend(pack(&plain)?);
        self.seal(&packed)
    }

    /// What was sealed; nothing where it was with another key, or half.
    pub(super) fn open(&self, content: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = content.split_at_checked(NONCE)?;
        let cipher = Aes256CtrPoly1305Aes::new(&self.0);
        let plain = cipher.decrypt(Nonce::from_slice(nonce), rest).ok()?;
        match plain.split_first() {
            Some((&PACKED, packed)) => zstd::decode_all(packed).ok(),
            _ => Some(plain),
        }
    }
}

/// Compressed.
///
/// # Errors
/// What zstd says.
pub(super) fn pack(plain: &[u8]) -> Result<Vec<u8>, String> {
    zstd::encode_all(plain, LEVEL).map_err(|error| error.to_string())
}

/// The name of a file, or of a piece.
pub(super) fn name_of(content: &[u8]) -> String {
    super::hex(&Sha256::digest(content))
}
