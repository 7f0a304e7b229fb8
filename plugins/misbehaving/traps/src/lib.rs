//! Panics over an event whose data has `{"trap":true}`; passes all others.

use jackfield_plugin::{Destination, Event, Failure, Transform, Verdict};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// See above.
pub struct Traps;

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    trap: bool,
}

impl Transform for Traps {
    type Config = IgnoredAny;

    fn new(_: IgnoredAny) -> Result<Self, String> {
        Ok(Self)
    }

    fn transform(&self, event: &Event, _to: &Destination) -> Result<Verdict, Failure> {
        if !event.data::<Asked>().is_ok_and(|asked| asked.trap) {
            return Ok(Verdict::pass());
        }
        panic!("asked to trap by {}", event.id);
    }
}

jackfield_plugin::export!(transform: Traps);
