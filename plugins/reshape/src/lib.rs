//! The stock plugin `reshape`: a template of the output.
//!
//! ```json
//! {"body": {"text": "{/caller} is calling", "who": {"$": "/customer"}, "queue": {"$": "/queue", "default": "none"}},
//!  "headers": {"x-event": "{event.type}"}}
//! ```
//!
//! In texts, `{caller}`, `{/customer/name}` and `{event.type}` are filled in, and what is absent is empty. An object with `$`
//! is replaced by the value at that place, with its JSON type and its bytes; where it is absent or null, by `default`, or
//! with `"omit": true` the member goes, else it is null. `text` instead of `body` makes plain text.

mod shape;

use std::collections::BTreeMap;

use jackfield_plugin::pick::{Json, Picker};
use jackfield_plugin::template::{Template, Values};
use jackfield_plugin::{Destination, Event, Failure, Transform, Verdict};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::shape::Shape;

/// A request takes at most this many headers of a plugin's.
const MAX_HEADERS: usize = 32;

/// The template, and how it is sent.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    body: Option<Box<RawValue>>,
    text: Option<String>,
    content_type: Option<String>,
    headers: BTreeMap<String, String>,
}

/// One step's template, ready to be filled.
pub struct Reshape {
    picker: Picker,
    output: Output,
    content_type: String,
    headers: Vec<(String, Template)>,
}

enum Output {
    Json(Shape),
    Text(Template),
}

impl Transform for Reshape {
    type Config = Config;
    const NAME: Option<&'static str> = Some("reshape");
    const CONFIG_SCHEMA: Option<&'static str> = Some(include_str!("../config.schema.json"));

    fn new(config: Config) -> Result<Self, String> {
        let mut picker = Picker::default();
        let (output, usual) = match (config.body, config.text) {
            (Some(body), None) => {
                let shape = Shape::compile(Json::from(&*body), "body", &mut picker)?;
                (Output::Json(shape), "application/json")
            }
            (None, Some(text)) => {
                let text = Template::parse(&text, &mut picker).map_err(|why| format!("`text`: {why}"))?;
                (Output::Text(text), "text/plain; charset=utf-8")
            }
            (None, None) => return Err("there is nothing to send: give `body` (JSON) or `text`".to_owned()),
            (Some(_), Some(_)) => return Err("`body` and `text` are both there: keep one".to_owned()),
        };
        let content_type = config.content_type.unwrap_or_else(|| usual.to_owned());
        if content_type.is_empty() || content_type.chars().any(char::is_control) {
            return Err("`content_type` is no media type: write e.g. `application/json`".to_owned());
        }
        if config.headers.len() > MAX_HEADERS {
            return Err(format!("`headers` has {} entries: at most {MAX_HEADERS}", config.headers.len()));
        }
        let mut headers = Vec::new();
        for (name, text) in config.headers {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if name.is_empty() || !name.bytes().all(plain) {
                return Err(format!("`headers.{name}` is no name of a header: use letters, digits and `-`"));
            }
            let text = Template::parse(&text, &mut picker).map_err(|why| format!("`headers.{name}`: {why}"))?;
            headers.push((name, text));
        }
        Ok(Self { picker, output, content_type, headers })
    }

    fn transform(&self, event: &Event, _to: &Destination) -> Result<Verdict, Failure> {
        let values = Values::of(event, &self.picker)?;
        let body = match &self.output {
            Output::Json(shape) => shape.fill(&values),
            Output::Text(text) => values.text(text),
        };
        let verdict = Verdict::emit_text(self.content_type.as_str(), body);
        Ok(self.headers.iter().fold(verdict, |verdict, (name, template)| {
            // A header is one line.
            let value: String = values.text(template).chars().filter(|c| !c.is_control()).collect();
            verdict.with_header(name.as_str(), value)
        }))
    }
}

jackfield_plugin::export!(transform: Reshape);
