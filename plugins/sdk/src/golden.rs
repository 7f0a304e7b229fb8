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

mod case;

use std::path::{Path, PathBuf};

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
    let mut wrong = Vec::new();
    for case in &cases {
        clock::set_now_ms(case.event.time_ms);
        let differences = case::differences(&case.expect, &answer(case));
        if !differences.is_empty() {
            wrong.push(format!("{}\n  {}", case.path.display(), differences.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{} of {} golden cases differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Reads the cases of a folder, in order of their file names.
///
/// # Panics
/// The folder or a file in it cannot be read, a file is no case, or there is none.
pub fn read(folder: &Path) -> Vec<Case> {
    let cases = case::read(folder).unwrap_or_else(|why| panic!("{why}"));
    cases.into_iter().map(Case::from).collect()
}

impl From<case::Case> for Case {
    fn from(case: case::Case) -> Self {
        let config = case.config().to_owned();
        let case::Case { path, event, to, expect, .. } = case;
        let time_ms = event.time_ms().unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let data = event.data().to_owned();
        let event = Event {
            id: event.id,
            tenant: event.tenant_id,
            user: event.user_id,
            session: event.session_id,
            key: event.key,
            source: event.source,
            time_ms,
            ..Event::new(event.event_type, data)
        };
        let to = Destination { kind: to.kind, id: to.id, name: to.name, attributes: Vec::new() };
        Self { path, config, event, to, expect }
    }
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
