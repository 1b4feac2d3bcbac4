//! Clients of HTTP: every one begins here, so that its cryptography is there.

/// A client of a service somewhere else: it trusts what the system trusts.
pub fn remote() -> reqwest::ClientBuilder {
    // Another part of the program may have done it.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}

/// A client of a program on this machine, which needs nobody's certificates: reading those of the
/// system takes milliseconds, and not every system has any.
pub fn client() -> reqwest::ClientBuilder {
    remote().tls_certs_only(Vec::new())
}
