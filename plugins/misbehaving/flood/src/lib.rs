//! Answers 10 MB to an event whose data has `{"flood":true}`; passes all others.

use jackfield_plugin::{Destination, Event, Failure, Transform, Verdict};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// See above.
pub struct Flood;

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    flood: bool,
}

impl Transform for Flood {
    type Config = IgnoredAny;

    fn new(_: IgnoredAny) -> Result<Self, String> {
        Ok(Self)
    }

    fn transform(&self, event: &Event, _to: &Destination) -> Result<Verdict, Failure> {
        if !event.data::<Asked>().is_ok_and(|asked| asked.flood) {
            return Ok(Verdict::pass());
        }
        Ok(Verdict::emit_text("application/json", format!("\"{}\"", "x".repeat(10_000_000))))
    }
}

jackfield_plugin::export!(transform: Flood);
