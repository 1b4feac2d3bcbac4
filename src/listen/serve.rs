//! Serves HTTP at a door: whoever says nothing for long gives the place back.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
use axum::serve::Listener as _;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::Listener;

/// How long a request's head, and the silence before it, takes at most: as long as what most servers
/// keep an idle connection (nginx, `keepalive_timeout`).
const HEAD_LIMIT: Duration = Duration::from_secs(75);

/// Serves what comes in at `listener` until dropped; connections end with it. Requests carry
/// `ConnectInfo<SocketAddr>`.
pub async fn serve(mut listener: Listener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, peer) = listener.accept() => {
                connections.spawn(connection(stream, peer, router.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    router: Router,
) {
    let service = router.map_request(move |request: axum::http::Request<_>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    });
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    if let Err(error) = served.await {
        tracing::trace!("{peer}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    /// How long a connection lasts whose client sends `begins`, and then a byte every 10 s.
    async fn lasts(begins: &str) -> (Duration, String) {
        let peer: SocketAddr = ([192, 0, 2, 1], 1).into();
        let router = Router::new().route(
            "/",
            get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }),
        );
        let (here, there) = tokio::io::duplex(4096);
        let began = Instant::now();
        let server = tokio::spawn(connection(there, peer, router));
        let (mut read, mut write) = tokio::io::split(here);
        write.write_all(begins.as_bytes()).await.unwrap();
        let drip = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(10)).await;
                if write.write_all(b"x").await.is_err() {
                    return;
                }
            }
        });
        server.await.unwrap();
        let lasted = began.elapsed();
        drip.abort();
        let _ = drip.await;
        let mut answer = String::new();
        let _ = read.read_to_string(&mut answer).await;
        (lasted, answer)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_and_silence_end_the_connection() {
        let (lasted, _) = lasts("GET / HTTP/1.1\r\nx: ").await;
        assert!(lasted <= HEAD_LIMIT + Duration::from_secs(1), "{lasted:?}");
        let (lasted, answer) = lasts("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(answer.contains("192.0.2.1:1"), "{answer}");
        assert!(lasted <= HEAD_LIMIT + Duration::from_secs(11), "{lasted:?}");
    }
}
