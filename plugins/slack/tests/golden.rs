//! The golden cases, run natively, and Slack's limits on whatever they emit.

use std::path::Path;

use jackfield_plugin::{Transform, golden};
use serde_json::Value;
use slack::Slack;

#[test]
fn every_golden_case_is_answered_as_written() {
    golden::check_transform::<Slack>("golden");
}

#[test]
fn every_message_is_inside_slacks_limits() {
    for case in golden::read(Path::new("golden")) {
        let Ok(slack) = Slack::from_json(&case.config) else { continue };
        let Ok(verdict) = slack.transform(&case.event, &case.to) else { continue };
        let message: Value = serde_json::from_str(verdict.body_text().expect("slack always emits text")).unwrap();
        if let Some(broken) = broken_limit(&message) {
            panic!("{}: {broken}", case.path.display());
        }
    }
}

fn broken_limit(message: &Value) -> Option<String> {
    let over = |what: &str, text: &Value, limit: usize| {
        let length = text.as_str().map_or(0, |text| text.chars().count());
        (length == 0 || length > limit).then(|| format!("{what} has {length} characters, limit {limit}"))
    };
    let blocks = message["blocks"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    if blocks.is_empty() || blocks.len() > 50 {
        return Some(format!("{} blocks", blocks.len()));
    }
    let none = Vec::new();
    over("text", &message["text"], 4_000).or_else(|| {
        blocks.iter().find_map(|block| {
            let fields = block["fields"].as_array().unwrap_or(&none);
            let elements = block["elements"].as_array().unwrap_or(&none);
            if fields.len() > 10 || elements.len() > 10 {
                return Some(format!("{} fields, {} elements", fields.len(), elements.len()));
            }
            match block["type"].as_str() {
                Some("header") => over("header", &block["text"]["text"], 150),
                Some("section") if fields.is_empty() => over("section", &block["text"]["text"], 3_000),
                Some("section") => fields.iter().find_map(|field| over("field", &field["text"], 2_000)),
                Some("context") => elements.iter().find_map(|element| over("element", &element["text"], 3_000)),
                other => Some(format!("unexpected block {other:?}")),
            }
        })
    })
}
