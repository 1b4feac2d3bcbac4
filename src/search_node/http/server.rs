//! Connections, and what every request goes through.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::coding::Coding;
use super::request::{Reply, Request, read_uri};
use super::security::{Identity, Role, Users};
use super::{blocking, route};
use crate::listen::Listener;
use crate::search_node::cluster::Node;
use crate::search_node::failure::{Failure, Outcome};

/// Bodies of the largest size that are in memory at once; more wait.
const BODIES: usize = 2;

/// Requests at work at once; more wait.
const AT_ONCE: usize = 8;

/// Requests at work at once that may take long; more wait.
const LONG_AT_ONCE: usize = 8;

/// Requests at once that wait for a refresh or a task; more wait for their turn.
const WAIT_AT_ONCE: usize = 128;

/// Requests of administrators at work beside all others.
const KEPT_AT_ONCE: usize = 2;

/// Bodies up to this size, in KiB, never keep an administrator waiting.
const SMALL_KIB: u32 = 64;

/// Requests that wait at most; beyond that they are refused with 429.
const WAITING: usize = 1000;

/// A request that takes longer is given up.
const REQUEST_LIMIT: Duration = Duration::from_secs(120);

/// What requests are answered from.
#[derive(Debug)]
pub(crate) struct Service {
    node: Arc<Node>,
    users: Users,
    /// Largest body, in bytes.
    max_body: usize,
    /// Room for bodies, in KiB.
    bodies: Semaphore,
    /// Passwords are checked one after the other: guessing leaves the node its other cores.
    hashing: Semaphore,
    places: Semaphore,
    /// Places of requests that may take long: the others do not wait for them.
    long_places: Semaphore,
    /// Places of requests that wait for something.
    waiting_places: Semaphore,
    /// Places of administrators when all others are taken.
    kept_places: Semaphore,
    queue: Semaphore,
}

impl Service {
    /// Of `node` for `users`; bodies may have up to `max_body` bytes.
    pub(crate) fn new(node: Arc<Node>, users: Users, max_body: usize) -> Self {
        Self {
            node,
            users,
            max_body,
            bodies: Semaphore::new(kib(max_body).saturating_mul(BODIES)),
            hashing: Semaphore::new(1),
            places: Semaphore::new(AT_ONCE),
            long_places: Semaphore::new(LONG_AT_ONCE),
            waiting_places: Semaphore::new(WAIT_AT_ONCE),
            kept_places: Semaphore::new(KEPT_AT_ONCE),
            queue: Semaphore::new(WAITING),
        }
    }
}

/// Answers on `listener` until `stop` is ready, then ends after the requests at work.
pub(crate) async fn serve(
    listener: Listener,
    service: Arc<Service>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new().fallback(answer).with_state(service);
    axum::serve(listener, router)
        .with_graceful_shutdown(stop)
        .await
}

async fn answer(
    State(service): State<Arc<Service>>,
    request: axum::extract::Request,
) -> Response<Body> {
    let is_head = request.method() == axum::http::Method::HEAD;
    let accept = request.headers().get(header::ACCEPT).cloned();
    let (reply, shaped_by) = read_and_route(&service, request).await;
    let shaped = match (reply, &shaped_by) {
        (Ok(reply), Some(request)) => request.shape(reply),
        (Ok(reply), None) => plain(reply),
        (Err(failure), _) => Err(failure),
    };
    let (status, kind, body) = match shaped {
        Ok(shaped) => shaped,
        Err(failure) => (
            failure.status,
            "application/json",
            failure.body().to_string().into_bytes(),
        ),
    };
    let mut response = Response::new(if is_head {
        Body::empty()
    } else {
        Body::from(body)
    });
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(
        "x-elastic-product",
        HeaderValue::from_static("Elasticsearch"),
    );
    headers.insert(header::CONTENT_TYPE, content_type(kind, accept.as_ref()));
    if status == 401 {
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"security\", charset=\"UTF-8\""),
        );
    }
    response
}

fn plain(reply: Reply) -> Outcome<(u16, &'static str, Vec<u8>)> {
    match reply {
        Reply::Json(status, value) => {
            Ok((status, "application/json", value.to_string().into_bytes()))
        }
        _ => Err(Failure::internal("an answer without a request")),
    }
}

/// Clients that ask for the versioned media type get it.
fn content_type(kind: &'static str, accept: Option<&HeaderValue>) -> HeaderValue {
    const VERSIONED: &str = "application/vnd.elasticsearch+json;compatible-with=8";
    let versioned = accept
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("vnd.elasticsearch+json"));
    if versioned && kind == "application/json" {
        HeaderValue::from_static(VERSIONED)
    } else {
        HeaderValue::from_static(kind)
    }
}

async fn read_and_route(
    service: &Arc<Service>,
    request: axum::extract::Request,
) -> (Outcome<Reply>, Option<Request>) {
    let Ok(_queued) = service.queue.try_acquire() else {
        return (Err(overloaded()), None);
    };
    let read = tokio::time::timeout(REQUEST_LIMIT, read(service, request)).await;
    let (request, _room) = match read.unwrap_or_else(|_| Err(too_slow())) {
        Ok(read) => read,
        Err(failure) => return (Err(failure), None),
    };
    let long = takes_long(&request);
    let _place = match place(service, &request, long).await {
        Ok(place) => place,
        Err(failure) => return (Err(failure), None),
    };
    if long {
        return (route(&service.node, &request).await, Some(request));
    }
    let result = tokio::time::timeout(REQUEST_LIMIT, route(&service.node, &request)).await;
    (result.unwrap_or_else(|_| Err(too_slow())), Some(request))
}

/// Whether a request waits most of its time, for a refresh or the end of a task: its place is no
/// place at work.
fn only_waits(request: &Request) -> bool {
    let task = request.path.first().is_some_and(|first| first == "_tasks");
    let waits = request.flag("wait_for_completion", false);
    request.param("refresh") == Some("wait_for") || task && waits.unwrap_or(false)
}

/// Whether a request goes over as many documents as there are: it has no time limit, and is
/// bounded in what it does at once by itself.
fn takes_long(request: &Request) -> bool {
    let last = request.path.last().map(String::as_str);
    let names = [
        "_delete_by_query",
        "_update_by_query",
        "_reindex",
        "_forcemerge",
    ];
    let snapshots = request
        .path
        .first()
        .is_some_and(|first| first == "_snapshot");
    request.method != "GET" && (snapshots || last.is_some_and(|last| names.contains(&last)))
}

/// Bytes of the body, at most `max`; one that comes in chunks may have as many.
fn body_length(headers: &HeaderMap, max: usize) -> usize {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    match length {
        Some(length) => max.min(length),
        None if headers.contains_key(header::TRANSFER_ENCODING) => max,
        None => 0,
    }
}

/// Room that a body takes; one without content takes none.
const fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1024)
}

fn too_slow() -> Failure {
    Failure::new(
        503,
        "process_cluster_event_timeout_exception",
        format!(
            "the request took longer than {} s; send less at once, or ask for less",
            REQUEST_LIMIT.as_secs()
        ),
    )
}

fn no_place() -> Failure {
    Failure::new(
        429,
        "es_rejected_execution_exception",
        format!(
            "no place came free within {} s; GET /_tasks and GET /_snapshot/_status show what is at \
             work, try again later",
            REQUEST_LIMIT.as_secs()
        ),
    )
}

fn overloaded() -> Failure {
    Failure::new(
        429,
        "es_rejected_execution_exception",
        format!("rejected execution: {WAITING} requests wait already; try again later"),
    )
}

/// Reads a request, and takes room for its body; who may not ask takes none.
async fn read(
    service: &Arc<Service>,
    request: axum::extract::Request,
) -> Outcome<(Request, SemaphorePermit<'_>)> {
    let (parts, body) = request.into_parts();
    let (path, params) = read_uri(parts.uri.path(), parts.uri.query())?;
    let user = authenticate(service, authorization(&parts.headers)).await?;
    check_media_type(&parts.headers)?;
    let mut request = Request {
        method: parts.method.as_str().to_owned(),
        path,
        params,
        body: Bytes::new(),
        user: user.name.clone(),
        role: user.role,
        by_key: user.by_key,
    };
    user.role.check(&request)?;
    request.check_common()?;
    let coding = Coding::of(&parts.headers)?;
    let room = kib(match body_length(&parts.headers, service.max_body) {
        // What a compressed body comes to is not known before.
        1.. if coding != Coding::Plain => service.max_body,
        length => length,
    });
    let room = u32::try_from(room).unwrap_or(u32::MAX);
    let mut room = room_for_body(service, &request, room).await?;
    let max = service.max_body;
    let body = to_bytes(body, max).await.map_err(|_| too_long(max))?;
    request.body = match coding {
        Coding::Plain => body,
        _ => blocking(move || coding.decode(body, max)).await?,
    };
    // What it turned out not to take is for others.
    let spare = room.num_permits().saturating_sub(kib(request.body.len()));
    drop(room.split(spare));
    Ok((request, room))
}

/// Room for a body of `room` KiB; the supervisor and other administrators do not wait for small
/// ones.
async fn room_for_body<'a>(
    service: &'a Service,
    request: &Request,
    room: u32,
) -> Outcome<SemaphorePermit<'a>> {
    let kept = is_administrator(request) && room <= SMALL_KIB;
    match service.bodies.try_acquire_many(room) {
        Ok(room) => Ok(room),
        Err(_) if kept => service.bodies.try_acquire_many(0).map_err(|_| overloaded()),
        Err(_) => {
            let room = service.bodies.acquire_many(room).await;
            room.map_err(|_| overloaded())
        }
    }
}

/// Whether it comes from an account that may do everything, as the supervisor's.
fn is_administrator(request: &Request) -> bool {
    request.role == Role::Admin && !request.by_key
}

/// A place to be at work. Requests that are `long` or wait have places of their own, and so have
/// administrators when there is no other: the supervisor, who asks whether the node lives, must not
/// wait for what others do.
async fn place<'a>(
    service: &'a Service,
    request: &Request,
    long: bool,
) -> Outcome<SemaphorePermit<'a>> {
    let apart = match long {
        true => Some(&service.long_places),
        false if only_waits(request) => Some(&service.waiting_places),
        false => None,
    };
    if let Some(places) = apart {
        let place = tokio::time::timeout(REQUEST_LIMIT, places.acquire()).await;
        return place.ok().and_then(Result::ok).ok_or_else(no_place);
    }
    let places = match service.places.try_acquire() {
        Ok(place) => return Ok(place),
        Err(_) if is_administrator(request) => &service.kept_places,
        Err(_) => &service.places,
    };
    places.acquire().await.map_err(|_| overloaded())
}

/// The body has more than `max` bytes.
pub(super) fn too_long(max: usize) -> Failure {
    Failure::new(
        413,
        "content_too_long_exception",
        format!("the body is longer than {max} bytes, or broke off; send it in parts"),
    )
}

/// Who asks. A password that was not seen lately takes thousands of hashes, off the runtime.
async fn authenticate(service: &Arc<Service>, header: Option<&str>) -> Outcome<Arc<Identity>> {
    if let Some(known) = header.and_then(|header| service.users.known(header)) {
        return Ok(known);
    }
    let Ok(_place) = service.hashing.acquire().await else {
        return Err(overloaded());
    };
    let (service, header) = (Arc::clone(service), header.map(str::to_owned));
    blocking(move || service.users.authenticate(header.as_deref(), &service.node)).await
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()
}

fn check_media_type(headers: &HeaderMap) -> Outcome<()> {
    let Some(kind) = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
    else {
        return Ok(());
    };
    let known = ["json", "ndjson", "text/plain", "x-www-form-urlencoded"];
    if known.iter().any(|known| kind.contains(known)) {
        return Ok(());
    }
    Err(Failure::new(
        406,
        "media_type_header_exception",
        format!("Content-Type header [{kind}] is not supported"),
    ))
}
