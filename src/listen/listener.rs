//! Connections: with TLS for whoever comes over the network, with or without for programs of this
//! machine.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{self, AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Connections from the network at once at most; more are closed. Those of this machine, the
/// supervisor's among them, are not counted.
const MAX_REMOTE: usize = 256;

/// How long a client takes to say hello at most.
const HELLO_LIMIT: Duration = Duration::from_secs(10);

/// After so many seconds of silence the other end is asked whether it is there, four times in as
/// long again; for twice as long it may leave what was sent to it without a receipt.
const KEEP_IDLE: u32 = 60;

/// First byte of a TLS connection: a handshake record (RFC 8446, 5.1).
const HANDSHAKE: u8 = 0x16;

/// Wait after an error of the machine, such as too many open files.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// See the module.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    /// Connections that have not said hello.
    waiting: JoinSet<Option<Accepted>>,
    remote: Arc<Semaphore>,
    refusal: Arc<str>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("tcp", &self.tcp)
            .finish_non_exhaustive()
    }
}

type Accepted = (Stream, SocketAddr);

/// One connection.
#[derive(Debug)]
pub enum Stream {
    /// As it comes.
    Plain(TcpStream),
    /// With TLS.
    Tls {
        /// The connection.
        stream: Box<TlsStream<TcpStream>>,
        /// Taken as long as it lasts, when it comes over the network.
        _place: Option<OwnedSemaphorePermit>,
    },
}

impl Listener {
    /// Takes connections of `tcp`, with `tls` if there is any: then whoever comes over the network in
    /// the clear is answered with `refusal`, which is JSON.
    pub fn new(tcp: TcpListener, tls: Option<TlsAcceptor>, refusal: &str) -> Self {
        Self {
            tcp,
            tls,
            waiting: JoinSet::new(),
            remote: Arc::new(Semaphore::new(MAX_REMOTE)),
            refusal: refusal.into(),
        }
    }
}

/// Whether the other end is a program of this machine. The kernel takes no packet with such a
/// source from a network.
fn is_local(stream: &TcpStream, peer: SocketAddr) -> bool {
    let here = stream.local_addr().map(|here| here.ip().to_canonical());
    let there = peer.ip().to_canonical();
    there.is_loopback() || here.is_ok_and(|here| here == there)
}

/// Has the kernel end a connection whose other end is gone without a word, such as a machine that
/// was switched off: it would keep its place until a restart.
fn watch_over(stream: &TcpStream) -> nix::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &KEEP_IDLE)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &(KEEP_IDLE / 4))?;
    setsockopt(stream, sockopt::TcpKeepCount, &4)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &(2 * KEEP_IDLE * 1000))
}

/// Waits for the first byte, and goes on as it says.
async fn greet(
    tls: TlsAcceptor,
    mut stream: TcpStream,
    peer: SocketAddr,
    place: Option<OwnedSemaphorePermit>,
    refusal: Arc<str>,
) -> Option<Accepted> {
    let hello = async {
        let mut first = [0];
        stream.peek(&mut first).await?;
        if first[0] == HANDSHAKE {
            let stream = tls.accept(stream).await?;
            let stream = Box::new(stream);
            return Ok(Some(Stream::Tls {
                stream,
                _place: place,
            }));
        }
        if place.is_none() {
            return Ok(Some(Stream::Plain(stream)));
        }
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{refusal}",
            refusal.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        io::Result::Ok(None)
    };
    match tokio::time::timeout(HELLO_LIMIT, hello).await {
        Ok(Ok(stream)) => stream.map(|stream| (stream, peer)),
        Ok(Err(error)) => {
            tracing::debug!("{peer} did not say hello: {error}");
            None
        }
        Err(_) => None,
    }
}

impl axum::serve::Listener for Listener {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Accepted {
        loop {
            tokio::select! {
                accepted = self.tcp.accept() => match accepted {
                    Ok((stream, peer)) => {
                        // Answers are small, and must not wait for those before them.
                        let _ = stream.set_nodelay(true);
                        let Some(tls) = &self.tls else {
                            return (Stream::Plain(stream), peer);
                        };
                        let place = if is_local(&stream, peer) {
                            None
                        } else if watch_over(&stream).is_err() {
                            continue;
                        } else if let Ok(place) = Arc::clone(&self.remote).try_acquire_owned() {
                            Some(place)
                        } else {
                            continue;
                        };
                        let refusal = Arc::clone(&self.refusal);
                        self.waiting.spawn(greet(tls.clone(), stream, peer, place, refusal));
                    }
                    Err(error) => {
                        tracing::warn!("cannot take a connection: {error}");
                        tokio::time::sleep(AFTER_ERROR).await;
                    }
                },
                Some(done) = self.waiting.join_next() => {
                    if let Ok(Some(accepted)) = done {
                        return accepted;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls { stream, .. } => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls { stream, .. } => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Stream::Tls { stream, .. } => Pin::new(stream.as_mut()).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls { stream, .. } => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls { stream, .. } => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls { stream, .. } => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
