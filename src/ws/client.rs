//! What a client may say: control words, and chat events of its own.

use serde_json::{Value, value::RawValue};

use crate::{
    event::{Draft, DraftError, Fields, Invalid, Patterns, SessionId, TenantId},
    hub::{Position, Viewer},
};

#[derive(Debug)]
pub enum ClientFrame {
    Ping,
    Subscribe(Patterns),
    Resume(Position),
    Auth { token: String },
    Publish(Box<Draft>),
}

/// A frame that is answered with `error`.
#[derive(Debug)]
pub struct Refused {
    pub code: &'static str,
    pub message: String,
}

impl From<Invalid> for Refused {
    fn from(invalid: Invalid) -> Self {
        Self { code: "invalid", message: invalid.to_string() }
    }
}

/// Reads a client's message; its `ref` comes back with the answer.
pub fn parse(text: &str, tenant: &TenantId, viewer: &Viewer) -> (Value, Result<ClientFrame, Refused>) {
    let mut fields: Fields = match serde_json::from_str(text) {
        Ok(fields) => fields,
        Err(error) => {
            let message = format!("not a JSON object: {error}");
            return (Value::Null, Err(Refused { code: "bad_request", message }));
        }
    };
    let reference = fields.raw("ref").and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let word: Option<String> = fields.optional("type", "a string");
    let frame = match (word.as_deref(), viewer) {
        (Some("ping"), _) => Ok(ClientFrame::Ping),
        (Some("subscribe"), Viewer::Member { .. }) => subscribe(fields),
        (Some("resume"), _) => resume(fields),
        (Some("auth"), Viewer::Member { .. }) => auth(fields),
        (Some("chat.message" | "chat.typing"), _) => publish(text, tenant, viewer),
        (Some(other), viewer) => {
            let known = match viewer {
                Viewer::Member { .. } => "ping, subscribe, resume, auth, chat.message or chat.typing",
                Viewer::Visitor { .. } => "ping, resume, chat.message or chat.typing",
            };
            let message = format!("{other:?} is nothing this client may send: {known}");
            Err(Refused { code: "unknown_type", message })
        }
        (None, _) => Err(Refused { code: "bad_request", message: "the field `type` is missing".to_owned() }),
    };
    (reference, frame)
}

fn subscribe(mut fields: Fields) -> Result<ClientFrame, Refused> {
    let texts = fields.optional::<Vec<String>>("events", "a list of patterns");
    let texts = fields.require("events", texts).unwrap_or_default();
    fields.finish()?;
    Patterns::parse(texts.iter().map(String::as_str))
        .map(ClientFrame::Subscribe)
        .map_err(|message| Refused { code: "bad_pattern", message })
}

fn resume(mut fields: Fields) -> Result<ClientFrame, Refused> {
    let epoch = fields.optional("epoch", "the epoch of a welcome");
    let epoch = fields.require("epoch", epoch);
    let offset = fields.number("offset", 0..=u64::MAX);
    let offset = fields.require("offset", offset);
    fields.finish()?;
    let epoch: String = epoch.unwrap_or_default();
    Ok(ClientFrame::Resume(Position { epoch: epoch.into(), offset: offset.unwrap_or_default() }))
}

fn auth(mut fields: Fields) -> Result<ClientFrame, Refused> {
    let token = fields.optional("token", "a token");
    let token = fields.require("token", token);
    fields.finish()?;
    Ok(ClientFrame::Auth { token: token.unwrap_or_default() })
}

/// A chat event, through the same checks as a published one. A visitor speaks in its own session only.
fn publish(text: &str, tenant: &TenantId, viewer: &Viewer) -> Result<ClientFrame, Refused> {
    let without_ref = without_ref(text);
    let mut draft = Draft::parse(without_ref.as_deref().unwrap_or(text), tenant).map_err(|error| Refused {
        code: match error {
            DraftError::Malformed(_) => "bad_request",
            DraftError::TooLarge(_) => "too_large",
            DraftError::Invalid(_) => "invalid",
            DraftError::ForeignTenant(_) => "forbidden",
        },
        message: error.to_string(),
    })?;
    if let Viewer::Visitor { session } = viewer {
        bind_to_session(&mut draft, session)?;
    }
    Ok(ClientFrame::Publish(Box::new(draft)))
}

fn bind_to_session(draft: &mut Draft, session: &SessionId) -> Result<(), Refused> {
    let foreign = draft.session.as_ref().is_some_and(|named| named != session) || draft.user.is_some();
    if foreign {
        let message = "a visitor speaks in its own session only".to_owned();
        return Err(Refused { code: "forbidden", message });
    }
    draft.session = Some(session.clone());
    // Ids and sources are the publisher's to choose; a visitor is not trusted with them.
    draft.id = None;
    draft.source = Some("visitor".into());
    Ok(())
}

/// `ref` belongs to the socket protocol, not to the event.
fn without_ref(text: &str) -> Option<String> {
    let mut object: std::collections::BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    object.remove("ref")?;
    serde_json::to_string(&object).ok()
}

#[cfg(test)]
mod tests {
    use crate::event::UserId;

    use super::*;

    fn visitor() -> Viewer {
        Viewer::Visitor { session: SessionId::parse("session-of-16-chars").unwrap() }
    }

    fn read(text: &str, viewer: &Viewer) -> Result<ClientFrame, Refused> {
        parse(text, &TenantId::parse("acme").unwrap(), viewer).1
    }

    #[test]
    fn a_visitor_speaks_in_its_own_session_only() {
        let frame = read(r#"{"type":"chat.message","data":{"text":"hi"},"ref":7}"#, &visitor());
        let Ok(ClientFrame::Publish(draft)) = frame else { panic!("{frame:?}") };
        assert_eq!(draft.session.unwrap().as_str(), "session-of-16-chars");
        for foreign in [
            r#"{"type":"chat.message","session_id":"another-of-16-chars"}"#,
            r#"{"type":"chat.message","user_id":"agent-7"}"#,
            r#"{"type":"subscribe","events":["*"]}"#,
            r#"{"type":"call.incoming"}"#,
        ] {
            assert!(read(foreign, &visitor()).is_err(), "{foreign}");
        }
    }

    #[test]
    fn a_reference_comes_back_and_is_no_part_of_the_event() {
        let member = Viewer::Member { user: UserId::parse("a").unwrap() };
        let text = r#"{"type":"chat.message","ref":"r1","data":{ "b":1.0,"a":2 }}"#;
        let (reference, frame) = parse(text, &TenantId::parse("acme").unwrap(), &member);
        let Ok(ClientFrame::Publish(draft)) = frame else { panic!("{frame:?}") };
        assert_eq!((reference, &*draft.data), ("r1".into(), r#"{ "b":1.0,"a":2 }"#));
    }
}
