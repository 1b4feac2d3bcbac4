//! The page: the status as one document that needs neither a build step nor the network, and no script
//! for what matters. What changes something needs a key.

mod history;
mod html;

use axum::Form;
use axum::Router;
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;

pub(super) use history::History;

use super::Api;
use super::guard::{self, COOKIE};
use super::keys::{ApiRole, Principal};
use super::system::action;
use crate::config::Role;
use crate::panel::Command as PanelCommand;
use crate::supervisor::CommandError;

/// How long somebody who logged in stays so.
const STAYS_SECONDS: i64 = 12 * 3600;
/// How long the box shows which one it is.
const IDENTIFY: std::time::Duration = std::time::Duration::from_secs(60);

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Nothing comes from elsewhere, and nothing that is written into the page runs.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/", get(page))
        .route("/page.css", get(style))
        .route("/page.js", get(script))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .route("/do/datastore/{name}/{action}", post(datastore))
        .route("/do/backup", post(backup))
        .route("/do/identify", post(identify))
        .layer(axum::middleware::from_fn(guarded))
}

async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let policy = HeaderValue::from_static(POLICY);
    response
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)
}

async fn script() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")],
        SCRIPT,
    )
}

#[derive(Debug, Default, Deserialize)]
struct Shown {
    /// `main` for what changes alone.
    #[serde(default)]
    part: String,
    /// What came of an action.
    #[serde(default)]
    said: String,
}

async fn page(
    State(api): State<Api>,
    who: Option<axum::Extension<Principal>>,
    Query(shown): Query<Shown>,
) -> Html<String> {
    let status = api.handle.hub().snapshot();
    let who = who.map(|axum::Extension(who)| who);
    let view = html::View {
        status: &status,
        history: &api.history,
        who: who.as_ref(),
        said: &shown.said,
    };
    Html(if shown.part == "main" {
        view.main()
    } else {
        view.whole()
    })
}

#[derive(Deserialize)]
struct Login {
    key: String,
}

async fn login(State(api): State<Api>, request: Request) -> Response {
    let peer = request.extensions().get::<guard::Peer>().copied();
    let from = match peer {
        Some(guard::Peer::Remote(ip)) => ip.to_string(),
        _ => String::new(),
    };
    let now = std::time::Instant::now();
    if api.guesses.look(&from, now).is_err() {
        return back("Too many wrong keys: wait a minute.");
    }
    let form = <Form<Login> as FromRequest<()>>::from_request(request, &()).await;
    let Ok(Form(login)) = form else {
        return back("The form could not be read.");
    };
    let Login { key } = login;
    let token = api.keys.token(key.trim(), ApiRole::Admin, STAYS_SECONDS);
    let Some(token) = token else {
        let _ = api.guesses.take(&from, now);
        return back("This key is not known. On the box: lucid api key create NAME --role admin");
    };
    let mut response = back("Logged in.");
    let cookie =
        format!("{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age={STAYS_SECONDS}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

async fn logout() -> Response {
    let mut response = back("Logged out.");
    let cookie = format!("{COOKIE}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Back to the page, with a word about what came of it.
fn back(said: &str) -> Response {
    let said = percent_encoding::utf8_percent_encode(said, percent_encoding::NON_ALPHANUMERIC);
    Redirect::to(&format!("/?said={said}")).into_response()
}

fn told(done: Result<String, CommandError>) -> Response {
    match done {
        Ok(said) => back(&said),
        Err(error) => back(&format!("Not done: {error}")),
    }
}

/// Why somebody may not; nothing where they may.
fn refusal(who: Option<axum::Extension<Principal>>) -> Option<Response> {
    match who {
        Some(axum::Extension(who)) if who.role >= ApiRole::Admin => None,
        Some(_) => Some(back("This needs a key with the role admin.")),
        None => Some(back("Log in first.")),
    }
}

async fn datastore(
    State(api): State<Api>,
    who: Option<axum::Extension<Principal>>,
    Path((name, wanted)): Path<(String, String)>,
) -> Response {
    if let Some(refused) = refusal(who) {
        return refused;
    }
    let role = Role::ALL.into_iter().find(|role| role.name() == name);
    let (Some(role), Some(action)) = (role, action(&wanted)) else {
        return back("There is no such datastore or action.");
    };
    let done = api.handle.act(role, action).await;
    told(done.map(|()| format!("{name}: {wanted} has begun.")))
}

async fn backup(State(api): State<Api>, who: Option<axum::Extension<Principal>>) -> Response {
    if let Some(refused) = refusal(who) {
        return refused;
    }
    let job = api.handle.create_backup(None).await;
    told(job.map(|job| format!("The backup has begun: job {}.", job.id)))
}

async fn identify(State(api): State<Api>, who: Option<axum::Extension<Principal>>) -> Response {
    if let Some(refused) = refusal(who) {
        return refused;
    }
    if api.panel.send(PanelCommand::Identify(IDENTIFY)).await {
        back("The box shows for a minute which one it is.")
    } else {
        back("The panel is off.")
    }
}
