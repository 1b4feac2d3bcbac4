//! Clients of HTTP: every one begins here, so that its cryptography is there.

/// A client to be built; `ring` is what the rest of the program uses as well.
pub fn client() -> reqwest::ClientBuilder {
    // Another part of the program may have done it.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}
