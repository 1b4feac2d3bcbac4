//! Doors for HTTP over the network: connections with TLS or without, and the certificate that they
//! show.

mod certificate;
mod listener;
mod serve;

pub use certificate::{CertificateError, TlsOptions, server_config};
pub use listener::{Listener, Stream};
pub use serve::serve;
