//! Serves the API: on a port, and on the socket beside what the command line asks there.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Request;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::serve::IncomingStream;
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::guard::Peer;
use super::{Api, own_certificate, router};
use crate::config::{Config, SearchTls};
use crate::listen::{CertificateError, Listener, TlsOptions, serve as serve_http, server_config};
use crate::panel::PanelHandle;
use crate::paths::Paths;
use crate::status::StatusHub;
use crate::store::Stores;
use crate::supervisor::Handle;

/// What whoever comes in the clear is told where there is TLS.
const REFUSAL: &str = r#"{"error":{"code":"LUCID_ERR_1004","message":"this address speaks TLS; use https","details":[]}}"#;

/// Why the API is not served over the network.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port.
    #[error("api.port: cannot listen on {address}: {source}; stop what does, or take another port")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate.
    #[error("api.tls: {0}")]
    Certificate(#[from] CertificateError),
    /// Random numbers.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let credentials = stream.io().peer_cred();
        Self::Local {
            uid: credentials.map_or(u32::MAX, |credentials| credentials.uid()),
        }
    }
}

/// Passes on where a request comes from: both doors say it, each in its own way.
async fn peer(mut request: Request, next: Next) -> Response {
    let extensions = request.extensions_mut();
    let local = extensions.get::<ConnectInfo<Peer>>().map(|info| info.0);
    let remote = extensions.get::<ConnectInfo<SocketAddr>>();
    let remote = remote.map(|info| Peer::Remote(info.0.ip().to_canonical()));
    if let Some(peer) = local.or(remote) {
        extensions.insert(peer);
    }
    next.run(request).await
}

/// What serves the API; it ends when this is dropped.
#[derive(Debug)]
pub struct Served {
    router: Router,
    doors: Vec<Listener>,
    paths: Paths,
    config: Config,
    stores: Stores,
    hub: StatusHub,
}

impl Served {
    /// Makes what is served, and opens the port where there is one.
    ///
    /// # Errors
    /// [`ServeError`]
    pub async fn open(
        paths: &Paths,
        config: &Config,
        handle: Handle,
        panel: PanelHandle,
    ) -> Result<Self, ServeError> {
        let hub = handle.hub().clone();
        let api = Api::new(paths, config, handle, panel)?;
        let stores = api.stores.clone();
        let router = router(api, &config.api).layer(middleware::from_fn(peer));
        let mut served = Self {
            router,
            doors: Vec::new(),
            paths: paths.clone(),
            config: config.clone(),
            stores,
            hub,
        };
        let settings = &config.api;
        if !settings.enabled {
            return Ok(served);
        }
        let listen: Vec<SocketAddr> = settings
            .listen
            .iter()
            .map(|ip| SocketAddr::new(*ip, settings.port))
            .collect();
        let tls = match settings.tls {
            SearchTls::Off => None,
            SearchTls::Generated | SearchTls::Given => {
                let options = TlsOptions {
                    certificate: settings.certificate.clone(),
                    key: settings.key.clone(),
                };
                let config = server_config(&options, &own_certificate(paths), &listen)?;
                Some(TlsAcceptor::from(config))
            }
        };
        for address in listen {
            let tcp = TcpListener::bind(address)
                .await
                .map_err(|source| ServeError::Listen { address, source })?;
            served.doors.push(Listener::new(tcp, tls.clone(), REFUSAL));
        }
        Ok(served)
    }

    /// What the socket serves as well.
    pub fn router(&self) -> Router {
        self.router.clone()
    }
}

/// Serves the network, and has the search indices follow, until dropped.
pub async fn serve(served: Served) {
    let mut tasks = tokio::task::JoinSet::new();
    let (paths, config, stores, hub) = (served.paths, served.config, served.stores, served.hub);
    tasks.spawn(async move { crate::api::feed::run(&paths, &config, stores, hub).await });
    for door in served.doors {
        tasks.spawn(serve_http(door, served.router.clone()));
    }
    // A task that panicked ended the program; others end with this.
    while tasks.join_next().await.is_some() {}
}
