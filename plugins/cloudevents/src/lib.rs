//! The stock plugin `cloudevents`: sends events as CloudEvents 1.0, in the structured or the binary form.
//!
//! ```json
//! {"mode": "binary", "source": "https://pbx.example/{event.source}", "type_prefix": "com.example."}
//! ```
//!
//! Attributes are named as the server names those that it reads: `userid`, `sessionid` and `tenantid` are the envelope's, and its
//! `key` is `partitionkey`. So what is sent to another Jackfield arrives as it was.

mod percent;

use std::collections::BTreeMap;

use jackfield_plugin::pick::Picker;
use jackfield_plugin::template::{Template, Values};
use jackfield_plugin::{Destination, Event, Failure, Transform, Verdict, time};
use serde::Deserialize;
use serde_json::Value;

/// Names that are this plugin's to give, or that the specification keeps for itself.
const TAKEN: [&str; 12] = [
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "datacontenttype",
    "data",
    "userid",
    "sessionid",
    "tenantid",
    "partitionkey",
    "dataschema",
];
/// A request may carry 32 headers of a plugin's, and ten may be ours.
const MAX_EXTENSIONS: usize = 20;

/// The form, and what the event itself does not say.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    mode: Mode,
    source: Option<String>,
    type_prefix: String,
    dataschema: Option<String>,
    extensions: BTreeMap<String, String>,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Structured,
    Binary,
}

/// One step's attributes, ready to be filled.
pub struct CloudEvents {
    mode: Mode,
    type_prefix: String,
    dataschema: Option<String>,
    picker: Picker,
    source: Option<Template>,
    extensions: Vec<(String, Template)>,
}

impl Transform for CloudEvents {
    type Config = Config;
    const NAME: Option<&'static str> = Some("cloudevents");
    const CONFIG_SCHEMA: Option<&'static str> = Some(include_str!("../config.schema.json"));

    fn new(config: Config) -> Result<Self, String> {
        let mut picker = Picker::default();
        let mut parse =
            |place: &str, text: &str| Template::parse(text, &mut picker).map_err(|why| format!("`{place}`: {why}"));
        let source = config.source.as_deref().map(|source| parse("source", source)).transpose()?;
        if config.extensions.len() > MAX_EXTENSIONS {
            return Err(format!("`extensions` has {} entries: at most {MAX_EXTENSIONS}", config.extensions.len()));
        }
        let mut extensions = Vec::new();
        for (name, text) in &config.extensions {
            check_name(name)?;
            extensions.push((name.clone(), parse(&format!("extensions.{name}"), text)?));
        }
        let (mode, type_prefix, dataschema) = (config.mode, config.type_prefix, config.dataschema);
        Ok(Self { mode, type_prefix, dataschema, picker, source, extensions })
    }

    fn transform(&self, event: &Event, _to: &Destination) -> Result<Verdict, Failure> {
        let values = Values::of(event, &self.picker)?;
        let attributes = self.attributes(&values);
        if self.mode == Mode::Binary {
            let verdict = Verdict::emit_text("application/json", event.data_text());
            return Ok(attributes.into_iter().fold(verdict, |verdict, (name, value)| {
                verdict.with_header(format!("ce-{name}"), percent::header(&value))
            }));
        }
        let mut body = String::with_capacity(512 + event.data_text().len());
        body.push('{');
        for (name, value) in attributes {
            body.push_str(&format!("\"{name}\":{},", Value::String(value)));
        }
        body.push_str("\"datacontenttype\":\"application/json\",\"data\":");
        body.push_str(event.data_text());
        body.push('}');
        Ok(Verdict::emit_text("application/cloudevents+json", body))
    }
}

impl CloudEvents {
    /// All but the data and its content type; optional ones without a value are left out.
    fn attributes<'a>(&'a self, values: &Values<'_>) -> Vec<(&'a str, String)> {
        let event = values.event;
        let source = match &self.source {
            Some(template) => values.text(template),
            None => event.source.clone().unwrap_or_default(),
        };
        // Required, and never empty.
        let source = if source.is_empty() { format!("/tenants/{}", event.tenant) } else { percent::reference(&source) };
        let mut attributes = vec![
            ("specversion", "1.0".to_owned()),
            ("id", event.id.clone()),
            ("source", source),
            ("type", format!("{}{}", self.type_prefix, event.event_type)),
            ("time", time::rfc3339(event.time_ms)),
        ];
        attributes.extend(self.dataschema.clone().map(|schema| ("dataschema", schema)));
        let envelope = [
            ("tenantid", Some(&event.tenant)),
            ("userid", event.user.as_ref()),
            ("sessionid", event.session.as_ref()),
            ("partitionkey", event.key.as_ref()),
        ];
        attributes.extend(envelope.into_iter().filter_map(|(name, value)| Some((name, value?.clone()))));
        attributes.extend(self.extensions.iter().map(|(name, template)| (name.as_str(), values.text(template))));
        // The specification allows no control characters in a value, and no empty one where it may be absent.
        for (_, value) in &mut attributes {
            value.retain(|c| !c.is_control());
        }
        attributes.retain(|(_, value)| !value.is_empty());
        attributes
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if TAKEN.contains(&name) {
        return Err(format!("`extensions.{name}` is an attribute that the event has already: choose another name"));
    }
    let fits =
        !name.is_empty() && name.len() <= 20 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if fits { Ok(()) } else { Err(format!("`extensions.{name}` is no name: use at most 20 of a-z and 0-9")) }
}

jackfield_plugin::export!(transform: CloudEvents);
