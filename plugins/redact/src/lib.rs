//! The stock plugin `redact`: drops or masks fields of `data`; every other byte stays as it was sent.
//!
//! ```json
//! {"drop": ["/customer/email"], "mask": ["/caller", "/cards/*/number"], "keep_last": 4}
//! ```
//!
//! Places are JSON pointers, where `*` is any key and any element. Where several meet, `drop` comes before `mask`, and an outer
//! place before one inside it. A masked value becomes the text `with`, whatever it was; null stays null. There is no hashing on
//! purpose: the few values that a telephone number can have are found from their hashes in seconds.

use jackfield_plugin::edit::{Change, Editor};
use jackfield_plugin::pick::Json;
use jackfield_plugin::{Destination, Event, Failure, Transform, Verdict};
use serde::Deserialize;

/// At most this much of a value stays readable.
const MAX_KEPT: usize = 8;

/// What goes, what is masked, and how.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    drop: Vec<String>,
    mask: Vec<String>,
    with: String,
    keep_last: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { drop: Vec::new(), mask: Vec::new(), with: "***".to_owned(), keep_last: 0 }
    }
}

/// One step's places.
pub struct Redact {
    editor: Editor,
    /// Places below this number are dropped, the others masked.
    dropped: usize,
    with: String,
    keep_last: usize,
}

impl Transform for Redact {
    type Config = Config;
    const NAME: Option<&'static str> = Some("redact");
    const CONFIG_SCHEMA: Option<&'static str> = Some(include_str!("../config.schema.json"));

    fn new(config: Config) -> Result<Self, String> {
        if config.drop.is_empty() && config.mask.is_empty() {
            return Err("nothing is redacted: give `drop` or `mask` a place, e.g. `/caller`".to_owned());
        }
        if config.keep_last > MAX_KEPT {
            return Err(format!("`keep_last` is {}: at most {MAX_KEPT} characters stay readable", config.keep_last));
        }
        let mut editor = Editor::default();
        for (list, pointers) in [("drop", &config.drop), ("mask", &config.mask)] {
            for (n, pointer) in pointers.iter().enumerate() {
                editor.add(pointer).map_err(|why| format!("`{list}[{n}]`: {why}"))?;
            }
        }
        Ok(Self { editor, dropped: config.drop.len(), with: config.with, keep_last: config.keep_last })
    }

    fn transform(&self, event: &Event, _to: &Destination) -> Result<Verdict, Failure> {
        let change = |place, value: Json<'_>| match place < self.dropped {
            true => Change::Remove,
            false if value.is_null() => Change::Keep,
            false => Change::Replace(self.masked(value)),
        };
        let data = match self.editor.edit(event.data_text(), change)? {
            Some(data) => data,
            None => return Ok(Verdict::pass()),
        };
        Ok(Verdict::emit_text("application/json", data))
    }
}

impl Redact {
    /// The mask as JSON, before what stays readable of a text that is more than twice as long.
    fn masked(&self, value: Json<'_>) -> String {
        let mut masked = self.with.clone();
        if self.keep_last > 0
            && let Some(text) = value.as_str()
        {
            let characters = text.chars().count();
            if characters > 2 * self.keep_last {
                masked.extend(text.chars().skip(characters - self.keep_last));
            }
        }
        serde_json::Value::String(masked).to_string()
    }
}

jackfield_plugin::export!(transform: Redact);
