//! Names with a rule each: what may be a tenant, an event id, a type. A value of these types has passed its rule.

use std::{fmt, sync::Arc};

use super::catalogue;

const DELIVERY_PREFIX: &str = "dlv_";

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $rule:expr, $says:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// # Errors
            /// Says the rule, as a message for whoever sent the text.
            pub fn parse(text: &str) -> Result<Self, &'static str> {
                let rule: fn(&str) -> bool = $rule;
                if rule(text) { Ok(Self(text.into())) } else { Err($says) }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name_type!(
    /// Whose event it is. Comes from a verified token, never from a body.
    TenantId,
    |text| {
        text.len() <= 64
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    },
    "must be 1 to 64 of A-Z a-z 0-9 _ . - and begin with a letter or digit"
);

name_type!(
    /// Chosen by the publisher, or made by us as `evt_` and a ULID.
    EventId,
    is_token,
    "must be 1 to 64 of A-Z a-z 0-9 _ -"
);

name_type!(
    /// One event owed to one webhook; it is the `webhook-id` that a receiver sees on every attempt.
    DeliveryId,
    is_token,
    "must be 1 to 64 of A-Z a-z 0-9 _ -"
);

name_type!(
    /// Dotted lower case: `call.incoming`.
    EventType,
    |text| {
        text.len() <= 128
            && !catalogue::is_control_word(text)
            && text.split('.').all(|part| {
                !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
            })
    },
    "must be dotted lower case such as `call.incoming`, at most 128 characters, and no control word of the socket protocol"
);

name_type!(UserId, |text| is_text(text, 256), "must be 1 to 256 characters without control characters");

name_type!(
    /// A chat session. Whoever knows the id of a public one may join it: see [`SessionId::is_hard_to_guess`].
    SessionId,
    |text| is_text(text, 128),
    "must be 1 to 128 characters without control characters"
);

/// Given by the database: an integer, unique over all tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct WebhookId(pub i64);

impl fmt::Display for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl EventId {
    pub fn generate() -> Self {
        Self(format!("evt_{}", ulid::Ulid::generate().to_string().to_lowercase()).into())
    }
}

impl DeliveryId {
    /// Ids grow with time, so that rows of a table keyed by them are appended.
    pub fn generate() -> Self {
        Self(format!("{DELIVERY_PREFIX}{}", ulid::Ulid::generate().to_string().to_lowercase()).into())
    }
}

impl DeliveryId {
    /// Below every id that was made at this time or later: ms since the epoch.
    pub fn lowest_at(at_ms: i64) -> Self {
        let ulid = ulid::Ulid::from_parts(at_ms.max(0).unsigned_abs(), 0);
        Self(format!("{DELIVERY_PREFIX}{}", ulid.to_string().to_lowercase()).into())
    }

    /// When it was made, in ms since the epoch; none for an id of another form.
    pub fn made_ms(&self) -> Option<i64> {
        let ulid = ulid::Ulid::from_string(self.0.strip_prefix(DELIVERY_PREFIX)?).ok()?;
        i64::try_from(ulid.timestamp_ms()).ok()
    }
}

impl SessionId {
    /// A public session's id has at least this many characters.
    pub const MIN_PUBLIC_CHARS: usize = 16;

    pub fn is_hard_to_guess(&self) -> bool {
        self.0.chars().count() >= Self::MIN_PUBLIC_CHARS
    }

    /// 128 random bits.
    pub fn generate() -> Self {
        Self(format!("ses_{}", hex::encode(rand::random::<[u8; 16]>())).into())
    }
}

pub fn new_connection_id() -> String {
    format!("con_{}", ulid::Ulid::generate().to_string().to_lowercase())
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// Free text that ends up in JSON, SQL and logs.
pub(super) fn is_text(text: &str, max_chars: usize) -> bool {
    !text.is_empty() && text.chars().count() <= max_chars && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_catalogue_name_is_a_type() {
        for entry in catalogue::catalogue() {
            EventType::parse(entry.name).unwrap();
        }
    }

    #[test]
    fn names_keep_their_rules() {
        for good in ["a", "tenant-123", "9.x_y"] {
            assert!(TenantId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "a b", "a/b", "é", "a\0", &"a".repeat(65)] {
            assert!(TenantId::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "Call.incoming", "call..x", ".call", "call.", "call.*", "*", "welcome", "bye", "a b"] {
            assert!(EventType::parse(bad).is_err(), "{bad}");
        }
        assert!(!SessionId::parse("fifteen-letters").unwrap().is_hard_to_guess());
        assert!(EventId::parse("evt.1").is_err(), "a dot would end the id in a signature's content");
    }
}
