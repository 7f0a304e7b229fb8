//! A page in a headless Chromium, driven by its DevTools protocol: what a person would click and read.

use super::program::Program;
use super::wait::{PATIENCE, eventually, within};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub struct Page {
    /// Held over one command and its answer, so that answers are not mixed up.
    devtools: Mutex<Devtools>,
    // Dropped in this order: the browser writes into its folder.
    _browser: Program,
    _profile: TempDir,
}

struct Devtools {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: Option<String>,
    last_id: u64,
}

impl Page {
    /// A browser of its own, with nothing kept from before, showing this file.
    pub async fn open(file: &Path) -> Page {
        let profile = TempDir::with_prefix("jackfield-chromium-").expect("a temporary folder can be made");
        let mut command = Command::new("chromium");
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        // No sandbox: root and containers have none, and the page is our own.
        let flags = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                     --disable-background-networking --disable-component-update --remote-debugging-port=0 about:blank";
        command.args(flags.split_whitespace());
        let browser = Program::start(&mut command, &[]);
        let line = browser.says("DevTools listening on ").await;
        let address = line.split_whitespace().last().expect("the line ends with the address");
        let (socket, _) = within(PATIENCE, "the browser to listen", connect_async(address)).await.expect("it listens");
        let mut devtools = Devtools { socket, session: None, last_id: 0 };
        let url = format!("file://{}", file.display());
        let target = devtools.call("Target.createTarget", json!({ "url": url })).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = devtools.call("Target.attachToTarget", attach).await;
        devtools.session = session["sessionId"].as_str().map(str::to_owned);
        let page = Page { devtools: Mutex::new(devtools), _browser: browser, _profile: profile };
        page.shows("document.readyState === 'complete' && location.protocol === 'file:'").await;
        page
    }

    /// Runs a script in the page; answers what its last expression is, as JSON.
    pub async fn run(&self, script: &str) -> Value {
        let params = json!({"expression": script, "returnByValue": true});
        let answer = self.devtools.lock().await.call("Runtime.evaluate", params).await;
        assert!(answer["exceptionDetails"].is_null(), "{script} failed: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until the page says that this is so.
    pub async fn shows(&self, condition: &str) {
        eventually(&format!("the page to show {condition}"), || async {
            (self.run(condition).await == true).then_some(())
        })
        .await;
    }

    /// As the key F5 does: what the page has stored stays.
    pub async fn reload(&self) {
        self.run("window.before = true").await;
        self.devtools.lock().await.call("Page.reload", json!({})).await;
        self.shows("window.before === undefined && document.readyState === 'complete'").await;
    }
}

impl Devtools {
    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut command = json!({"id": self.last_id, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(command.to_string())).await.expect("the browser takes commands");
        within(PATIENCE, &format!("the browser's answer to {method}"), async {
            loop {
                let message = self.socket.next().await.expect("the browser goes on").expect("the browser is there");
                let Message::Text(text) = message else { continue };
                let answer: Value = serde_json::from_str(text.as_str()).expect("the browser speaks JSON");
                if answer["id"] == self.last_id {
                    assert!(answer["error"].is_null(), "{method} failed: {answer}");
                    return answer["result"].clone();
                }
            }
        })
        .await
    }
}
