//! What a publisher sends: one JSON object, checked, and not yet an [`Event`] since it has no tenant and no time.

use std::sync::Arc;

use super::{
    Event, EventId, EventType, Fields, Invalid, Origin, SessionId, TenantId, UserId,
    ids::is_text,
    payload::{ChatSessionCreated, Payload},
};

/// Bytes of one event as sent.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;
/// Levels of arrays and objects in `data`.
pub const MAX_NESTING: usize = 128;

#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    #[error("not a JSON object: {0}")]
    Malformed(String),
    #[error("the event is {0} bytes long, at most {MAX_EVENT_BYTES} are taken")]
    TooLarge(usize),
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Holds the name of the field.
    #[error("the token's tenant may not publish for another tenant; leave `{0}` out")]
    ForeignTenant(&'static str),
}

/// What the fields of an event are called, in one of the forms in which it is published.
#[derive(Debug)]
pub struct Names {
    /// Of a form in which the publisher may choose the event's own id.
    pub id: Option<&'static str>,
    pub tenant: &'static str,
    pub user: &'static str,
    pub session: &'static str,
    pub key: &'static str,
}

const OURS: Names = Names { id: Some("id"), tenant: "tenant_id", user: "user_id", session: "session_id", key: "key" };

/// A checked publish body.
#[derive(Debug, Clone)]
pub struct Draft {
    pub id: Option<EventId>,
    pub event_type: EventType,
    pub user: Option<UserId>,
    pub session: Option<SessionId>,
    pub key: Option<Arc<str>>,
    pub source: Option<Arc<str>>,
    pub data: Arc<str>,
}

impl Draft {
    pub fn new(event_type: EventType, data: impl Into<Arc<str>>) -> Self {
        Self { id: None, event_type, user: None, session: None, key: None, source: None, data: data.into() }
    }

    /// Parses one event as a publisher of `tenant` sends it.
    ///
    /// # Errors
    /// [`DraftError`], which names each field at fault.
    pub fn parse(text: &str, tenant: &TenantId) -> Result<Self, DraftError> {
        let mut fields = Self::fields(text)?;
        let data = fields.raw("data").map_or("null", |raw| raw.get());
        Self::read(fields, &OURS, data, tenant)
    }

    /// The fields of one event, whatever they are called.
    ///
    /// # Errors
    /// [`DraftError::TooLarge`], [`DraftError::Malformed`].
    pub fn fields(text: &str) -> Result<Fields<'_>, DraftError> {
        if text.len() > MAX_EVENT_BYTES {
            return Err(DraftError::TooLarge(text.len()));
        }
        serde_json::from_str(text).map_err(|error| DraftError::Malformed(error.to_string()))
    }

    /// Reads fields under these names, each by its rule; what is left of them then is unknown. `data` is JSON text.
    ///
    /// # Errors
    /// [`DraftError`], which names each field at fault, those found before included.
    pub fn read(mut fields: Fields, names: &Names, data: &str, tenant: &TenantId) -> Result<Self, DraftError> {
        let event_type = fields.text("type", EventType::parse);
        let event_type = fields.require("type", event_type);
        let id = names.id.and_then(|name| fields.text(name, EventId::parse));
        let tenant_id: Option<String> = fields.optional(names.tenant, "a string");
        let user = fields.text(names.user, UserId::parse);
        let session = fields.text(names.session, SessionId::parse);
        let opens = event_type.as_ref().is_some_and(|event_type| event_type.as_str() == ChatSessionCreated::TYPE);
        if opens && !session.as_ref().is_some_and(SessionId::is_hard_to_guess) {
            let message =
                format!("a session is made with an id of at least {} characters", SessionId::MIN_PUBLIC_CHARS);
            fields.fault(names.session, message);
        }
        let key = fields.text(names.key, attribute);
        let source = fields.text("source", attribute);
        if nesting(data) > MAX_NESTING {
            fields.fault("data", format!("is nested more than {MAX_NESTING} deep"));
        }
        let data: Arc<str> = data.into();
        fields.finish()?;
        if tenant_id.is_some_and(|named| named != tenant.as_str()) {
            return Err(DraftError::ForeignTenant(names.tenant));
        }
        let Some(event_type) = event_type else {
            return Err(Invalid::field("type", "is required").into());
        };
        Ok(Self { id, event_type, user, session, key, source, data })
    }

    /// Receives the draft: from here on it has an id, a tenant and a time.
    pub fn receive(self, tenant: &TenantId, now_ms: i64, origin: Origin) -> Event {
        Event {
            id: self.id.unwrap_or_else(EventId::generate),
            event_type: self.event_type,
            tenant: tenant.clone(),
            timestamp_ms: now_ms,
            user: self.user,
            session: self.session,
            key: self.key,
            source: self.source,
            data: self.data,
            origin,
        }
    }
}

fn attribute(text: &str) -> Result<Arc<str>, &'static str> {
    if is_text(text, 256) { Ok(text.into()) } else { Err("must be 1 to 256 characters without control characters") }
}

/// How deep arrays and objects are nested in a valid JSON text. A scan, not a parse: it neither recurses nor allocates.
pub fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Draft, DraftError> {
        Draft::parse(text, &TenantId::parse("acme").unwrap())
    }

    #[test]
    fn names_every_field_at_fault() {
        let error = parse(r#"{"type":"Call","id":"a.b","usr_id":"x","key":5,"key":6}"#).unwrap_err();
        let DraftError::Invalid(invalid) = error else { panic!("{error}") };
        let fields: Vec<_> = invalid.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["type", "id", "key", "key", "usr_id"]);
    }

    #[test]
    fn nesting_counts_brackets_outside_strings() {
        assert_eq!(nesting(r#"{"a":["[[[\"[",{}]}"#), 3);
        let deep = |n: usize| format!(r#"{{"type":"t","data":{}{}}}"#, "[".repeat(n), "]".repeat(n));
        assert!(parse(&deep(128)).is_ok());
        assert!(parse(&deep(129)).is_err());
        assert!(matches!(parse(&deep(120_000)), Err(DraftError::Invalid(_))), "no recursion");
    }

    #[test]
    fn a_foreign_tenant_is_refused_and_ones_own_is_fine() {
        assert!(matches!(parse(r#"{"type":"t","tenant_id":"globex"}"#), Err(DraftError::ForeignTenant("tenant_id"))));
        assert_eq!(&*parse(r#"{"type":"t","tenant_id":"acme"}"#).unwrap().data, "null");
    }
}
