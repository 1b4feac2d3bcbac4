//! The certificate that the node shows: given, or made at the first start.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::fsx;

/// Larger files hold no certificate.
const MAX_FILE: u64 = 1 << 20;

/// `[tls]`: both files, or none to have them made.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsOptions {
    /// Certificates in PEM, the node's first.
    pub certificate: Option<PathBuf>,
    /// Its private key in PEM.
    pub key: Option<PathBuf>,
}

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// One file stands for both.
    #[error("TLS needs [certificate] and [key] together; leave both out to have them made")]
    Half,
    /// A file cannot be read.
    #[error(
        "{0}; the files of the certificate must be readable by the user that serves it: lucid-search for \
         the search node, root for the API"
    )]
    Unreadable(#[source] fsx::FsError),
    /// A certificate that was made cannot be kept.
    #[error(
        "cannot keep the certificate that was made: {0}; make room there, or let the user write who \
         serves it: lucid-search for the search node, root for the API"
    )]
    Keep(#[from] fsx::FsError),
    /// A file holds something else.
    #[error("{}: {cause}; it must hold a {what} in PEM", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// They do not go together, or are of a kind that TLS does not know.
    #[error("certificate {} and its key: {cause}", path.display())]
    Pair {
        /// The certificate.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// None could be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// What TLS connections are answered with. Files that are made lie in `data/tls`.
pub fn server_config(
    options: &TlsOptions,
    data: &Path,
    listen: &[SocketAddr],
) -> Result<Arc<ServerConfig>, CertificateError> {
    match (&options.certificate, &options.key) {
        (Some(certificate), Some(key)) => load(certificate, key),
        (None, None) => generated(&data.join("tls"), &names(listen)),
        _ => Err(CertificateError::Half),
    }
}

fn content(path: &Path, what: &'static str, cause: &dyn std::fmt::Display) -> CertificateError {
    CertificateError::Content {
        path: path.to_path_buf(),
        what,
        cause: cause.to_string(),
    }
}

/// Reads both files, and says which certificate it is: clients that trust no authority compare
/// the fingerprint.
fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, CertificateError> {
    let text = fsx::read_text(certificate, MAX_FILE).map_err(CertificateError::Unreadable)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let chain = chain.map_err(|error| content(certificate, "certificate", &error))?;
    let Some(first) = chain.first() else {
        return Err(content(certificate, "certificate", &"there is none"));
    };
    let fingerprint = fingerprint(first);
    let text = fsx::read_text(key, MAX_FILE).map_err(CertificateError::Unreadable)?;
    let private = PrivateKeyDer::from_pem_slice(text.as_bytes());
    let private = private.map_err(|error| content(key, "private key", &error))?;
    let pair = |error: tokio_rustls::rustls::Error| CertificateError::Pair {
        path: certificate.to_path_buf(),
        cause: error.to_string(),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    tracing::info!(
        "TLS with certificate {}, SHA-256 fingerprint {fingerprint}",
        certificate.display()
    );
    Ok(Arc::new(config))
}

/// As `openssl x509 -fingerprint -sha256` shows it.
fn fingerprint(certificate: &[u8]) -> String {
    let bytes = Sha256::digest(certificate);
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

/// What clients on this machine and on the network call it. Addresses that the network gives out
/// are no part of it, or the certificate would change with them.
fn names(listen: &[SocketAddr]) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = [
        "localhost".to_owned(),
        Ipv4Addr::LOCALHOST.to_string(),
        Ipv6Addr::LOCALHOST.to_string(),
    ]
    .into();
    let host = fsx::read_text(Path::new("/proc/sys/kernel/hostname"), 256).unwrap_or_default();
    let host = host.trim();
    if !host.is_empty() && host != "(none)" {
        names.insert(host.to_owned());
        if !host.contains('.') {
            names.insert(format!("{host}.local"));
        }
    }
    let addresses = listen.iter().map(SocketAddr::ip);
    names.extend(
        addresses
            .filter(|ip| !ip.is_unspecified())
            .map(|ip| ip.to_string()),
    );
    names
}

/// Addresses that the interfaces have now.
fn addresses_now() -> impl Iterator<Item = IpAddr> {
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    all.filter_map(|interface| {
        let address = interface.address?;
        let four = address.as_sockaddr_in().map(|four| IpAddr::V4(four.ip()));
        four.or_else(|| address.as_sockaddr_in6().map(|six| IpAddr::V6(six.ip())))
    })
}

/// The one in `dir`, made anew when it is not for these `names` or not whole.
fn generated(dir: &Path, names: &BTreeSet<String>) -> Result<Arc<ServerConfig>, CertificateError> {
    let (certificate, key) = (dir.join("certificate.pem"), dir.join("key.pem"));
    let made_for = dir.join("names.json");
    let known = fsx::read_text(&made_for, MAX_FILE).ok();
    let known = known.and_then(|text| serde_json::from_str::<BTreeSet<String>>(&text).ok());
    if known.as_ref() == Some(names) {
        match load(&certificate, &key) {
            Ok(config) => return Ok(config),
            Err(error) => tracing::warn!("{error}; a new certificate is made"),
        }
    }
    fsx::create_dir_durable(dir, 0o700)?;
    let mut all = names.clone();
    all.extend(addresses_now().map(|ip| ip.to_string()));
    let (made, private) = make(all)?;
    fsx::write_atomic(&key, private.as_bytes(), 0o600)?;
    fsx::write_atomic(&certificate, made.as_bytes(), 0o644)?;
    // Last: without it the other two do not count.
    let names = serde_json::json!(names).to_string();
    fsx::write_atomic(&made_for, names.as_bytes(), 0o600)?;
    load(&certificate, &key)
}

/// A certificate that vouches for itself, and its key. It has no end, as RFC 5280, 4.1.2.5,
/// provides for devices: nobody would renew it, and a board without a clock starts in the past.
fn make(names: BTreeSet<String>) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(names.into_iter().collect::<Vec<_>>())?;
    params.not_before = rcgen::date_time_ymd(1975, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    params
        .distinguished_name
        .push(DnType::CommonName, "lucid search node");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn pem(dir: &Path) -> String {
        fsx::read_text(&dir.join("tls/certificate.pem"), MAX_FILE).unwrap()
    }

    #[test]
    fn a_made_certificate_stays_until_the_names_change_or_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let none = TlsOptions::default();
        let loopback = at(&["127.0.0.1:9200"]);
        server_config(&none, dir.path(), &loopback).unwrap();
        let first = pem(dir.path());
        server_config(&none, dir.path(), &at(&["0.0.0.0:9200"])).unwrap();
        assert_eq!(pem(dir.path()), first, "no other name");
        server_config(&none, dir.path(), &at(&["192.168.7.7:9200"])).unwrap();
        let second = pem(dir.path());
        assert_ne!(second, first);
        fsx::write_atomic(&dir.path().join("tls/key.pem"), b"torn", 0o600).unwrap();
        server_config(&none, dir.path(), &at(&["192.168.7.7:9200"])).unwrap();
        assert_ne!(pem(dir.path()), second);
    }

    #[test]
    fn given_files_must_be_there_be_pem_and_go_together() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fsx::write_atomic(&path, text.as_bytes(), 0o600).unwrap();
            Some(path)
        };
        let (certificate, key) = make(names(&[])).unwrap();
        let (_, other) = make(names(&[])).unwrap();
        let good = file("good", &certificate);
        for (certificate, key, text) in [
            (good.clone(), file("key", &key), ""),
            (good.clone(), None, "leave both out"),
            (good.clone(), Some("/nonexistent".into()), "lucid-search"),
            (good.clone(), file("none", ""), "private key"),
            (file("empty", "x"), file("key", &key), "certificate in PEM"),
            (good.clone(), file("other", &other), "and its key"),
        ] {
            let options = TlsOptions { certificate, key };
            match server_config(&options, dir.path(), &[]) {
                Ok(_) => assert_eq!(text, ""),
                Err(error) => {
                    let error = error.to_string();
                    assert!(!text.is_empty() && error.contains(text), "{error}");
                }
            }
        }
    }
}
