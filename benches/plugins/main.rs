//! What plugins cost: calls of the stock plugins as components beside the same code native, warm, on one thread; instances;
//! and, of a server in a process of its own, an upload and a start with many plugins.
//!
//! `scripts/bench plugins` after `scripts/setup`, which builds `plugins/dist`. It prints figures and judges none.
//!
//! All variants take turns within each round, so that a busy machine slows them alike; a figure is the median of the
//! rounds, and the least is beside it.

mod instances;
mod server;

use std::{env, error::Error, fs, hint::black_box, path::Path, time::Duration, time::Instant};

use jackfield::{
    event::{Event, EventId, EventType, Origin, TenantId, UserId},
    plugin::{Bench, Limits},
};
use jackfield_plugin::{Destination, Filter, Transform};
use match_filter::Match;
use slack::Slack;

const ROUNDS: usize = 101;
const CALLS_A_ROUND: u32 = 2_000;
const LIMITS: Limits = Limits {
    max_size_bytes: 32 << 20,
    max_memory_bytes: 64 << 20,
    deadline: Duration::from_millis(50),
    max_output_bytes: 1 << 20,
};

/// A configured message with three fields: what a tenant would set up for its support channel.
const SLACK_CONFIG: &str = r##"{"channel":"#support","templates":{"call.incoming":{
    "title":"Call from {caller}","text":"<https://crm.example/{/customer/id}|Open>","fields":["queue","call_id","event.user"]}}}"##;
/// The same message, as a tenant would write it.
const SCRIPT: &str = r##"export function transform(event) {
  const call = event.data;
  const fields = ["queue", "call_id"].map((name) => ({ type: "mrkdwn", text: `*${name}*\n${call[name]}` }));
  return {
    channel: "#support",
    text: `Call from ${call.caller}`,
    blocks: [
      { type: "header", text: { type: "plain_text", text: `Call from ${call.caller}`, emoji: true } },
      { type: "section", text: { type: "mrkdwn", text: `<https://crm.example/${call.customer.id}|Open>` } },
      { type: "section", fields: [...fields, { type: "mrkdwn", text: `*User*\n${event.user}` }] },
      { type: "context", elements: [event.type, event.id, event.tenant].map((text) => ({ type: "mrkdwn", text })) },
    ],
  };
}"##;
const MATCH_CONFIG: &str = r#"{"all":[{"pointer":"/queue","eq":"sales"},{"pointer":"/wait_s","gte":30}]}"#;
/// 300 bytes. The last of them has to be read for each of the conditions above.
const DATA: &str = r#"{"call_id":"c-01JD8YQ7ZC2M4N6P8R0T","caller":"+49 30 1234567","callee":"+49 30 7654321","customer":{"id":4711,"name":"Ada Lovelace","tier":"gold","since":"2019-04-01"},"tags":["new","eu","vip"],"trunk":"pbx-1/sip-7","recorded":true,"language":"de","skills":["billing","sales"],"queue":"sales","wait_s":45}"#;

type Variant<'a> = (&'static str, Box<dyn FnMut() + 'a>);

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo test --benches` asks only that it can be started.
    if env::args().any(|arg| arg == "--test") {
        return Ok(());
    }
    let event = event()?;
    let (theirs, to) = (native(&event), Destination { kind: "sockets".into(), ..Destination::default() });
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/dist");
    let component = |name: &str, config| -> Result<Bench, Box<dyn Error>> {
        let file = dist.join(name);
        let wasm =
            fs::read(&file).map_err(|error| format!("cannot read {} ({error}): run scripts/setup", file.display()))?;
        Ok(Bench::new(&wasm, config, LIMITS)?)
    };

    let native_slack = Slack::from_json(SLACK_CONFIG)?;
    let native_match = Match::from_json(MATCH_CONFIG)?;
    let mut slack = component("slack.wasm", SLACK_CONFIG)?;
    let mut matching = component("match.wasm", MATCH_CONFIG)?;
    // No condition, so it answers at once: what is left is the crossing of the event.
    let mut empty = component("match.wasm", "{}")?;
    let mut js = component("js.wasm", &serde_json::json!({ "script": SCRIPT }).to_string())?;

    let written = native_slack.transform(&theirs, &to).map_err(|failure| failure.message)?;
    assert_eq!(slack.call(&event)?, Some("application/json".len() + written.body_text().map_or(0, str::len)));
    assert_eq!(native_match.matches(&theirs, &to), Ok(true));
    assert_eq!(matching.call(&event)?, Some(0));

    assert!(js.call(&event)?.is_some_and(|bytes| bytes > 500));

    let mut variants: [Variant; 6] = [
        ("slack native", Box::new(|| drop(black_box(native_slack.transform(black_box(&theirs), &to))))),
        ("slack component", Box::new(|| drop(black_box(slack.call(black_box(&event)))))),
        ("match native", Box::new(|| drop(black_box(native_match.matches(black_box(&theirs), &to))))),
        ("match component", Box::new(|| drop(black_box(matching.call(black_box(&event)))))),
        ("js component", Box::new(|| drop(black_box(js.call(black_box(&event)))))),
        ("empty call", Box::new(|| drop(black_box(empty.call(black_box(&event)))))),
    ];
    let mut times = [const { Vec::<f64>::new() }; 6];
    for _ in 0..ROUNDS {
        for ((_, call), times) in variants.iter_mut().zip(&mut times) {
            let start = Instant::now();
            for _ in 0..CALLS_A_ROUND {
                call();
            }
            times.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS_A_ROUND));
        }
    }

    println!("an event with {} bytes of data; {ROUNDS} rounds of {CALLS_A_ROUND} calls", DATA.len());
    println!("{:<16} {:>10} {:>10}", "ns a call", "median", "least");
    for ((name, _), times) in variants.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        println!("{name:<16} {:>10.0} {:>10.0}", times[ROUNDS / 2], times[0]);
    }
    let ratio = |at: usize| times[1][at] / times[0][at];
    println!("{:<16} {:>10.2} {:>10.2}", "slack ratio", ratio(ROUNDS / 2), ratio(0));
    drop(variants);
    instances::measure("slack", &mut slack, &event)?;
    instances::measure("match", &mut matching, &event)?;
    instances::measure("js", &mut js, &event)?;
    server::measure(&dist.join("slack.wasm"))
}

fn event() -> Result<Event, Box<dyn Error>> {
    Ok(Event {
        id: EventId::generate(),
        event_type: EventType::parse("call.incoming")?,
        tenant: TenantId::parse("tenant-123")?,
        timestamp_ms: 1_795_324_449_431,
        user: Some(UserId::parse("user-456")?),
        session: None,
        key: Some("call-77".into()),
        source: Some("pbx-1".into()),
        data: DATA.into(),
        origin: Origin::Published,
    })
}

/// The same event as a plugin sees it.
fn native(event: &Event) -> jackfield_plugin::Event {
    jackfield_plugin::Event {
        id: event.id.to_string(),
        tenant: event.tenant.to_string(),
        user: event.user.as_ref().map(ToString::to_string),
        key: event.key.as_deref().map(str::to_owned),
        source: event.source.as_deref().map(str::to_owned),
        time_ms: event.timestamp_ms.unsigned_abs(),
        ..jackfield_plugin::Event::new(event.event_type.as_str(), DATA)
    }
}
