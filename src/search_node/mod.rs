//! The embedded search engine: the part of Elasticsearch's REST API that Lucid and ordinary
//! clients use, on a board that cannot carry a JVM.
//!
//! What it does not have it refuses by name. A document that was acknowledged is in the
//! write-ahead log on the disk; what searches see are immutable segments of `tantivy`.

mod aggs;
mod analysis;
mod cluster;
mod dates;
mod failure;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod http;
mod json;
mod lifecycle;
mod mapping;
mod names;
mod options;
mod query;
mod query_string;
mod search;
mod shard;
mod sizes;
mod snapshots;
mod stored;
mod suggest;
mod tasks;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::listen::{CertificateError, Listener, server_config};
use cluster::Node;
use failure::Failure;
use http::{Service, Users};
use options::Options;

/// The primary term of every index: there is one copy, and it never fails over.
const PRIMARY_TERM: u64 = 1;

/// How often merges are looked at when there was none to do.
const MERGE_EVERY: Duration = Duration::from_secs(1);

/// How often refreshes and saves are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How often it is looked at whether lifecycle policies are due.
const LIFECYCLE_TICK: Duration = Duration::from_millis(250);

/// How often writes that nobody waits for are brought to the disk.
const SYNC_EVERY: Duration = Duration::from_secs(5);

/// Largest body of a request, in bytes, as `http.max_content_length`; less on small boards.
const MAX_BODY: u64 = 100 << 20;

/// Why the node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error("{}: {cause}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] crate::fsx::FsError),
    /// The data cannot be opened.
    #[error("{dir}: {failure}")]
    Data {
        /// The directory.
        dir: String,
        /// Why.
        failure: String,
    },
    /// An address is taken or not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// There is no certificate to show.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Signals cannot be caught.
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
}

/// Runs the node that `config` describes until SIGTERM or SIGINT.
pub async fn run(config: &Path) -> Result<(), StartError> {
    let began = Instant::now();
    let options = Options::load(config)?;
    let mut term = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    let tls = match &options.tls {
        None => None,
        Some(tls) => {
            let config = server_config(tls, &options.data, &options.listen)?;
            Some(tokio_rustls::TlsAcceptor::from(config))
        }
    };
    let why = "this address speaks TLS; use https";
    let refusal = Failure::new(400, "security_exception", why)
        .body()
        .to_string();
    let mut listeners = Vec::new();
    for address in &options.listen {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| StartError::Listen {
                address: *address,
                source,
            })?;
        listeners.push(Listener::new(listener, tls.clone(), &refusal));
    }
    let (data, cluster, name) = (
        options.data.clone(),
        options.cluster_name.clone(),
        options.node_name.clone(),
    );
    let (memory, path_repo) = (options.memory_bytes, options.path_repo.clone());
    let opened =
        tokio::task::spawn_blocking(move || Node::open(&data, &cluster, &name, memory, &path_repo))
            .await;
    let node = opened
        .map_err(|error| error.to_string())
        .and_then(|opened| opened.map_err(|failure| failure.to_string()))
        .map_err(|failure| StartError::Data {
            dir: options.data.display().to_string(),
            failure,
        })?;
    let max_body = usize::try_from(MAX_BODY.min(memory.max(16 << 20))).unwrap_or(usize::MAX);
    let service = Arc::new(Service::new(
        Arc::clone(&node),
        Users::new(options.users()),
        max_body,
    ));
    let stop = watch::Sender::new(false);
    let mut servers = tokio::task::JoinSet::new();
    for listener in listeners {
        let mut stopped = stop.subscribe();
        let service = Arc::clone(&service);
        servers.spawn(http::serve(listener, service, async move {
            // An error means that the sender is gone: it is time to stop as well.
            let _ = stopped.wait_for(|stop| *stop).await;
        }));
    }
    let mut keepers = tokio::task::JoinSet::new();
    keepers.spawn(keep(Arc::clone(&node), stop.subscribe()));
    keepers.spawn(merge(Arc::clone(&node), stop.subscribe()));
    keepers.spawn(lead(Arc::clone(&node), stop.subscribe()));
    keepers.spawn(sync(Arc::clone(&node), stop.subscribe()));
    tracing::info!(
        "ready after {} ms: {} indices, listening on {:?}",
        began.elapsed().as_millis(),
        node.indices().len(),
        options.listen
    );
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stop.send_replace(true);
    node.snapshots.stop();
    let ended = async { while servers.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_secs(5), ended)
        .await
        .is_err()
    {
        tracing::warn!("some requests were not finished");
    }
    while keepers.join_next().await.is_some() {}
    let _ = tokio::task::spawn_blocking(move || node.close()).await;
    Ok(())
}

/// Does what is due now and then until it is time to stop.
async fn keep(node: Arc<Node>, mut stopped: watch::Receiver<bool>) {
    while !over(TICK, &mut stopped).await {
        let work = Arc::clone(&node);
        if let Err(error) = tokio::task::spawn_blocking(move || work.tick()).await {
            tracing::error!("upkeep met a fault: {error}");
        }
    }
}

/// Puts segments together, apart from [`keep`]: a merge takes long, and refreshes do not wait.
async fn merge(node: Arc<Node>, mut stopped: watch::Receiver<bool>) {
    let mut pause = MERGE_EVERY;
    while !over(pause, &mut stopped).await {
        let work = Arc::clone(&node);
        let merged = tokio::task::spawn_blocking(move || work.merge()).await;
        pause = match merged {
            Ok(true) => Duration::ZERO,
            Ok(false) => MERGE_EVERY,
            Err(error) => {
                tracing::error!("a merge met a fault: {error}");
                MERGE_EVERY
            }
        };
    }
}

/// Acts on lifecycle policies, apart from [`keep`]: a step may take as long as a merge.
async fn lead(node: Arc<Node>, mut stopped: watch::Receiver<bool>) {
    while !over(LIFECYCLE_TICK, &mut stopped).await {
        if !node.is_lifecycle_due() {
            continue;
        }
        let work = Arc::clone(&node);
        let mut pass = tokio::task::spawn_blocking(move || work.lifecycle_pass());
        let ended = tokio::select! {
            ended = &mut pass => ended,
            () = async { drop(stopped.wait_for(|stop| *stop).await) } => {
                node.lifecycle.halt();
                pass.await
            }
        };
        if let Err(error) = ended {
            tracing::error!("the lifecycle of indices met a fault: {error}");
        }
    }
}

/// Brings writes that nobody waits for to the disk.
async fn sync(node: Arc<Node>, mut stopped: watch::Receiver<bool>) {
    while !over(SYNC_EVERY, &mut stopped).await {
        node.log.request_all();
    }
}

/// Waits for `pause`; says whether it is time to stop.
async fn over(pause: Duration, stopped: &mut watch::Receiver<bool>) -> bool {
    tokio::time::timeout(pause, stopped.wait_for(|stop| *stop))
        .await
        .is_ok()
}
