//! Errors as clients see them: RFC 9457 problem details with a stable `code`. The only place that knows status codes.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    broadcaster::PublishError,
    event::{DraftError, FieldError, Invalid},
    plugin::{PluginError, PutChainError, UploadError},
    store::StoreError,
    webhook::ChangeError,
};

/// How long a client is asked to wait when the database cannot be written.
const RETRY_AFTER_S: u64 = 2;

#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    detail: String,
    pub code: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    #[serde(skip)]
    retry_after_s: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let detail = detail.into();
        Self { kind: "about:blank", title, status, detail, code, errors: Vec::new(), retry_after_s: None }
    }

    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed_json", detail)
    }

    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub fn unauthorized(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
    }

    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path takes other methods")
    }

    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    }

    pub fn upgrade_required() -> Self {
        Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", "this path speaks WebSocket (RFC 6455)")
    }

    pub fn too_many(code: &'static str, detail: impl Into<String>, retry_after_s: u64) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail);
        Self { retry_after_s: Some(retry_after_s), ..problem }
    }

    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        Self { retry_after_s: Some(RETRY_AFTER_S), ..problem }
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, retry_after_s) = (self.status, self.retry_after_s);
        let mut response = (status, Json(json!(self))).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", invalid.to_string());
        Self { errors: invalid.errors, ..problem }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            // The cause was logged where the commit failed; it may name files of this machine.
            StoreError::Unavailable(_) => {
                Self::unavailable("database_unavailable", "the database cannot be used now; nothing was written")
            }
            StoreError::InDoubt(_) => Self::unavailable(
                "commit_in_doubt",
                "the database broke off during the commit: it may have been written. Send it again with the same `id` or \
                 Idempotency-Key, which does nothing if it was",
            ),
            StoreError::Closed => Self::unavailable("stopping", "the server is stopping"),
        }
    }
}

impl From<DraftError> for Problem {
    fn from(error: DraftError) -> Self {
        match error {
            DraftError::Malformed(_) => Self::malformed(error.to_string()),
            DraftError::TooLarge(_) => Self::too_large(error.to_string()),
            DraftError::Invalid(invalid) => invalid.into(),
            DraftError::ForeignTenant(_) => Self::forbidden(error.to_string()),
        }
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::SessionTaken => Self::conflict("session_taken", error.to_string()),
            PublishError::SessionEnded => Self::conflict("session_ended", error.to_string()),
            PublishError::Data(_) => Invalid::field("data", error.to_string()).into(),
            PublishError::Store(error) => error.into(),
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Invalid(invalid) => invalid.into(),
            ChangeError::Unknown => Self::not_found(error.to_string()),
            ChangeError::Store(error) => error.into(),
        }
    }
}

impl From<PutChainError> for Problem {
    fn from(error: PutChainError) -> Self {
        match error {
            PutChainError::Invalid(invalid) => invalid.into(),
            PutChainError::Store(error) => error.into(),
        }
    }
}

impl From<PluginError> for Problem {
    fn from(error: PluginError) -> Self {
        let refused = |code| {
            let invalid = Invalid::field("component", error.to_string());
            Self { code, ..invalid.into() }
        };
        match &error {
            PluginError::TooLarge { .. } => Self::too_large(error.to_string()),
            PluginError::NotAComponent(_) => refused("not_a_component"),
            PluginError::Imports(_) => refused("imports_refused"),
            PluginError::World(_) => refused("no_known_world"),
            PluginError::Guest(_) => refused("describe_failed"),
            PluginError::Unknown(_) | PluginError::Gone { .. } => Self::not_found(error.to_string()),
            PluginError::TooManyUploads { .. } => Self::too_many("too_many_uploads", error.to_string(), 1),
            PluginError::Structure(_) => refused("structure_refused"),
            PluginError::TooCostly(_) => refused("too_costly"),
            PluginError::CompilerBusy => Self::unavailable("compiler_busy", error.to_string()),
            PluginError::Busy => Self::unavailable("plugins_busy", error.to_string()),
            PluginError::Engine(why) | PluginError::Compiler(why) => {
                tracing::error!("an upload was not compiled, and not for its own fault: {why}");
                Self::unavailable("compiler_unavailable", "the component could not be compiled now; send it again")
            }
            PluginError::Store(store) => store.clone().into(),
        }
    }
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Plugin(error) => error.into(),
            UploadError::TooManyPlugins => Self::conflict("too_many_plugins", error.to_string()),
            UploadError::TooManyBytes { .. } => Self::conflict("too_many_bytes", error.to_string()),
        }
    }
}
