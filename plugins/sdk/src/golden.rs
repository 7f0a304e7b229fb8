//! Golden cases: a folder of JSON files, each an event with what a plugin must answer, run natively.
//!
//! One case is `{"name", "config", "event", "to"?, "expect"}`. The event is the envelope that the router delivers (`type`,
//! `data`, and any of `id`, `tenant_id`, `timestamp`, `user_id`, `session_id`, `key`, `source`). What it leaves out is the
//! same here and in the router's own runner: tenant `tenant-123`, id `evt_golden`, `2026-11-22T05:14:09.431Z`.
//!
//! `expect` is one of `{"verdict":"emit","content_type","body","text","headers"}` (`body` is compared as JSON, `text` byte for byte,
//! and of `headers` those that are named),
//! `{"verdict":"drop","reason"?}`, `{"verdict":"pass"}`, `{"matches":true}`, `{"failure":{"code"}}` and
//! `{"configure_error":"part of the message"}`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::{Body, Destination, Event, Failure, Filter, Transform, Verdict, clock};

/// One case, read from its file.
pub struct Case {
    /// Where it was read from.
    pub path: PathBuf,
    /// The step's configuration, as text.
    pub config: String,
    /// The event to ask about.
    pub event: Event,
    /// Where the answer would go.
    pub to: Destination,
    expect: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    config: Option<Box<RawValue>>,
    event: Envelope,
    to: Option<To>,
    expect: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    id: Option<String>,
    #[serde(rename = "type")]
    event_type: String,
    tenant_id: Option<String>,
    timestamp: Option<String>,
    user_id: Option<String>,
    session_id: Option<String>,
    key: Option<String>,
    source: Option<String>,
    // Raw: a plugin sees the bytes as they were sent.
    data: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct To {
    kind: String,
    id: String,
    name: String,
}

/// Runs every case in `folder` against a transform plugin; a relative folder is the crate's.
///
/// # Panics
/// A case cannot be read, or is answered differently: the message shows each, with both answers.
pub fn check_transform<P: Transform>(folder: impl AsRef<Path>) {
    check(folder.as_ref(), |case| match P::from_json(&case.config) {
        Err(why) => refused(&why),
        Ok(plugin) => plugin.transform(&case.event, &case.to).map_or_else(failed, verdict),
    });
}

/// Runs every case in `folder` against a filter plugin; a relative folder is the crate's.
///
/// # Panics
/// A case cannot be read, or is answered differently: the message shows each, with both answers.
pub fn check_filter<P: Filter>(folder: impl AsRef<Path>) {
    check(folder.as_ref(), |case| match P::from_json(&case.config) {
        Err(why) => refused(&why),
        Ok(plugin) => plugin.matches(&case.event, &case.to).map_or_else(failed, |yes| json!({ "matches": yes })),
    });
}

fn check(folder: &Path, answer: impl Fn(&Case) -> Value) {
    let cases = read(folder);
    assert!(!cases.is_empty(), "no golden cases in {}", folder.display());
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            clock::set_now_ms(case.event.time_ms);
            let got = answer(case);
            (!fits(&case.expect, &got))
                .then(|| format!("{}\n  expected {}\n  got      {got}", case.path.display(), case.expect))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} golden cases differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Reads the cases of a folder, in order of their file names.
///
/// # Panics
/// The folder or a file in it cannot be read, or a file is no case.
pub fn read(folder: &Path) -> Vec<Case> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("failed to read {}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap_or_else(|error| panic!("failed to list {}: {error}", folder.display())).path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    paths.into_iter().map(read_one).collect()
}

fn read_one(path: PathBuf) -> Case {
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()));
    let file: File =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{} is no golden case: {error}", path.display()));
    assert!(!file.name.is_empty(), "{} has no name", path.display());
    let timestamp = file.event.timestamp.as_deref().unwrap_or("2026-11-22T05:14:09.431Z");
    let time_ms = time_ms(timestamp).unwrap_or_else(|| panic!("{}: `{timestamp}` is no time", path.display()));
    let raw = |value: Option<Box<RawValue>>, absent: &str| value.map_or(absent.to_owned(), |raw| raw.get().to_owned());
    let event = Event {
        id: file.event.id.unwrap_or_else(|| "evt_golden".into()),
        tenant: file.event.tenant_id.unwrap_or_else(|| "tenant-123".into()),
        user: file.event.user_id,
        session: file.event.session_id,
        key: file.event.key,
        source: file.event.source,
        time_ms,
        ..Event::new(file.event.event_type, raw(file.event.data, "null"))
    };
    let to = file.to.map_or_else(Destination::default, |to| Destination {
        kind: to.kind,
        id: to.id,
        name: to.name,
        attributes: Vec::new(),
    });
    Case { path, config: raw(file.config, "{}"), event, to, expect: file.expect }
}

fn refused(why: &str) -> Value {
    json!({ "configure_error": why })
}

fn failed(failure: Failure) -> Value {
    json!({ "failure": { "code": failure.code, "message": failure.message } })
}

fn verdict(verdict: Verdict) -> Value {
    match verdict {
        Verdict::Pass => json!({ "verdict": "pass" }),
        Verdict::Drop(reason) => json!({ "verdict": "drop", "reason": reason }),
        Verdict::Emit(output) => {
            let headers: serde_json::Map<_, _> =
                output.headers.into_iter().map(|header| (header.key, Value::String(header.value))).collect();
            let (body, text) = match output.body {
                Body::Text(text) => (serde_json::from_str(&text).unwrap_or_else(|_| json!(text)), json!(text)),
                Body::Bytes(bytes) => (json!(bytes), Value::Null),
            };
            json!({
                "verdict": "emit", "content_type": output.content_type, "body": body, "text": text, "headers": headers,
            })
        }
    }
}

/// What is expected must be there and equal; messages need only contain it, and what is not named is free.
fn fits(expect: &Value, got: &Value) -> bool {
    match (expect, got) {
        (Value::Object(expect), Value::Object(got)) => expect.iter().all(|(key, expect)| match got.get(key) {
            Some(got) if key == "configure_error" || key == "message" => {
                got.as_str().zip(expect.as_str()).is_some_and(|(got, part)| got.contains(part))
            }
            Some(got) if key == "body" => got == expect,
            Some(got) => fits(expect, got),
            None => false,
        }),
        _ => expect == got,
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
