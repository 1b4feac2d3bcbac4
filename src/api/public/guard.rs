//! What every request goes through: an id, a limit in time, who it is, how often, what they may.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use super::Api;
use super::fault::{Fault, code};
use super::keys::{ApiRole, Principal};

/// Longest that a request takes, its body included. Long work is a job.
const LIMIT: Duration = Duration::from_secs(60);
/// Name of the page's cookie.
pub(super) const COOKIE: &str = "lucid_session";

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum Peer {
    /// The socket, whose mode lets only root and its group in.
    Local {
        /// User at the other end.
        uid: u32,
    },
    /// The network.
    Remote(IpAddr),
}

/// Gives each request an id, bounds it in time, and puts failures into words.
pub(super) async fn identify(request: Request, next: Next) -> Response {
    let id = id();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!("request", LUCID_REQUEST = %id);
    let began = Instant::now();
    let answered = tokio::time::timeout(LIMIT, next.run(request).instrument(span.clone()));
    let mut response = answered.await.unwrap_or_else(|_| {
        Fault::new(
            StatusCode::REQUEST_TIMEOUT,
            code::SLOW,
            format!(
                "not done within {} s: send it faster, or ask for less at once",
                LIMIT.as_secs()
            ),
        )
        .into_response()
    });
    if let Some(fault) = response.extensions_mut().remove::<Fault>() {
        let _in = span.enter();
        if fault.status.is_server_error() {
            tracing::warn!(
                "{method} {path}: {}: {} ({})",
                fault.status.as_u16(),
                fault.message,
                fault.code
            );
        } else {
            tracing::debug!(
                "{method} {path}: {}: {}",
                fault.status.as_u16(),
                fault.message
            );
        }
        response = fault.respond(&id);
    }
    tracing::trace!(
        "{method} {path}: {} in {:?}",
        response.status(),
        began.elapsed()
    );
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert("x-request-id", id);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn id() -> String {
    mongodb::bson::Uuid::new().to_string()
}

/// A key or a token in a header: no browser sends one by itself.
pub(super) fn proof(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"))
        .map(|(_, value)| value.trim());
    let key = || {
        headers
            .get("x-api-key")
            .and_then(|value| value.to_str().ok())
    };
    bearer.or_else(key)
}

/// The page's token.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get(header::COOKIE)?.to_str().ok()?;
    all.split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
}

/// A browser sends the cookie whoever asks it to: changes must come from the page itself.
fn is_foreign(method: &Method, headers: &HeaderMap) -> bool {
    if method.is_safe() {
        return false;
    }
    let site = headers
        .get("sec-fetch-site")
        .and_then(|value| value.to_str().ok());
    if let Some(site) = site {
        return site != "same-origin" && site != "none";
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = text(header::ORIGIN).and_then(|origin| origin.split_once("://"));
    origin.map(|(_, host)| host) != text(header::HOST)
}

fn stranger(message: &str) -> Fault {
    Fault::new(StatusCode::UNAUTHORIZED, code::STRANGER, message)
}

fn too_often(code: &'static str, message: &str, wait: Duration) -> Fault {
    let mut fault = Fault::new(StatusCode::TOO_MANY_REQUESTS, code, message);
    fault.retry_after = Some(wait.as_secs() + 1);
    fault
}

/// Finds out who asks; strangers go on as strangers.
pub(super) async fn authenticate(
    State(api): State<Api>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let from = match peer {
        Some(Peer::Local { uid }) => {
            let principal = Principal {
                name: format!("uid {uid}"),
                role: ApiRole::Admin,
            };
            request.extensions_mut().insert(principal);
            return next.run(request).await;
        }
        Some(Peer::Remote(ip)) => ip.to_string(),
        None => String::new(),
    };
    let headers = request.headers();
    if let Some(proof) = proof(headers) {
        if let Some(principal) = api.keys.recognise(proof) {
            request.extensions_mut().insert(principal);
            return next.run(request).await;
        }
        // Who knows a key is let in whatever others do who come from the same address.
        let fault = match api.guesses.take(&from, Instant::now()) {
            Ok(()) => stranger(
                "this key or token is not known, or its time is over; on the box `lucid api key create` \
                 makes a key, and POST /auth/token a token",
            ),
            Err(wait) => too_often(
                code::GUESSING,
                "too many wrong keys came from this address; wait",
                wait,
            ),
        };
        return fault.into_response();
    }
    // A cookie of before a restart is no guess: its owner sees the page, and logs in again.
    if let Some(principal) = cookie(headers).and_then(|token| api.keys.recognise(token)) {
        if is_foreign(request.method(), headers) {
            return stranger(
                "this comes from another page: use the one of the appliance, or send a key",
            )
            .into_response();
        }
        request.extensions_mut().insert(principal);
    }
    next.run(request).await
}

/// Lets those in who may, as often as they may.
async fn admit(api: &Api, wanted: ApiRole, request: Request, next: Next) -> Response {
    let Some(principal) = request.extensions().get::<Principal>().cloned() else {
        return stranger(
            "who asks? Send Authorization: Bearer KEY or X-API-Key: KEY; `lucid api key create` makes one",
        )
        .into_response();
    };
    if principal.role < wanted {
        return Fault::new(
            StatusCode::FORBIDDEN,
            code::ROLE,
            format!(
                "this needs the role {}; {} is {}: use a key with that role",
                wanted.name(),
                principal.name,
                principal.role.name()
            ),
        )
        .into_response();
    }
    let is_local = matches!(request.extensions().get::<Peer>(), Some(Peer::Local { .. }));
    if !is_local {
        let is_backup = !request.method().is_safe() && request.uri().path().contains("/backup");
        let buckets = if is_backup {
            &api.backups
        } else {
            &api.requests
        };
        if let Err(wait) = buckets.take(&principal.name, Instant::now()) {
            return too_often(
                code::RATE,
                "too many requests of this key; wait, or raise the limits of [api] in lucid.toml",
                wait,
            )
            .into_response();
        }
    }
    next.run(request).await
}

pub(super) async fn reader(State(api): State<Api>, request: Request, next: Next) -> Response {
    admit(&api, ApiRole::Reader, request, next).await
}

pub(super) async fn writer(State(api): State<Api>, request: Request, next: Next) -> Response {
    admit(&api, ApiRole::Writer, request, next).await
}

pub(super) async fn admin(State(api): State<Api>, request: Request, next: Next) -> Response {
    admit(&api, ApiRole::Admin, request, next).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| {
                let name = axum::http::HeaderName::from_static(name);
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    #[test]
    fn a_proof_is_found_where_clients_put_it() {
        for (header, value, found) in [
            ("authorization", "Bearer abc", Some("abc")),
            ("authorization", "bearer abc", Some("abc")),
            ("authorization", "Basic abc", None),
            ("x-api-key", "k", Some("k")),
        ] {
            assert_eq!(proof(&headers(&[(header, value)])), found);
        }
        let cookies = headers(&[("cookie", "a=b; lucid_session=t.s; c=d")]);
        assert_eq!((cookie(&cookies), proof(&cookies)), (Some("t.s"), None));
    }

    #[test]
    fn another_page_cannot_use_the_cookie_to_change_something() {
        let foreign =
            |method: Method, pairs: &[(&'static str, &str)]| is_foreign(&method, &headers(pairs));
        let other = [("host", "box:8088"), ("origin", "http://evil.example")];
        assert!(foreign(Method::POST, &other));
        assert!(!foreign(Method::GET, &other));
        assert!(!foreign(
            Method::POST,
            &[("host", "box:8088"), ("origin", "http://box:8088")]
        ));
        assert!(foreign(Method::POST, &[("sec-fetch-site", "cross-site")]));
        assert!(!foreign(Method::POST, &[("sec-fetch-site", "same-origin")]));
        assert!(foreign(Method::POST, &[("host", "box:8088")]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up_with_its_own_answer() {
        use tower::ServiceExt as _;
        let take =
            axum::routing::post(|body: axum::body::Bytes| async move { body.len().to_string() });
        let router = axum::Router::new()
            .route("/", take)
            .layer(axum::middleware::from_fn(identify));
        let drip = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>("x"), ()))
        });
        let body = axum::body::Body::from_stream(drip);
        let request = Request::post("/").body(body).unwrap();
        let began = tokio::time::Instant::now();
        let answer = router.oneshot(request).await.unwrap();
        assert_eq!(began.elapsed(), LIMIT);
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
        assert!(answer.headers().contains_key("x-request-id"));
        let body = axum::body::to_bytes(answer.into_body(), 4096)
            .await
            .unwrap();
        let told = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            told.contains("LUCID_ERR_5007") && told.contains("send it faster"),
            "{told}"
        );
    }
}
