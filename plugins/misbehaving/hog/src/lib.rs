//! Allocates until it may not over an event whose data has `{"hog":true}`; passes all others.

use jackfield_plugin::{Destination, Event, Failure, Transform, Verdict};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// See above.
pub struct Hog;

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    hog: bool,
}

impl Transform for Hog {
    type Config = IgnoredAny;

    fn new(_: IgnoredAny) -> Result<Self, String> {
        Ok(Self)
    }

    fn transform(&self, event: &Event, _to: &Destination) -> Result<Verdict, Failure> {
        if !event.data::<Asked>().is_ok_and(|asked| asked.hog) {
            return Ok(Verdict::pass());
        }
        let mut kept = Vec::new();
        loop {
            // Written, not only reserved: the host must see the pages.
            kept.push(std::hint::black_box(vec![1u8; 1024 * 1024]));
        }
    }
}

jackfield_plugin::export!(transform: Hog);
