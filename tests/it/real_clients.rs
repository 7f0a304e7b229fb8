//! Clients that others wrote, as their users start them: wscat, Python's `websockets`, Chromium, and this repository's
//! examples. Each lives through a `kill -9` of the server: what it did not see it is told of.

use crate::support::chromium::Page;
use crate::support::tools::{example, node_program, python};
use crate::support::{Program, Server, Token, Wire, repository};
use serde_json::{Value, json};
use std::process::Command;
use tempfile::TempDir;

fn token() -> String {
    Token::of("acme").user("kim").role("agent").sign()
}

/// Publishes an event that can be told from all others by its word.
async fn publish(server: &Server, word: &str) {
    server.publish("acme", json!({"type": "call.incoming", "data": {"word": word}})).await;
}

fn url(port: u16) -> String {
    format!("ws://127.0.0.1:{port}/ws")
}

// --- wscat -------------------------------------------------------------------------------------------------------------

fn wscat(url: &str) -> Program {
    let bearer = format!("Authorization: Bearer {}", token());
    Program::start(Command::new(node_program("wscat")).args(["--no-color", "-c", url, "-H", &bearer]), &[])
}

/// The first frame of this type that it has printed.
async fn printed(program: &Program, word: &str) -> Value {
    let line = program.prints(&format!(r#"{{"type":"{word}""#)).await;
    let frame = &line[line.find('{').expect("a frame is an object")..];
    serde_json::from_str(frame).unwrap_or_else(|e| panic!("{line} is no frame: {e}"))
}

#[tokio::test]
async fn wscat_sees_events_talks_and_resumes_by_hand() {
    let mut server = Server::start().await;
    let mut first = wscat(&url(server.port()));
    let welcome = printed(&first, "welcome").await;
    first.write_line(r#"{"type":"ping","ref":"hello"}"#);
    assert_eq!(printed(&first, "pong").await["ref"], "hello");
    publish(&server, "first").await;
    first.prints("first").await;

    let since =
        format!("{}?since={}:{}", url(server.port()), welcome["epoch"].as_str().expect("text"), welcome["offset"]);
    let again = wscat(&since);
    again.prints("first").await;

    server.kill();
    first.ends().await;
    server.restart().await;
    publish(&server, "second").await;
    let after = wscat(&since);
    printed(&after, "welcome").await;
    publish(&server, "third").await;
    // What came before may be had or not; it is not passed over in silence.
    after.prints("third").await;
    let told = after.count(r#"{"type":"gap""#) == 1;
    assert!(told || (after.count("first"), after.count("second")) == (1, 1), "{:?}", after.lines());
}

#[tokio::test]
async fn wscat_reads_why_it_may_not_come_in() {
    let server = Server::start().await;
    let forged = Token::of("acme").sign_with_another_key();
    let args = ["--no-color", "-c", &url(server.port()), "-s", "jackfield.v1", "-s", &format!("bearer.{forged}")];
    let mut wscat = Program::start(Command::new(node_program("wscat")).args(args), &[]);
    wscat.prints("4401").await;
    wscat.ends().await;
}

// --- Python ------------------------------------------------------------------------------------------------------------

/// As the library's documentation has it: `async for` connects again and again. The address stays the same, so what was
/// missed is asked for with a frame.
const PYTHON: &str = r#"
import asyncio, json, sys
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

async def main(url, token):
    position = None
    async for socket in connect(url, subprotocols=["jackfield.v1", "bearer." + token]):
        assert socket.subprotocol == "jackfield.v1"
        try:
            async for text in socket:
                frame = json.loads(text)
                print(text, flush=True)
                if "id" in frame:
                    if "offset" in frame and not frame.get("offline"):
                        position["offset"] = frame["offset"]
                elif frame["type"] == "welcome":
                    if position is None:
                        position = {"epoch": frame["epoch"], "offset": frame["offset"]}
                    else:
                        await socket.send(json.dumps({"type": "resume", **position}))
                elif frame["type"] == "gap":
                    position = {"epoch": frame["epoch"], "offset": frame["from"] - 1}
        except ConnectionClosed:
            pass

asyncio.run(main(*sys.argv[1:]))
"#;

#[tokio::test]
async fn pythons_websockets_resumes_with_a_frame() {
    let mut server = Server::start().await;
    let wire = Wire::to(server.port()).await;
    // The library would wait up to 5 s before it comes back.
    let soon = [("WEBSOCKETS_BACKOFF_INITIAL_DELAY", "0.5"), ("WEBSOCKETS_BACKOFF_MIN_DELAY", "0.5")];
    let mut command = Command::new(python());
    let client = Program::start(command.args(["-c", PYTHON, &url(wire.port()), &token()]), &soon);
    let welcomed = |count| client.prints_again(r#"{"type":"welcome""#, count);
    welcomed(1).await;
    publish(&server, "before").await;
    client.prints("before").await;

    wire.cut();
    publish(&server, "in the cut").await;
    welcomed(2).await;
    publish(&server, "after the cut").await;
    client.prints("in the cut").await;
    client.prints("after the cut").await;

    server.kill();
    server.restart().await;
    publish(&server, "in the restart").await;
    welcomed(3).await;
    publish(&server, "after the restart").await;
    client.prints("after the restart").await;
    for word in ["before", "in the cut", "after the cut"] {
        assert_eq!(client.count(word), 1, "{word}: {:?}", client.lines());
    }
    let told = client.count(r#"{"type":"gap""#) > 0;
    assert!(told || client.count("in the restart") == 1, "neither shown nor told: {:?}", client.lines());
}

// --- the examples ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_example_of_a_subscriber_goes_on_where_its_predecessor_was_killed() {
    let mut server = Server::start().await;
    let folder = TempDir::with_prefix("jackfield-it-").expect("a temporary folder can be made");
    let file = folder.path().join("position.txt").display().to_string();
    let url = url(server.port());
    let run =
        || Program::start(Command::new(example("subscriber")).args([&url, &file]), &[("JACKFIELD_TOKEN", &token())]);
    let first = run();
    first.says("connected").await;
    publish(&server, "first").await;
    first.prints("first").await;
    // Its position is noted behind the event, and a kill between the two would only show the event again.
    publish(&server, "second").await;
    first.prints("second").await;
    drop(first);
    publish(&server, "missed").await;
    let second = run();
    second.prints("missed").await;
    assert_eq!(second.count("first"), 0, "{:?}", second.lines());

    server.kill();
    second.says("back in").await;
    server.restart().await;
    publish(&server, "in the restart").await;
    second.says_again("connected", 2).await;
    publish(&server, "after the restart").await;
    second.prints("after the restart").await;
    let told = second.count("gap ") > 0;
    assert!(told || second.count("in the restart") == 1, "neither shown nor told: {:?}", second.lines());
}

async fn page(url: &str, token: &str) -> Page {
    let page = Page::open(&repository().join("examples/browser/index.html")).await;
    connect(&page, url, token).await;
    page
}

/// Fills in the form and clicks, as a person does; waits until it is connected.
async fn connect(page: &Page, url: &str, token: &str) {
    let script = format!("$('url').value = {}; $('token').value = {}; $('go').click()", json!(url), json!(token));
    page.run(&script).await;
    page.shows("$('state').dataset.state === 'open'").await;
}

/// That the list has so many events with this word.
fn listed(word: &str, count: usize) -> String {
    format!(
        "[...document.querySelectorAll('#log .event')].filter((row) => row.textContent.includes('{word}')).length === {count}"
    )
}

#[tokio::test]
async fn the_page_shows_events_and_people_and_resumes_in_a_browser() {
    let mut server = Server::start().await;
    let wire = Wire::to(server.port()).await;
    let page = page(&url(wire.port()), &token()).await;
    publish(&server, "<b>before</b>").await;
    page.shows(&listed("<b>before</b>", 1)).await;
    let state = json!({"type": "agent.state.changed", "data": {"user_id": "lea", "state": "on_break"}});
    server.publish("acme", state).await;
    page.shows("$('people').textContent.includes('leaon_break')").await;

    let _max = server.socket("acme", "max").await;
    page.shows("document.querySelector('#people [data-user=max][data-online=true]') !== null").await;

    wire.cut();
    publish(&server, "in the cut").await;
    page.shows("$('reconnect-count').textContent === '1'").await;
    page.shows(&listed("in the cut", 1)).await;
    page.shows("$('gap-count').textContent === '0'").await;

    // A reload finds the position where the page kept it.
    publish(&server, "before the reload").await;
    page.shows(&listed("before the reload", 1)).await;
    page.run("client.stop()").await;
    publish(&server, "in the reload").await;
    page.reload().await;
    connect(&page, &url(wire.port()), &token()).await;
    page.shows(&listed("in the reload", 1)).await;
    page.shows(&listed("before the reload", 0)).await;

    server.kill();
    page.shows("$('state').dataset.state === 'waiting'").await;
    server.restart().await;
    publish(&server, "in the restart").await;
    page.shows("$('reconnect-count').textContent === '1'").await;
    publish(&server, "after the restart").await;
    page.shows(&listed("after the restart", 1)).await;
    page.shows(&format!("document.querySelectorAll('#log .gap').length > 0 || {}", listed("in the restart", 1))).await;
}

#[tokio::test]
async fn the_page_asks_for_a_new_token_before_the_old_one_ends() {
    let server = Server::start().await;
    let short = Token::of("acme").user("kim").role("agent").expires_in(30).sign();
    let page = page(&url(server.port()), &short).await;
    // Less than a minute is left: it is asked at once.
    page.shows("!$('ask').hidden").await;
    page.run(&format!("$('new-token').value = {}; $('ask').requestSubmit()", json!(token()))).await;
    page.shows("$('log').textContent.includes('the new token counts')").await;
    page.shows("$('expires').textContent === 'in 10 min' && $('ask').hidden").await;
}

#[tokio::test]
async fn the_page_stops_where_coming_back_is_pointless() {
    let server = Server::start().await;
    let page = Page::open(&repository().join("examples/browser/index.html")).await;
    let forged = Token::of("acme").sign_with_another_key();
    let fill = format!("$('url').value = {}; $('token').value = {}", json!(url(server.port())), json!(forged));
    page.run(&format!("{fill}; $('go').click()")).await;
    page.shows("$('state').dataset.state === 'stopped' && $('state').textContent.includes('not valid')").await;
    page.shows("!$('go').hidden && $('stop').hidden").await;
}
