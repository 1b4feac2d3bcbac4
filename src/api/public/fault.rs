//! What goes wrong, as clients see it: one shape, one code each, and nothing of the inside.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::StoreError;
use crate::supervisor::CommandError;

/// Seconds after which a client may ask again.
const AGAIN: u64 = 5;

/// Codes of the platform. 1xxx: what was sent; 2xxx: who sent it; 3xxx: how often; 4xxx: what it is
/// about; 5xxx: the appliance.
pub(super) mod code {
    pub(in super::super) const INVALID: &str = "LUCID_ERR_1001";
    pub(in super::super) const CONFIRM: &str = "LUCID_ERR_1002";
    pub(in super::super) const TOO_LARGE: &str = "LUCID_ERR_1003";
    pub(in super::super) const MALFORMED: &str = "LUCID_ERR_1004";
    pub(in super::super) const STRANGER: &str = "LUCID_ERR_2001";
    pub(in super::super) const ROLE: &str = "LUCID_ERR_2002";
    pub(in super::super) const FORBIDDEN: &str = "LUCID_ERR_2003";
    pub(in super::super) const RATE: &str = "LUCID_ERR_3001";
    pub(in super::super) const GUESSING: &str = "LUCID_ERR_3002";
    pub(in super::super) const NOT_FOUND: &str = "LUCID_ERR_4001";
    pub(in super::super) const EXISTS: &str = "LUCID_ERR_4002";
    pub(in super::super) const CONFLICT: &str = "LUCID_ERR_4003";
    pub(in super::super) const UNSUPPORTED: &str = "LUCID_ERR_4004";
    pub(in super::super) const INTERNAL: &str = "LUCID_ERR_5000";
    pub(in super::super) const DOWN: &str = "LUCID_ERR_5001";
    pub(in super::super) const NO_COLLECTION: &str = "LUCID_ERR_5002";
    pub(in super::super) const SLOW: &str = "LUCID_ERR_5007";
}

/// Why a request was not done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    error: ErrorDetail,
}

/// See [`ErrorBody`].
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorDetail {
    /// Stable, for programs.
    #[schema(example = "LUCID_ERR_1001", pattern = "^LUCID_ERR_[0-9]{4}$")]
    code: String,
    /// For people: the thing, the cause, the way out.
    message: String,
    /// Every rule that was broken, where there are some.
    details: Vec<Detail>,
    /// By which the journal knows the request.
    request_id: String,
    /// RFC 3339.
    timestamp: String,
    /// `storage-database`.
    service: String,
    /// Of the API.
    version: String,
}

/// A rule that was broken.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Detail {
    /// Where, with dots.
    path: String,
    /// Which.
    rule: String,
    /// What holds, and what was found.
    message: String,
}

/// A failure on its way out.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) details: Vec<Detail>,
    pub(super) retry_after: Option<u64>,
}

impl Fault {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            details: Vec::new(),
            retry_after: None,
        }
    }

    /// What was sent cannot be.
    pub(super) fn invalid(path: &str, rule: &str, message: impl Into<String>) -> Self {
        StoreError::invalid(path, rule, message).into()
    }

    /// A destructive call without its confirmation.
    pub(super) fn unconfirmed(what: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            code::CONFIRM,
            format!("this {what}: confirm=true says that it is meant"),
        )
    }

    /// As it is told to the client under an id.
    pub(super) fn respond(self, request_id: &str) -> Response {
        let body = ErrorBody {
            error: ErrorDetail {
                code: self.code.to_owned(),
                message: self.message,
                details: self.details,
                request_id: request_id.to_owned(),
                timestamp: jiff::Timestamp::now().to_string(),
                service: "storage-database".to_owned(),
                version: "v1".to_owned(),
            },
        };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let ask = HeaderValue::from_static("Bearer realm=\"lucid\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
        }
        response
    }
}

impl IntoResponse for Fault {
    /// Without a body: who knows the request's id makes it (`identify`).
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        let (status, code) = match &error {
            StoreError::Down { .. } => (StatusCode::SERVICE_UNAVAILABLE, code::DOWN),
            StoreError::Slow { .. } => (StatusCode::GATEWAY_TIMEOUT, code::SLOW),
            StoreError::NotFound { what, .. } if *what == "collection" => {
                (StatusCode::NOT_FOUND, code::NO_COLLECTION)
            }
            StoreError::NotFound { .. } => (StatusCode::NOT_FOUND, code::NOT_FOUND),
            StoreError::Exists { .. } => (StatusCode::CONFLICT, code::EXISTS),
            StoreError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, code::INVALID),
            StoreError::Forbidden(_) => (StatusCode::FORBIDDEN, code::FORBIDDEN),
            StoreError::Unsupported { .. } => (StatusCode::CONFLICT, code::UNSUPPORTED),
            StoreError::Conflict(_) | StoreError::Refused { .. } => {
                (StatusCode::CONFLICT, code::CONFLICT)
            }
        };
        let mut fault = Self::new(status, code, message);
        match error {
            StoreError::Invalid(rules) => {
                fault.details = rules
                    .into_iter()
                    .map(|rule| Detail {
                        path: rule.path,
                        rule: rule.rule,
                        message: rule.message,
                    })
                    .collect();
            }
            StoreError::Down { .. } | StoreError::Slow { .. } => fault.retry_after = Some(AGAIN),
            _ => {}
        }
        fault
    }
}

impl From<CommandError> for Fault {
    fn from(error: CommandError) -> Self {
        let (status, code) = match error {
            CommandError::NotEnabled(_) | CommandError::NotFound(_) => {
                (StatusCode::NOT_FOUND, code::NOT_FOUND)
            }
            CommandError::Ending(_) => (StatusCode::SERVICE_UNAVAILABLE, code::DOWN),
            CommandError::Invalid(_) | CommandError::Config(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, code::INVALID)
            }
            CommandError::Refused(_) => (StatusCode::CONFLICT, code::CONFLICT),
        };
        let mut fault = Self::new(status, code, error.to_string());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            fault.retry_after = Some(AGAIN);
        }
        fault
    }
}

/// The library's words go; the way out stays.
impl From<JsonRejection> for Fault {
    fn from(rejection: JsonRejection) -> Self {
        let text = rejection.body_text();
        match rejection {
            JsonRejection::JsonDataError(_) => {
                let said = text
                    .split_once(": ")
                    .map_or(text.as_str(), |(_, said)| said);
                Self::invalid("body", "shape", said)
            }
            JsonRejection::MissingJsonContentType(_) => Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                code::MALFORMED,
                "the body is JSON: say so with Content-Type: application/json",
            ),
            JsonRejection::JsonSyntaxError(_) => Self::new(
                StatusCode::BAD_REQUEST,
                code::MALFORMED,
                format!("the body is no JSON: {text}"),
            ),
            rejection if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                code::TOO_LARGE,
                "the body is larger than api.body_limit lets in; send less at once",
            ),
            _ => Self::new(StatusCode::BAD_REQUEST, code::MALFORMED, text),
        }
    }
}

impl From<QueryRejection> for Fault {
    fn from(rejection: QueryRejection) -> Self {
        let text = rejection.body_text();
        let said = text
            .split_once(": ")
            .map_or(text.as_str(), |(_, said)| said);
        Self::invalid("query", "shape", said)
    }
}

impl From<PathRejection> for Fault {
    fn from(_: PathRejection) -> Self {
        Self::invalid("path", "shape", "a part of the path is no text")
    }
}
