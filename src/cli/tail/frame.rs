//! What the server says, as far as a reader of events needs it. Members that are not known here may be there.

use serde::Deserialize;
use serde_json::value::RawValue;

/// One frame: with an `id` it is an event.
#[derive(Debug)]
pub enum Frame<'a> {
    Event(Event<'a>),
    Control(Control),
}

#[derive(Debug, Deserialize)]
pub struct Event<'a> {
    #[serde(rename = "type")]
    pub event_type: String,
    pub timestamp: String,
    pub user_id: Option<String>,
    pub session_id: Option<String>,
    #[serde(borrow)]
    pub data: Option<&'a RawValue>,
    /// Of what is not ephemeral.
    pub offset: Option<u64>,
    /// It waited for its user, and moves no position.
    #[serde(default)]
    pub offline: bool,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Control {
    Welcome {
        user_id: Option<String>,
        tenant_id: String,
        epoch: String,
        offset: u64,
        ping_interval_ms: u64,
    },
    /// What came from this offset on may be missing.
    Gap {
        epoch: String,
        from: u64,
        reason: String,
    },
    AuthExpiring {
        expires_in_ms: i64,
    },
    Bye {
        code: u16,
        reason: String,
        reconnect: bool,
        after_ms: Option<u64>,
    },
    Error {
        code: String,
        message: String,
    },
    #[serde(other)]
    Other,
}

impl<'a> Frame<'a> {
    /// # Errors
    /// Text that is neither.
    pub fn parse(text: &'a str) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            id: Option<String>,
        }
        match serde_json::from_str::<Head>(text)?.id {
            Some(_) => serde_json::from_str(text).map(Self::Event),
            None => serde_json::from_str(text).map(Self::Control),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_with_an_id_is_an_event_whatever_its_type() {
        let text = r#"{"id":"evt_1","type":"error","tenant_id":"t","timestamp":"2026-11-22T09:13:41.203Z","user_id":null,
            "session_id":null,"data":{"n":1.50},"offset":7,"new":[]}"#;
        let Frame::Event(event) = Frame::parse(text).unwrap() else { panic!("it has an id") };
        assert_eq!((event.event_type.as_str(), event.offset, event.offline), ("error", Some(7), false));
        assert_eq!(event.data.unwrap().get(), r#"{"n":1.50}"#);
    }

    #[test]
    fn words_that_are_not_known_yet_are_passed_over() {
        let Frame::Control(control) = Frame::parse(r#"{"type":"weather","wind":3}"#).unwrap() else {
            panic!("it has no id")
        };
        assert_eq!(control, Control::Other);
        assert!(Frame::parse("hello").is_err());
    }
}
