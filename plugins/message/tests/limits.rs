//! Whatever the event and the template: the message is JSON, and inside what its receiver takes.

use discord::Discord;
use jackfield_plugin::{Destination, Event, Transform};
use proptest::prelude::*;
use serde_json::{Value, json};
use slack::Slack;
use teams::Teams;

/// Texts around the limits, of one character or of few, among them all that some receiver escapes.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ -~]",
        "\\PC",
        Just("<".to_owned()),
        Just("&".to_owned()),
        Just("\\".to_owned()),
        Just("😀".to_owned()),
        Just("\u{1}\n\"".to_owned())
    ];
    let pieces = (
        proptest::collection::vec(piece, 0..4),
        prop_oneof![8 => 0..5_usize, 1 => 140..160_usize, 1 => 250..260_usize, 1 => 990..1_100_usize, 1 => 2_900..4_200_usize],
    );
    pieces.prop_map(|(pieces, times)| pieces.concat().repeat(times))
}

fn data() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        text().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(Value::Null),
        proptest::collection::vec(text(), 0..3).prop_map(Value::from),
    ];
    proptest::collection::vec((text(), value), 0..70).prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// Half of the configurations leave the fields to the event.
fn config() -> impl Strategy<Value = String> {
    let braces = |text: String| text.replace('{', "{{").replace('}', "}}");
    (text(), text(), any::<bool>()).prop_map(move |(title, words, named)| {
        let mut template =
            json!({"title": braces(title) + "{a}", "text": braces(words) + "[x](https://x.example/{b})"});
        if named {
            template["fields"] = json!(["a", "/b", "event.type", "event.time"]);
        }
        json!({"templates": {"*": template}}).to_string()
    })
}

fn message<P: Transform>(config: &str, event: &Event) -> String {
    let plugin = P::from_json(config).expect("the configuration is one");
    let verdict = plugin.transform(event, &Destination::default()).expect("data is JSON");
    verdict.body_text().expect("it always emits text").to_owned()
}

/// The characters of a text that must be there; 0 where it is not.
fn length(value: &Value) -> usize {
    value.as_str().map_or(0, |text| text.chars().count())
}

fn within(what: &str, value: &Value, most: usize) -> usize {
    let length = length(value);
    assert!(length <= most && (value.is_null() || length > 0), "{what} has {length} characters, at most {most}");
    length
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn check_slack(message: &Value) {
    within("text", &message["text"], 4_000);
    let blocks = list(&message["blocks"]);
    assert!((1..=50).contains(&blocks.len()));
    for block in blocks {
        let header = block["type"] == "header";
        within("a block", &block["text"]["text"], if header { 150 } else { 3_000 });
        assert!(list(&block["fields"]).len() <= 10 && list(&block["elements"]).len() <= 10);
        for field in list(&block["fields"]) {
            within("a field", &field["text"], 2_000);
        }
        for element in list(&block["elements"]) {
            within("an element", &element["text"], 3_000);
        }
    }
}

fn check_discord(message: &Value) {
    let embeds = list(&message["embeds"]);
    assert_eq!(embeds.len(), 1);
    let embed = &embeds[0];
    let fields = list(&embed["fields"]);
    assert!(fields.len() <= 25);
    assert!(length(&embed["footer"]["text"]) > 0, "the footer says what it is");
    let together = within("title", &embed["title"], 256)
        + within("description", &embed["description"], 4_096)
        + within("footer", &embed["footer"]["text"], 2_048)
        + fields
            .iter()
            .map(|field| within("name", &field["name"], 256) + within("value", &field["value"], 1_024))
            .sum::<usize>();
    assert!(together <= 6_000, "{together} characters together");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_message_is_json_and_inside_the_limits(config in config(), data in data(), event_type in "[a-z]{1,8}(\\.[a-z]{1,8}){0,3}", max_bytes in 1_000..=28_000_usize) {
        let event = Event { id: "evt_1".into(), tenant: "tenant-123".into(), ..Event::new(event_type, data.to_string()) };
        check_slack(&serde_json::from_str(&message::<Slack>(&config, &event)).expect("Slack's is JSON"));
        check_discord(&serde_json::from_str(&message::<Discord>(&config, &event)).expect("Discord's is JSON"));
        let limited = config.replacen('{', &format!("{{\"max_bytes\":{max_bytes},"), 1);
        let card = message::<Teams>(&limited, &event);
        prop_assert!(card.len() <= max_bytes, "{} bytes, at most {max_bytes}", card.len());
        let card: Value = serde_json::from_str(&card).expect("Teams' is JSON");
        let body = list(&card["attachments"][0]["content"]["body"]);
        let last = body.last().and_then(|block| block["text"].as_str()).unwrap_or_default().to_owned();
        prop_assert!(body.len() >= 2 && last.contains(" · "), "the note says what it is: {last}");
    }
}
