//! Patterns choose event types: `call.incoming` exactly, `call.*` any depth below, `*` all.

use std::fmt;

use super::{EventType, catalogue, ids};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    All,
    /// Holds the prefix with its dot: `call.`.
    Below(String),
    Exact(EventType),
}

impl Pattern {
    /// # Errors
    /// A message for whoever sent the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is no pattern: use an event type, a prefix such as `call.*`, or `*`");
        if text == "*" {
            return Ok(Self::All);
        }
        match text.strip_suffix('*') {
            Some(prefix) => match prefix.strip_suffix('.').map(ids::EventType::parse) {
                Some(Ok(_)) => Ok(Self::Below(prefix.to_owned())),
                _ => Err(refused()),
            },
            None => EventType::parse(text).map(Self::Exact).map_err(|_| refused()),
        }
    }

    pub fn matches(&self, event_type: &EventType) -> bool {
        match self {
            Self::All => true,
            Self::Below(prefix) => event_type.as_str().starts_with(prefix.as_str()),
            Self::Exact(exact) => exact == event_type,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Below(prefix) => write!(f, "{prefix}*"),
            Self::Exact(exact) => exact.fmt(f),
        }
    }
}

/// A list of patterns, any of which may match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns(Vec<Pattern>);

impl Patterns {
    /// At most this many in one list, so that matching stays a short walk.
    pub const MAX: usize = 100;

    pub fn all() -> Self {
        Self(vec![Pattern::All])
    }

    /// # Errors
    /// The first text that is no pattern, or too many of them.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut patterns = texts.into_iter().map(Pattern::parse).collect::<Result<Vec<_>, _>>()?;
        // Kept for as long as a connection lives.
        patterns.shrink_to_fit();
        if patterns.len() > Self::MAX {
            return Err(format!("{} patterns are too many: at most {}", patterns.len(), Self::MAX));
        }
        Ok(Self(patterns))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Pattern> {
        self.0.iter()
    }

    pub fn match_any(&self, event_type: &EventType) -> bool {
        self.0.iter().any(|pattern| pattern.matches(event_type))
    }

    /// As webhooks choose: ephemeral types only when named exactly.
    pub fn owe(&self, event_type: &EventType) -> bool {
        if catalogue::is_ephemeral(event_type.as_str()) {
            self.0.iter().any(|pattern| matches!(pattern, Pattern::Exact(exact) if exact == event_type))
        } else {
            self.match_any(event_type)
        }
    }

    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(Pattern::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(pattern: &str, event_type: &str) -> bool {
        let (pattern, event_type) = (pattern.split('.').collect::<Vec<_>>(), event_type.split('.').collect::<Vec<_>>());
        match pattern.split_last() {
            Some((&"*", [])) => true,
            Some((&"*", prefix)) => event_type.len() > prefix.len() && event_type.starts_with(prefix),
            _ => pattern == event_type,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_naive_model(
            pattern in r"(\*|[ab]{1,2}(\.[ab]{1,2}){0,2}(\.\*)?)",
            event_type in r"[ab]{1,2}(\.[ab]{1,2}){0,3}",
        ) {
            let parsed = Pattern::parse(&pattern).unwrap();
            prop_assert_eq!(parsed.matches(&EventType::parse(&event_type).unwrap()), naive(&pattern, &event_type));
            prop_assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for bad in ["", "call*", "*.call", "call.*.x", "Call.*", ".*", "**", "call. *", "a b"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ephemeral_types_are_owed_only_when_named() {
        let typing = EventType::parse("chat.typing").unwrap();
        assert!(!Patterns::parse(["*", "chat.*"]).unwrap().owe(&typing));
        assert!(Patterns::parse(["chat.typing"]).unwrap().owe(&typing));
        assert!(Patterns::parse(["chat.*"]).unwrap().match_any(&typing));
    }
}
