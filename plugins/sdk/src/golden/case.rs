//! What a golden case says, and where an answer differs from it. Plain data, which knows neither bindings nor router: the
//! SDK runs cases natively, and `jackfield plugin run` compiles this same file to run them in a component.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// One case, as its file says it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows, as a sentence.
    pub name: String,
    config: Option<Box<RawValue>>,
    /// What is passed to the plugin.
    pub event: Envelope,
    /// Where the answer would go.
    #[serde(default)]
    pub to: To,
    /// What must be in the answer.
    pub expect: Value,
    /// Where it was read from.
    #[serde(skip)]
    pub path: PathBuf,
}

/// An event as the router delivers it; what is left out is the same everywhere.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// `evt_golden` where it is left out.
    #[serde(default = "golden_id")]
    pub id: String,
    /// Dotted name.
    #[serde(rename = "type")]
    pub event_type: String,
    /// `tenant-123` where it is left out.
    #[serde(default = "golden_tenant")]
    pub tenant_id: String,
    #[serde(default = "golden_time")]
    timestamp: String,
    /// The one user it is for.
    pub user_id: Option<String>,
    /// The one public session it is for.
    pub session_id: Option<String>,
    /// Orders deliveries.
    pub key: Option<String>,
    /// Who made it.
    pub source: Option<String>,
    // Raw: a plugin sees the bytes as they were sent.
    data: Option<Box<RawValue>>,
}

/// A destination; a webhook without id or name where it is left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct To {
    /// `webhook` or `sockets`.
    pub kind: String,
    /// The webhook's id.
    pub id: String,
    /// The webhook's name.
    pub name: String,
}

impl Default for To {
    fn default() -> Self {
        Self { kind: "webhook".to_owned(), id: String::new(), name: String::new() }
    }
}

fn golden_id() -> String {
    "evt_golden".to_owned()
}

fn golden_tenant() -> String {
    "tenant-123".to_owned()
}

fn golden_time() -> String {
    "2026-11-22T05:14:09.431Z".to_owned()
}

impl Case {
    /// The step's configuration, as text.
    pub fn config(&self) -> &str {
        self.config.as_ref().map_or("{}", |raw| raw.get())
    }
}

impl Envelope {
    /// The payload, as text.
    pub fn data(&self) -> &str {
        self.data.as_ref().map_or("null", |raw| raw.get())
    }

    /// Milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// The timestamp is not `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    pub fn time_ms(&self) -> Result<u64, String> {
        let wrong = || format!("timestamp `{}` has not the form 2026-11-22T05:14:09.431Z", self.timestamp);
        time_ms(&self.timestamp).ok_or_else(wrong)
    }
}

/// Reads the cases of a folder, in order of their file names.
///
/// # Errors
/// The folder or a file in it cannot be read, a file is no case, or there is none.
pub fn read(folder: &Path) -> Result<Vec<Case>, String> {
    let cannot = |error: std::io::Error| format!("failed to read {}: {error}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(format!("no golden cases in {}", folder.display()));
    }
    paths.sort();
    paths.into_iter().map(read_one).collect()
}

fn read_one(path: PathBuf) -> Result<Case, String> {
    let text = fs::read_to_string(&path).map_err(|error| format!("failed to read {}: {error}", path.display()))?;
    let case: Case =
        serde_json::from_str(&text).map_err(|error| format!("{} is no golden case: {error}", path.display()))?;
    if case.name.is_empty() {
        return Err(format!("{} has no name", path.display()));
    }
    case.event.time_ms().map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Case { path, ..case })
}

/// Each place where an answer is not as expected, a line each. Messages need only contain what is expected, and what is not
/// named is free, but for a body, which must be equal.
pub fn differences(expect: &Value, got: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let (Value::Object(expect), Value::Object(fields)) = (expect, got) else {
        return vec![format!("expected {expect}, got {got}")];
    };
    for (field, expect) in expect {
        match (field.as_str(), fields.get(field)) {
            (_, None) => lines.push(format!("{field}: expected {expect}, got {got}")),
            ("configure_error", Some(Value::String(said))) if says(said, expect) => {}
            // Of these only what is named.
            ("failure" | "headers", Some(Value::Object(said))) if expect.is_object() => {
                for (part, expect) in expect.as_object().into_iter().flatten() {
                    match said.get(part) {
                        Some(Value::String(said)) if part == "message" && says(said, expect) => {}
                        got => compare(&format!("{field}.{part}"), Some(expect), got, &mut lines),
                    }
                }
            }
            (_, got) => compare(field, Some(expect), got, &mut lines),
        }
    }
    lines
}

fn says(said: &str, expect: &Value) -> bool {
    expect.as_str().is_some_and(|part| said.contains(part))
}

/// Goes down to the values that differ, so that one word in a large body is one line.
fn compare(place: &str, expect: Option<&Value>, got: Option<&Value>, lines: &mut Vec<String>) {
    match (expect, got) {
        (Some(Value::Object(expect)), Some(Value::Object(got))) => {
            for (field, value) in expect {
                compare(&format!("{place}.{field}"), Some(value), got.get(field), lines);
            }
            for (field, value) in got.iter().filter(|(field, _)| !expect.contains_key(*field)) {
                compare(&format!("{place}.{field}"), None, Some(value), lines);
            }
        }
        (Some(Value::Array(expect)), Some(Value::Array(got))) => {
            for at in 0..expect.len().max(got.len()) {
                compare(&format!("{place}[{at}]"), expect.get(at), got.get(at), lines);
            }
        }
        (Some(expect), Some(got)) if expect == got => {}
        (expect, got) => {
            let shown = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
            lines.push(format!("{place}: expected {}, got {}", shown(expect), shown(got)));
        }
    }
}

/// Milliseconds since the Unix epoch of `YYYY-MM-DDTHH:MM:SS.mmmZ`.
fn time_ms(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    if text.len() != 24 || !text.ends_with('Z') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    // Years that begin in March put the leap day last; day 719,468 of that calendar is 1970-01-01.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let seconds = (days - 719_468) * 86_400 + number(11, 13)? * 3_600 + number(14, 16)? * 60 + number(17, 19)?;
    Some(seconds * 1_000 + number(20, 23)?)
}
