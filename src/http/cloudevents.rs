//! CloudEvents 1.0 as a way in: reads an event in the JSON format, makes that format of an event in binary mode, and answers
//! the handshake of the webhook specification. Publishing what was read is `events`' work; nothing here sends CloudEvents.

use std::borrow::Cow;

use axum::{
    http::{
        HeaderMap, StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode;
use serde_json::{Value, value::RawValue};
use sha2::{Digest, Sha256};

use super::Problem;
use crate::event::{Draft, DraftError, Fields, Invalid, MAX_EVENT_BYTES, Names, TenantId};

/// Media types of one event and of many.
pub const STRUCTURED: &str = "application/cloudevents+json";
pub const BATCH: &str = "application/cloudevents-batch+json";
/// What all media types of CloudEvents begin with.
pub const ANY_FORMAT: &str = "application/cloudevents";

/// What a header of binary mode begins with.
const PREFIX: &str = "ce-";
/// Attributes that every event has.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];
/// The id is the source's, not ours: two sources may use the same one.
const NAMES: Names = Names { id: None, tenant: "tenantid", user: "userid", session: "sessionid", key: "partitionkey" };
/// Without a `partitionkey`, what the event is about orders it.
const NAMES_BY_SUBJECT: Names = Names { key: "subject", ..NAMES };

/// Of the path of events.
const ALLOWED_METHODS: &str = "GET, HEAD, POST, OPTIONS";
const REQUEST_ORIGIN: &str = "webhook-request-origin";

/// Reads one event in the JSON format, with the idempotency key that its source and id make.
///
/// # Errors
/// 400, 403, 413, 422 as for an event of our own form.
pub fn parse(text: &str, tenant: &TenantId) -> Result<(Draft, String), Problem> {
    let mut fields = Draft::fields(text)?;
    fields.expect(&REQUIRED);
    fields.text("specversion", |version| match version {
        "1.0" => Ok(()),
        _ => Err("must be `1.0`, the version that this server reads"),
    });
    let id = fields.text("id", |id| match id.chars().any(char::is_control) || id.is_empty() {
        true => Err("must be a text without control characters"),
        false => Ok(id.to_owned()),
    });
    let data = data(&mut fields)?;
    refuse_misnamed(&mut fields);
    let names = if fields.has(NAMES.key) { NAMES } else { NAMES_BY_SUBJECT };
    // A sender's further attributes are its own business: the specification lets it add any.
    fields.keep(&["type", "source", names.tenant, names.user, names.session, names.key]);
    let draft = Draft::read(fields, &names, &data, tenant)?;
    let (Some(source), Some(id)) = (&draft.source, id) else {
        // Either has its fault already, and the draft was refused for it.
        return Err(Invalid::field("source", "is required").into());
    };
    let key = identity(source, &id);
    Ok((draft, key))
}

/// An event in binary mode, its attributes in headers and its data in the body, as one in the JSON format.
///
/// # Errors
/// 400 for a body that is not what its content type says, 413, 422 for a header that is no attribute.
pub fn structured(headers: &HeaderMap, body: &[u8]) -> Result<String, Problem> {
    if body.len() > MAX_EVENT_BYTES {
        return Err(DraftError::TooLarge(body.len()).into());
    }
    let mut members = Vec::new();
    for (name, value) in headers {
        match name.as_str().strip_prefix(PREFIX) {
            // It is the content type's, and that one counts.
            None | Some("datacontenttype") => {}
            Some("data" | "data_base64") => {
                return Err(Invalid::field(name.as_str(), "is no attribute: the body is the data").into());
            }
            Some(attribute) => {
                let text = decoded(value).map_err(|message| Invalid::field(attribute, message))?;
                members.push(format!("{}:{}", Value::from(attribute), Value::from(text)));
            }
        }
    }
    if !body.is_empty() {
        let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).map(String::from_utf8_lossy);
        let data =
            json_of(content_type.as_deref(), body).map_err(|unfit| Problem::malformed(format!("the body {unfit}")))?;
        members.push(format!("\"data\":{data}"));
    }
    Ok(format!("{{{}}}", members.join(",")))
}

/// Whether a request of another media type is an event in binary mode. One attribute is enough, so that a missing one can
/// be named.
pub fn is_binary(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().strip_prefix(PREFIX).is_some_and(|name| REQUIRED.contains(&name)))
}

/// Answers `OPTIONS`: a sender may send whatever it has a token for. It takes no token itself, since it gives nothing away.
pub async fn options(headers: HeaderMap) -> Response {
    let allow = (header::ALLOW, ALLOWED_METHODS);
    match headers.get(REQUEST_ORIGIN) {
        Some(origin) => {
            let consent = [
                (HeaderName::from_static("webhook-allowed-origin"), origin.clone()),
                (HeaderName::from_static("webhook-allowed-rate"), HeaderValue::from_static("*")),
            ];
            (StatusCode::OK, [allow], consent).into_response()
        }
        None => (StatusCode::NO_CONTENT, [allow]).into_response(),
    }
}

/// The event's data as JSON text, byte for byte where it was JSON.
fn data<'a>(fields: &mut Fields<'a>) -> Result<Cow<'a, str>, Problem> {
    let content_type: Option<String> = fields.optional("datacontenttype", "a string");
    let encoded: Option<String> = fields.optional("data_base64", "a string");
    let Some(encoded) = encoded else {
        return Ok(Cow::Borrowed(fields.raw("data").map_or("null", |raw| raw.get())));
    };
    if fields.raw("data").is_some() {
        fields.fault("data_base64", "is there beside `data`: send one of them");
        return Ok("null".into());
    }
    let Ok(bytes) = STANDARD.decode(encoded) else {
        fields.fault("data_base64", "must be standard base64 with padding");
        return Ok("null".into());
    };
    match json_of(content_type.as_deref(), &bytes) {
        // Escaped, a text may be longer than it was.
        Ok(data) if data.len() > MAX_EVENT_BYTES => Err(DraftError::TooLarge(data.len()).into()),
        Ok(data) => Ok(Cow::Owned(data.into_owned())),
        Err(unfit) => {
            fields.fault("data_base64", unfit.to_string());
            Ok("null".into())
        }
    }
}

/// A name that no attribute can have is a mistake, and dropping it a dangerous one: with `user_id` for `userid`, one user's
/// event would reach the whole tenant.
fn refuse_misnamed(fields: &mut Fields) {
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let misnamed: Vec<String> = fields.names().filter(|name| !is_name(name)).map(str::to_owned).collect();
    for name in misnamed {
        fields.fault(name, "is no name of an attribute: those are of a-z and 0-9, such as `userid`");
    }
}

/// Bytes that are not what their content type says.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("is not UTF-8 at byte {0}")]
    NotText(usize),
    #[error("is not JSON, as data of this content type, or of none, must be: {0}")]
    NotJson(serde_json::Error),
}

/// Data as JSON text: JSON as it is, text in UTF-8 as a string, anything else as a string of base64. The content type alone
/// decides, never the bytes, so that a publisher's events are all alike.
fn json_of<'a>(content_type: Option<&str>, bytes: &'a [u8]) -> Result<Cow<'a, str>, Unfit> {
    let content_type = content_type.unwrap_or("application/json").to_ascii_lowercase();
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let charset = parts.find_map(|part| part.strip_prefix("charset=")).map(|charset| charset.trim_matches('"'));
    let is_utf8 = charset.is_none_or(|charset| ["utf-8", "us-ascii"].contains(&charset));
    let is_text = media_type.starts_with("text/") || media_type.ends_with("/xml") || media_type.ends_with("+xml");
    let text = || std::str::from_utf8(bytes).map_err(|error| Unfit::NotText(error.valid_up_to()));
    if media_type.ends_with("/json") || media_type.ends_with("+json") {
        let json: &RawValue = serde_json::from_str(text()?).map_err(Unfit::NotJson)?;
        Ok(Cow::Borrowed(json.get()))
    } else if is_text && is_utf8 {
        Ok(Cow::Owned(Value::from(text()?).to_string()))
    } else {
        Ok(Cow::Owned(Value::from(STANDARD.encode(bytes)).to_string()))
    }
}

/// A header's value as the HTTP binding has it: quotes taken off, as older senders write them, then percent-decoded once.
fn decoded(value: &HeaderValue) -> Result<String, &'static str> {
    let bytes = value.as_bytes();
    let unquoted: Cow<[u8]> = match bytes {
        [b'"', quoted @ .., b'"'] => {
            let mut escaped = false;
            let keep = |byte: &&u8| {
                escaped = **byte == b'\\' && !escaped;
                !escaped
            };
            quoted.iter().filter(keep).copied().collect()
        }
        _ => bytes.into(),
    };
    let text = percent_decode(&unquoted).decode_utf8().map_err(|_| "is no UTF-8 once it is percent-decoded")?;
    Ok(text.into_owned())
}

/// The idempotency key of (source, id). No header's key has a tab and no array's begins so, so that they do not meet.
fn identity(source: &str, id: &str) -> String {
    let key = format!("ce\t{source}\t{id}");
    // A key is a column of an index: short, and of bytes that every database compares alike. Sources and ids are neither.
    let fits = key.len() <= 255 && key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b'\t');
    if fits { key } else { format!("ce\tsha256:{}", hex::encode(Sha256::digest(&key))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<String, &'static str> {
        decoded(&HeaderValue::from_bytes(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_header_is_unquoted_and_then_percent_decoded_once() {
        assert_eq!(value("plain text").unwrap(), "plain text");
        assert_eq!(value("Euro%20%E2%82%AC%20%F0%9F%98%80").unwrap(), "Euro € 😀", "the specification's example");
        assert_eq!(value("%2541").unwrap(), "%41");
        assert_eq!(value(r#""a \"b\" \\ %22c%22""#).unwrap(), r#"a "b" \ "c""#);
        assert_eq!(value("50% of %zz").unwrap(), "50% of %zz", "what is no code is text");
        assert_eq!(value("\"").unwrap(), "\"");
        assert!(value("%FF").is_err());
    }

    #[test]
    fn the_content_type_alone_decides_what_data_becomes() {
        let data = |content_type, bytes: &[u8]| json_of(content_type, bytes).map(Cow::into_owned);
        assert_eq!(data(None, b" {\"b\":1.50,\"a\":2} ").unwrap(), r#"{"b":1.50,"a":2}"#);
        assert_eq!(data(Some("Application/Vnd.X+JSON; a=b"), b"1e2").unwrap(), "1e2");
        assert_eq!(data(Some("text/plain; charset=\"UTF-8\""), b"say \"hi\"\n").unwrap(), r#""say \"hi\"\n""#);
        assert_eq!(data(Some("application/xml"), b"<a/>").unwrap(), r#""<a/>""#);
        assert_eq!(data(Some("text/plain; charset=latin1"), b"\xe9").unwrap(), r#""6Q==""#);
        assert_eq!(data(Some("application/octet-stream"), b"{}").unwrap(), r#""e30=""#);
        assert!(matches!(data(Some("text/plain"), b"ab\xff"), Err(Unfit::NotText(2))));
        assert!(matches!(data(None, b"<a/>"), Err(Unfit::NotJson(_))));
    }

    #[test]
    fn identities_are_short_and_differ_wherever_source_or_id_do() {
        assert_eq!(identity("/pbx/1", "77"), "ce\t/pbx/1\t77");
        let long = "x".repeat(256);
        let all = [
            identity("a", "b c"),
            identity("a b", "c"),
            identity("a", &long),
            identity(&long, "a"),
            identity("ä", "b"),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(one.len() <= 255 && one.is_ascii(), "{one}");
            assert!(!all[n + 1..].contains(one), "{one}");
        }
    }
}
