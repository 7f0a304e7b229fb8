//! Reading what clients send: JSON bodies, and the query of a list; each fault becomes its problem.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
};
use serde::Serialize;

use super::{Api, Problem};
use crate::event::{Fields, Invalid, parse_rfc3339_ms};

/// Bytes of one request.
pub const MAX_REQUEST_BYTES: usize = 16 << 20;
const DEFAULT_LIMIT: u64 = 50;
const MAX_LIMIT: u64 = 200;

/// A body as text, with its media type.
pub struct Text {
    /// Without parameters, lower case; JSON when the client named none.
    pub media_type: String,
    bytes: Bytes,
}

impl Text {
    /// # Errors
    /// 400 for bytes that are no UTF-8.
    pub fn as_str(&self) -> Result<&str, Problem> {
        std::str::from_utf8(&self.bytes)
            .map_err(|error| Problem::malformed(format!("the body is not UTF-8 at byte {}", error.valid_up_to())))
    }

    /// The fields of the one JSON object that the body is.
    ///
    /// # Errors
    /// 415 for another media type, 400 for what is no JSON object.
    pub fn fields(&self) -> Result<Fields<'_>, Problem> {
        self.expect_json()?;
        serde_json::from_str(self.as_str()?).map_err(|error| Problem::malformed(format!("not a JSON object: {error}")))
    }

    /// # Errors
    /// 415 for another media type.
    pub fn expect_json(&self) -> Result<(), Problem> {
        if self.media_type == "application/json" {
            return Ok(());
        }
        Err(Problem::unsupported_media_type("send `content-type: application/json`"))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl FromRequest<Api> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let media_type = media_type(request.headers()).unwrap_or_else(|| "application/json".to_owned());
        let bytes = Bytes::from_request(request, api).await.map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Problem::too_large(format!("a request is at most {MAX_REQUEST_BYTES} bytes long"))
            }
            other => Problem::bad_request("broken_body", other.body_text()),
        })?;
        Ok(Self { media_type, bytes })
    }
}

/// Without parameters, lower case; none where the client named none.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// The query of a list.
#[derive(Debug, Default)]
pub struct ListQuery {
    values: Vec<(String, String)>,
}

impl ListQuery {
    /// # Errors
    /// 422 for a parameter that the list does not have.
    pub fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let values: Vec<(String, String)> =
            form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
        let unknown = |name: &str| !known.contains(&name) && name != "limit" && name != "cursor";
        if let Some((name, _)) = values.iter().find(|(name, _)| unknown(name)) {
            return Err(Invalid::field(name, "is not a parameter of this list").into());
        }
        Ok(Self { values })
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.values.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }

    /// # Errors
    /// 422 for what is no number, 0, or too many.
    pub fn limit(&self) -> Result<u64, Problem> {
        match self.get("limit").map(str::parse::<u64>) {
            None => Ok(DEFAULT_LIMIT),
            Some(Ok(limit)) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
            Some(_) => Err(Invalid::field("limit", format!("must be a number from 1 to {MAX_LIMIT}")).into()),
        }
    }

    /// # Errors
    /// 422 for a cursor that no list gave out.
    pub fn cursor<T: std::str::FromStr>(&self) -> Result<Option<T>, Problem> {
        let parsed = self.get("cursor").map(str::parse).transpose();
        parsed.map_err(|_| Invalid::field("cursor", "must be a `next_cursor` of this list").into())
    }

    /// # Errors
    /// 422 for what is no time.
    pub fn time_ms(&self, name: &str) -> Result<Option<i64>, Problem> {
        let parsed = self.get(name).map(parse_rfc3339_ms).transpose();
        parsed.map_err(|message| Invalid::field(name, message).into())
    }
}

/// One page. `cursors` are those of the items; the last one is where the next page begins, if the page is full.
pub fn page<C: ToString, T: Serialize>(items: Vec<(C, T)>, limit: u64) -> axum::Json<Page<T>> {
    let is_full = items.len() as u64 >= limit;
    let next_cursor = items.last().filter(|_| is_full).map(|(cursor, _)| cursor.to_string());
    axum::Json(Page { data: items.into_iter().map(|(_, item)| item).collect(), next_cursor })
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    data: Vec<T>,
    next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A list that is never longer than a page.
    pub fn whole(data: Vec<T>) -> axum::Json<Self> {
        axum::Json(Self { data, next_cursor: None })
    }
}
