//! The JSON that receivers see: an event's attributes around its untouched `data`. Written by hand, since `data` must pass
//! byte for byte and the text is made once and shared.

use super::{Event, rfc3339_ms};

impl Event {
    /// The envelope as one JSON object: the body of an unchanged webhook delivery.
    pub fn envelope(&self) -> String {
        let mut text = self.open_envelope(&self.data);
        text.push('}');
        text
    }

    /// The envelope as sockets get it, without the closing brace: its place comes last. Its `data` may come from a chain.
    pub fn open_frame(&self, data: Option<&str>) -> String {
        self.open_envelope(data.unwrap_or(&self.data))
    }

    fn open_envelope(&self, data: &str) -> String {
        let mut text = String::with_capacity(data.len() + 320);
        text.push_str(r#"{"id":"#);
        push_json(&mut text, self.id.as_str());
        text.push_str(r#","type":"#);
        push_json(&mut text, self.event_type.as_str());
        text.push_str(r#","tenant_id":"#);
        push_json(&mut text, self.tenant.as_str());
        text.push_str(r#","timestamp":""#);
        text.push_str(&rfc3339_ms(self.timestamp_ms));
        text.push('"');
        for (name, value) in [
            ("user_id", self.user.as_ref().map(|user| user.as_str())),
            ("session_id", self.session.as_ref().map(|session| session.as_str())),
            ("key", self.key.as_deref()),
            ("source", self.source.as_deref()),
        ] {
            text.push_str(",\"");
            text.push_str(name);
            text.push_str("\":");
            match value {
                Some(value) => push_json(&mut text, value),
                None => text.push_str("null"),
            }
        }
        text.push_str(r#","data":"#);
        text.push_str(data);
        text
    }
}

fn push_json(text: &mut String, value: &str) {
    let plain = value.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\');
    if plain {
        text.push('"');
        text.push_str(value);
        text.push('"');
    } else {
        text.push_str(&serde_json::Value::from(value).to_string());
    }
}

#[cfg(test)]
mod tests {
    use crate::event::{EventId, EventType, Origin, TenantId, UserId};

    use super::*;

    #[test]
    fn data_passes_byte_for_byte_and_text_is_escaped() {
        let event = Event {
            id: EventId::parse("evt_1").unwrap(),
            event_type: EventType::parse("call.incoming").unwrap(),
            tenant: TenantId::parse("acme").unwrap(),
            timestamp_ms: 1_795_324_449_431,
            user: Some(UserId::parse(r#"o"neil\"#).unwrap()),
            session: None,
            key: None,
            source: Some("pbx-1".into()),
            data: r#"{ "b":1.0e5, "a":12345678901234567890 }"#.into(),
            origin: Origin::Published,
        };
        insta::assert_snapshot!(event.envelope(), @r#"{"id":"evt_1","type":"call.incoming","tenant_id":"acme","timestamp":"2026-11-22T05:14:09.431Z","user_id":"o\"neil\\","session_id":null,"key":null,"source":"pbx-1","data":{ "b":1.0e5, "a":12345678901234567890 }}"#);
        assert!(event.open_frame(Some("{}")).ends_with(r#","data":{}"#));
    }
}
