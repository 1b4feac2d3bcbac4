//! A bucket. Every request has a limit of time, and is tried again where that can help.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Method, StatusCode};
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Credentials, S3Action, UrlStyle};
use tokio::runtime::Handle as Runtime;
use tokio::time::timeout;

use super::rate::{PIECE, Rate};
use super::{Bucket, FileFault, FileResult, Files};
use crate::backup::BackupError;

/// How often a request is sent at most.
const TRIES: u32 = 8;
/// The first wait; each one after it is twice as long, up to the second.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(10);
/// Of a request, beside the time for its content at the slowest rate that is borne with.
const LIMIT: Duration = Duration::from_secs(60);
const SLOWEST: u64 = 32 * 1024;
/// No file of a repository is larger, in bytes.
const LARGEST: u64 = 64 << 20;
/// How long a signature holds: longer than all tries, also where many share a small bound.
const SIGNED: Duration = Duration::from_hours(24);

#[derive(Debug)]
pub(super) struct S3 {
    bucket: rusty_s3::Bucket,
    credentials: Credentials,
    prefix: String,
    location: String,
    http: reqwest::Client,
    rate: Arc<Rate>,
    runtime: Runtime,
}

/// Why the service did not do it.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the service does not answer: {0}")]
    Unreachable(String),
    #[error("the service answers {status}{said}; {remedy}")]
    Status {
        status: StatusCode,
        said: String,
        remedy: &'static str,
    },
    #[error("the answer ends too early: {got} of {wanted} bytes")]
    Short { got: usize, wanted: usize },
    #[error("the list cannot be read: {0}")]
    List(String),
}

impl Refusal {
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Short { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error()
                    || *status == StatusCode::TOO_MANY_REQUESTS
                    || *status == StatusCode::REQUEST_TIMEOUT
            }
            Self::List(_) => false,
        }
    }

    fn is_missing(&self) -> bool {
        matches!(self, Self::Status { status, .. } if *status == StatusCode::NOT_FOUND)
    }
}

impl S3 {
    pub(super) fn new(place: &Bucket, rate: Rate, runtime: Runtime) -> Result<Self, BackupError> {
        let wrong = |cause: String| BackupError::Place {
            place: super::Place::S3(place.clone()).to_string(),
            cause,
        };
        let endpoint = place
            .endpoint
            .parse()
            .map_err(|error| wrong(format!("{error}: write it as https://host")))?;
        let bucket = rusty_s3::Bucket::new(
            endpoint,
            UrlStyle::Path,
            place.bucket.clone(),
            place.region.clone(),
        )
        .map_err(|error| wrong(error.to_string()))?;
        let http = crate::http::remote()
            .connect_timeout(CONNECT)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            bucket,
            credentials: Credentials::new(&*place.access_key, &*place.secret_key),
            prefix: place.prefix.trim_matches('/').to_owned(),
            location: super::Place::S3(place.clone()).to_string(),
            http,
            rate: Arc::new(rate),
            runtime,
        })
    }

    fn key(&self, path: &str) -> String {
        if self.prefix.is_empty() {
            path.to_owned()
        } else {
            format!("{}/{path}", self.prefix)
        }
    }

    /// Sends until it is done, or cannot be done. Whoever waits may be a thread of the runtime's own
    /// or none, but not its only one.
    fn send(
        &self,
        method: Method,
        url: url::Url,
        range: Option<(u32, u32)>,
        body: Option<Bytes>,
    ) -> Result<Bytes, Refusal> {
        let (http, location) = (self.http.clone(), self.location.clone());
        let rate = Arc::clone(&self.rate);
        let (done, result) = std::sync::mpsc::sync_channel(1);
        let work = async move {
            let mut wait = FIRST_WAIT;
            let mut left = TRIES;
            loop {
                let sent = once(
                    &http,
                    &rate,
                    method.clone(),
                    url.clone(),
                    range,
                    body.clone(),
                );
                left -= 1;
                match sent.await {
                    Err(refusal) if refusal.may_pass() && left > 0 => {
                        tracing::warn!("{location}: {refusal}; tried again in {wait:?}");
                        tokio::time::sleep(wait).await;
                        wait = (wait * 2).min(LONGEST_WAIT);
                    }
                    result => {
                        let _ = done.send(result);
                        return;
                    }
                }
            }
        };
        self.runtime.spawn(work);
        result
            .recv()
            .unwrap_or_else(|_| Err(Refusal::Unreachable("the request was given up".to_owned())))
    }
}

/// Waits for a request whose own waits are nobody's fault: as long as something moves.
async fn while_moving<T>(
    exchange: impl Future<Output = Result<T, Refusal>>,
    moved: &AtomicU64,
) -> Result<T, Refusal> {
    let mut exchange = std::pin::pin!(exchange);
    let mut last = None;
    loop {
        if let Ok(done) = timeout(LIMIT, &mut exchange).await {
            return done;
        }
        let now = Some(moved.load(Ordering::Relaxed));
        if now == last {
            return Err(Refusal::Unreachable(format!("nothing moved for {LIMIT:?}")));
        }
        last = now;
    }
}

/// The content of a request, no faster than it may be sent.
fn paced(content: Bytes, rate: Arc<Rate>, moved: Arc<AtomicU64>) -> reqwest::Body {
    if rate.bound().is_none() {
        return content.into();
    }
    let begin = (content, rate, moved);
    let pieces = stream::unfold(begin, async |(mut rest, rate, moved)| {
        let piece = rest.split_to(rest.len().min(PIECE));
        if piece.is_empty() {
            return None;
        }
        rate.pass(piece.len()).await;
        moved.fetch_add(1, Ordering::Relaxed);
        Some((
            Ok::<_, std::convert::Infallible>(piece),
            (rest, rate, moved),
        ))
    });
    reqwest::Body::wrap_stream(pieces)
}

async fn once(
    http: &reqwest::Client,
    rate: &Arc<Rate>,
    method: Method,
    url: url::Url,
    range: Option<(u32, u32)>,
    body: Option<Bytes>,
) -> Result<Bytes, Refusal> {
    let bytes = match (&body, range) {
        (Some(body), _) => body.len() as u64,
        (None, Some((_, length))) => u64::from(length),
        (None, None) => LARGEST,
    };
    let moved = Arc::new(AtomicU64::new(0));
    let mut request = http.request(method, url);
    if let Some((offset, length)) = range {
        let last = u64::from(offset) + u64::from(length).saturating_sub(1);
        request = request.header("range", format!("bytes={offset}-{last}"));
    }
    if let Some(body) = body {
        request = request.header(CONTENT_LENGTH, body.len()).body(paced(
            body,
            Arc::clone(rate),
            Arc::clone(&moved),
        ));
    }
    let unreachable = |error: reqwest::Error| {
        // The address bears a signature.
        let error = error.without_url();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        Refusal::Unreachable(cause.unwrap_or_else(|| error.to_string()))
    };
    let exchange = async {
        let mut response = request.send().await.map_err(unreachable)?;
        let length = response.content_length().unwrap_or(0).min(LARGEST);
        let mut content = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
        while let Some(some) = response.chunk().await.map_err(unreachable)? {
            for piece in some.chunks(PIECE) {
                rate.pass(piece.len()).await;
                moved.fetch_add(1, Ordering::Relaxed);
            }
            content.extend_from_slice(&some);
        }
        Ok((response.status(), content.freeze()))
    };
    let (status, content) = if rate.bound().is_some() {
        while_moving(exchange, &moved).await?
    } else {
        let limit = LIMIT + Duration::from_secs(bytes / SLOWEST);
        let late = |_| Refusal::Unreachable(format!("it took longer than {limit:?}"));
        timeout(limit, exchange).await.map_err(late)??
    };
    if !status.is_success() {
        return Err(Refusal::Status {
            status,
            said: code_of(&content),
            remedy: remedy(status),
        });
    }
    match range {
        Some((_, length)) if content.len() != length as usize => Err(Refusal::Short {
            got: content.len(),
            wanted: length as usize,
        }),
        _ => Ok(content),
    }
}

fn fault(what: &'static str, key: &str) -> impl FnOnce(Refusal) -> FileFault {
    let path = key.to_owned();
    move |refusal| FileFault {
        what,
        path,
        is_missing: refusal.is_missing(),
        cause: refusal.to_string(),
    }
}

/// `<Code>NoSuchBucket</Code>`, in parentheses.
fn code_of(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content);
    let code = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"))
        .map(|(code, _)| code);
    code.map_or_else(String::new, |code| format!(" ({code})"))
}

const fn remedy(status: StatusCode) -> &'static str {
    match status {
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
            "check the keys in the credentials file, what they may do, and the board's clock"
        }
        StatusCode::NOT_FOUND => "check the name of the bucket, and that it exists",
        StatusCode::MOVED_PERMANENTLY | StatusCode::TEMPORARY_REDIRECT => "check the region",
        _ => "try again later",
    }
}

impl Files for S3 {
    fn location(&self) -> String {
        self.location.clone()
    }

    /// That the bucket is there shows with the first file; it has no directories.
    fn create(&self) -> FileResult<()> {
        Ok(())
    }

    fn list(&self, dir: &str) -> FileResult<Vec<(String, u64)>> {
        let prefix = self.key(dir);
        let prefix = if prefix.is_empty() {
            prefix
        } else {
            format!("{}/", prefix.trim_end_matches('/'))
        };
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let url = {
                let mut action = self.bucket.list_objects_v2(Some(&self.credentials));
                action.with_prefix(&*prefix);
                if dir.is_empty() {
                    action.with_delimiter("/");
                }
                if let Some(token) = &token {
                    action.with_continuation_token(&**token);
                }
                action.sign(SIGNED)
            };
            let page = self
                .send(Method::GET, url, None, None)
                .and_then(|content| {
                    let text = String::from_utf8_lossy(&content);
                    ListObjectsV2::parse_response(&text)
                        .map_err(|error| Refusal::List(error.to_string()))
                })
                .map_err(fault("list", &prefix))?;
            for object in page.contents {
                let name = object.key.rsplit('/').next().unwrap_or_default();
                found.push((name.to_owned(), object.size.unwrap_or_default()));
            }
            token = page.next_continuation_token;
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    fn read(&self, path: &str, range: Option<(u32, u32)>) -> FileResult<Bytes> {
        let key = self.key(path);
        let action = self.bucket.get_object(Some(&self.credentials), &key);
        let url = action.sign(SIGNED);
        self.send(Method::GET, url, range, None)
            .map_err(fault("read", &key))
    }

    fn write(&self, path: &str, content: Vec<Bytes>) -> FileResult<()> {
        let key = self.key(path);
        let body = Bytes::from(content.concat());
        let url = {
            let action = self.bucket.put_object(Some(&self.credentials), &key);
            action.sign(SIGNED)
        };
        self.send(Method::PUT, url, None, Some(body))
            .map(drop)
            .map_err(fault("write", &key))
    }

    fn remove(&self, path: &str) -> FileResult<()> {
        let key = self.key(path);
        let url = {
            let action = self.bucket.delete_object(Some(&self.credentials), &key);
            action.sign(SIGNED)
        };
        match self.send(Method::DELETE, url, None, None) {
            Err(refusal) if !refusal.is_missing() => Err(fault("remove", &key)(refusal)),
            _ => Ok(()),
        }
    }
}
