//! Never returns from an event whose data has `{"loop":true}`; passes all others.

use jackfield_plugin::{Destination, Event, Failure, Transform, Verdict};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// See above.
pub struct Loops;

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    r#loop: bool,
}

impl Transform for Loops {
    type Config = IgnoredAny;

    fn new(_: IgnoredAny) -> Result<Self, String> {
        Ok(Self)
    }

    fn transform(&self, event: &Event, _to: &Destination) -> Result<Verdict, Failure> {
        if !event.data::<Asked>().is_ok_and(|asked| asked.r#loop) {
            return Ok(Verdict::pass());
        }
        loop {
            std::hint::black_box(());
        }
    }
}

jackfield_plugin::export!(transform: Loops);
