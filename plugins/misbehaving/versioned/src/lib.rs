//! Emits which version of it answered, its configuration and the data: shows what a swap changed, and when.
//!
//! The version is `JACKFIELD_TEST_VERSION` at build time, 1 without it.

use jackfield_plugin::{Destination, Event, Failure, Transform, Verdict};
use serde::Serialize;
use serde_json::value::RawValue;

/// See above.
pub struct Versioned {
    version: u64,
    config: Box<RawValue>,
}

#[derive(Serialize)]
struct Answer<'a> {
    version: u64,
    config: &'a RawValue,
    data: &'a RawValue,
}

impl Transform for Versioned {
    type Config = Box<RawValue>;

    fn new(config: Box<RawValue>) -> Result<Self, String> {
        let version = option_env!("JACKFIELD_TEST_VERSION").unwrap_or("1");
        let version =
            version.parse().map_err(|_| format!("JACKFIELD_TEST_VERSION was `{version}`: build with a number"))?;
        Ok(Self { version, config })
    }

    fn transform(&self, event: &Event, _to: &Destination) -> Result<Verdict, Failure> {
        Verdict::emit_json(&Answer { version: self.version, config: &self.config, data: event.data()? })
    }
}

jackfield_plugin::export!(transform: Versioned);
