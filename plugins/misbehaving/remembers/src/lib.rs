//! Emits how many events this instance has seen, and the configuration it was given: shows what instances share.

use std::cell::Cell;

use jackfield_plugin::{Destination, Event, Failure, Transform, Verdict};
use serde::Serialize;
use serde_json::value::RawValue;

/// See above.
pub struct Remembers {
    config: Box<RawValue>,
    seen: Cell<u64>,
}

#[derive(Serialize)]
struct Memory<'a> {
    seen: u64,
    config: &'a RawValue,
}

impl Transform for Remembers {
    type Config = Box<RawValue>;

    fn new(config: Box<RawValue>) -> Result<Self, String> {
        Ok(Self { config, seen: Cell::new(0) })
    }

    fn transform(&self, _event: &Event, _to: &Destination) -> Result<Verdict, Failure> {
        self.seen.set(self.seen.get() + 1);
        Verdict::emit_json(&Memory { seen: self.seen.get(), config: &self.config })
    }
}

jackfield_plugin::export!(transform: Remembers);
