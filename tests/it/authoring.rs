//! The author's command line, from an empty folder to a delivery: `jackfield plugin new`, `build`, `check`, `run`, `push`.

use crate::support::guests::{component_of_another_world, not_a_component, transformer};
use crate::support::{Program, Receiver, Server, Token, tools};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder where somebody works, with the tools of `scripts/setup`.
struct Desk {
    folder: PathBuf,
    /// Removes the folder.
    _temporary: Option<tempfile::TempDir>,
}

/// What a command came to.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Desk {
    fn empty() -> Desk {
        let temporary = tempfile::tempdir().expect("a folder can be made");
        Desk { folder: temporary.path().to_owned(), _temporary: Some(temporary) }
    }

    /// Emptied, and at the same place each time: what cargo has built there before it finds again.
    fn kept(name: &str) -> Desk {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("authoring").join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).expect("the folder of the run before can be removed");
        }
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        Desk { folder, _temporary: None }
    }

    fn put(&self, file: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.join(file);
        std::fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("a folder can be made");
        std::fs::write(&path, bytes).expect("a file can be written");
        path
    }

    /// `jackfield plugin …` in this folder.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jackfield"));
        command.arg("plugin").args(args).current_dir(&self.folder);
        command
    }

    fn plugin(&self, args: &[&str]) -> Ended {
        self.plugin_with(args, &[])
    }

    fn plugin_with(&self, args: &[&str], env: &[(&str, &str)]) -> Ended {
        let kept = ["PATH", "HOME", "JACKFIELD_CACHE", "XDG_CACHE_HOME"];
        let cache = tools::cache();
        let output = self
            .command(args)
            .env_clear()
            .envs(kept.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .env("ZIG_GLOBAL_CACHE_DIR", cache.join("zig"))
            .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("authoring-target"))
            // The crates are there since the stock plugins were built: no registry is asked for newer ones.
            .env("CARGO_NET_OFFLINE", "true")
            .envs(env.iter().copied())
            .output()
            .expect("the binary starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Ended {
    fn good(self, words: &str) -> Ended {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        assert!(self.out.contains(words), "{words:?} is missing: {}", self.out);
        self
    }

    fn refused(self, words: &[&str]) -> Ended {
        assert_eq!(self.code, Some(1), "{}\n{}", self.out, self.err);
        for word in words {
            assert!(self.err.contains(word), "{word:?} is missing: {}", self.err);
        }
        self
    }
}

/// Exactly the commands that docs/plugins.md shows.
async fn from_an_empty_folder_to_a_delivery(language: &str) {
    let desk = Desk::kept(language);
    desk.plugin(&["new", "announce", "--lang", language]).good("made ./announce");
    let project = Desk { folder: desk.folder.join("announce"), _temporary: None };
    project.plugin(&["build"]).good("built announce.wasm (");
    if language != "python" {
        // To compile Python takes long, and `run` does all that `check` does.
        project.plugin(&["check", "announce.wasm"]).good("announce.wasm is good: transform-plugin");
    }
    project.plugin(&["run", "announce.wasm", "--golden", "tests"]).good("6 golden cases passed");

    let server = Server::start().await;
    let token = Token::of("acme").role("admin").sign();
    let push = ["push", "announce.wasm", "--url", &server.url("")];
    project.plugin_with(&push, &[("JACKFIELD_TOKEN", &token)]).good("announce version 1 serves now");
    let mut receiver = Receiver::start().await;
    let chain = json!([{"plugin": "announce", "config": {"prefix": "Call from "}}]);
    server.webhook_with("acme", &receiver.url(), json!({"chain": chain})).await;
    server.publish("acme", json!({"type": "call.incoming", "data": {"caller": "+49 30 1234"}})).await;
    let delivery = receiver.expect_delivery().await;
    assert_eq!(delivery.json(), json!({"text": "Call from +49 30 1234"}));
}

#[tokio::test]
async fn a_first_plugin_in_rust() {
    from_an_empty_folder_to_a_delivery("rust").await;
}

#[tokio::test]
async fn a_first_plugin_in_javascript() {
    from_an_empty_folder_to_a_delivery("js").await;
}

#[tokio::test]
async fn a_first_plugin_in_python() {
    from_an_empty_folder_to_a_delivery("python").await;
}

#[tokio::test]
async fn a_first_plugin_in_c() {
    from_an_empty_folder_to_a_delivery("c").await;
}

#[test]
fn nothing_is_overwritten_and_names_are_those_of_the_server() {
    let desk = Desk::empty();
    desk.plugin(&["new", "announce", "--lang", "js"]).good("npm install");
    let before = desk.put("announce/plugin.js", "mine");
    desk.plugin(&["new", "announce", "--lang", "c"]).refused(&["nothing is overwritten"]);
    assert_eq!(std::fs::read_to_string(before).expect("it is still there"), "mine");
    for name in ["Announce", "a/b", "../x", "run", "shared", ""] {
        desk.plugin(&["new", name, "--lang", "js"]).refused(&["cannot name a plugin"]);
    }
}

#[test]
fn a_missing_tool_is_named_with_the_command_that_installs_it() {
    let desk = Desk::empty();
    let nothing = desk.folder.join("nothing").display().to_string();
    let bare = [("PATH", nothing.as_str()), ("JACKFIELD_CACHE", &nothing)];
    for (language, tool, command) in [
        ("js", "componentize-qjs", "`npm install`"),
        ("python", "componentize-py", ".venv/bin/pip install -r requirements.txt"),
        ("c", "zig", ".venv/bin/pip install -r requirements.txt"),
        ("rust", "cargo", "install Rust"),
    ] {
        desk.plugin(&["new", language, "--lang", language]).good("made");
        desk.plugin_with(&["build", language], &bare).refused(&[tool, command]);
    }
    desk.plugin(&["build", "."]).refused(&["no Cargo.toml and no plugin.json", "jackfield plugin new"]);
}

#[test]
fn a_component_that_no_server_takes_is_refused_with_what_to_do() {
    let wat = |text: &str| wat::parse_str(text).expect("the component is valid text");
    let desk = Desk::empty();
    let good = transformer("1").bytes();
    for (component, words) in [
        (not_a_component(), "it is a core module, not a component: run `jackfield plugin build`"),
        (component_of_another_world(), "neither transformer nor filter"),
        (b"console.log()".to_vec(), "it is no WebAssembly"),
        (wat(r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#), "wasi:cli/environment@0.2.0"),
        (wat(r#"(component (import "wasi:io/poll@0.2.0" (instance)))"#), "--stub-wasi"),
        (wat(r#"(component (import "acme:mail/send" (instance)))"#), "acme:mail/send, which nobody provides"),
        (wat(r#"(component (import "jackfield:plugin/log@2.0.0" (instance)))"#), "knows jackfield:plugin@1.0.0"),
        (good[..good.len() - 9].to_vec(), "cannot be read"),
    ] {
        let file = desk.put("it.wasm", component).display().to_string();
        desk.plugin(&["check", &file]).refused(&["is refused", words]);
        desk.plugin(&["run", &file, "--golden", "."]).refused(&["is refused", words]);
    }
    let file = desk.put("it.wasm", &good).display().to_string();
    desk.plugin(&["check", &file]).good("is good: transform-plugin of jackfield:plugin@1.0.0");
    desk.plugin(&["check", &file, "--plugin-max-size", "1KiB"]).refused(&["PLUGIN_MAX_SIZE (1024)"]);
    desk.plugin(&["check", &file, "--plugin-max-memory", "a lot"]).refused(&["PLUGIN_MAX_MEMORY"]);
    let shown = desk.plugin(&["check", &file, "--json"]).good("").out;
    let shown: Value = serde_json::from_str(&shown).expect("it is JSON");
    assert_eq!((&shown["worlds"], &shown["size_bytes"]), (&json!(["transform-plugin"]), &json!(good.len())));
}

#[test]
fn an_event_is_answered_here_as_the_server_would() {
    let desk = Desk::empty();
    desk.put("event.json", r#"{"type": "call.incoming", "id": "evt_1", "data": {"n": 1.50}}"#);
    desk.put("config.json", r#"{"a":  1}"#);
    let run = |component: Vec<u8>, more: &[&str]| {
        desk.put("it.wasm", component);
        desk.plugin(&[&["run", "it.wasm", "--event", "event.json"], more].concat())
    };
    let answer = r#"{"version":"1","config":{"a":  1},"event":"evt_1","data":{"n": 1.50}}"#;
    let shown = run(transformer("1").bytes(), &["--config", "config.json"]).good(answer).out;
    for words in ["emit: application/json", "µs at first, then", "of 64.0 MiB", "of 1.0 MiB"] {
        assert!(shown.contains(words), "{words:?} is missing: {shown}");
    }
    run(transformer("1").dropping().bytes(), &[]).good("drop: not wanted");
    let other = transformer("1").understanding(&["user.*"]).bytes();
    assert!(run(other, &[]).good("emit").err.contains("a chain skips this plugin for call.incoming"));
    for (guest, words) in [
        (transformer("1").failing(), "fail: bad-input: this event is not understood"),
        (transformer("1").looping(), "fail: deadline: ran longer than 50 ms"),
        (transformer("1").hogging(), "fail: memory: wanted more than 67108864 bytes"),
        (transformer("1").flooding(), "fail: output-too-large"),
        (transformer("1").trapping(), "fail: trap"),
    ] {
        let ended = run(guest.bytes(), &[]).refused(&["the plugin failed this event"]);
        assert!(ended.out.contains(words), "{words:?} is missing: {}", ended.out);
    }
    let large = desk.put("large.json", json!({"type": "x", "data": "x".repeat(300_000)}).to_string());
    let to_sockets = ["run", "it.wasm", "--to", "sockets", "--event", &large.display().to_string()];
    run(transformer("1").bytes(), &["--to", "sockets"]).good("emit");
    assert!(desk.plugin(&to_sockets).refused(&["failed this event"]).out.contains("too many for a frame"));
    run(transformer("1").refusing_configuration("there is no channel").bytes(), &[])
        .refused(&["the plugin refuses the configuration: there is no channel"]);
    let line = run(transformer("1").bytes(), &["--json"]).good("").out;
    let line: Value = serde_json::from_str(&line).expect("it is one line of JSON");
    assert_eq!(line["verdict"], "emit");
    assert!(line["microseconds"].is_u64() && line["memory_bytes"].is_u64(), "{line}");
}

#[test]
fn a_golden_case_that_differs_shows_where() {
    let desk = Desk::empty();
    desk.put("it.wasm", transformer("1").bytes());
    let expect = |version: &str| json!({"version": version, "config": {}, "event": "evt_golden", "data": [1, 2]});
    let case = |name: &str, version: &str| {
        let event = json!({"type": "call.incoming", "data": [1, 2]});
        let text = r#"{"version":"1","config":{},"event":"evt_golden","data":[1,2]}"#;
        let expect = json!({"verdict": "emit", "body": expect(version), "text": text, "headers": {}});
        json!({"name": name, "event": event, "expect": expect}).to_string()
    };
    desk.put("cases/1.json", case("this one is answered as written", "1"));
    desk.plugin(&["run", "it.wasm", "--golden", "cases"]).good("1 golden cases passed");
    desk.put("cases/2.json", case("this one is not", "2"));
    let ended = desk.plugin(&["run", "it.wasm", "--golden", "cases"]).refused(&["1 of 2 golden cases differ"]);
    assert!(ended.out.contains("ok    this one is answered as written"), "{}", ended.out);
    assert!(ended.out.contains("FAIL  this one is not (cases/2.json)"), "{}", ended.out);
    assert!(ended.out.contains(r#"body.version: expected "2", got "1""#), "{}", ended.out);
    desk.put("cases/3.json", r#"{"name": "mistyped", "event": {"typ": "x"}, "expect": {}}"#);
    desk.plugin(&["run", "it.wasm", "--golden", "cases"]).refused(&["cases/3.json is no golden case", "typ"]);
}

#[tokio::test]
async fn a_watched_plugin_is_run_again_when_its_file_changes() {
    let desk = Desk::empty();
    desk.put("it.wasm", transformer("1").bytes());
    desk.put("event.json", r#"{"type": "call.incoming"}"#);
    let mut command = desk.command(&["run", "it.wasm", "--event", "event.json", "--watch"]);
    let watch = Program::start(&mut command, &[]);
    watch.prints(r#"{"version":"1""#).await;
    watch.says("waiting for a change").await;
    desk.put("it.wasm", transformer("2").bytes());
    watch.prints(r#"{"version":"2""#).await;
    desk.put("it.wasm", "half of it");
    watch.says("it is no WebAssembly").await;
    desk.put("it.wasm", transformer("3").bytes());
    watch.prints(r#"{"version":"3""#).await;
}

#[tokio::test]
async fn a_pushed_version_waits_where_it_is_told_to_and_refusals_come_in_the_servers_words() {
    let server = Server::start().await;
    let desk = Desk::empty();
    let url = server.url("");
    let push = |component: Vec<u8>, token: &str, more: &[&str]| {
        desk.put("it.wasm", component);
        desk.plugin_with(&[&["push", "it.wasm", "--url", &url], more].concat(), &[("JACKFIELD_TOKEN", token)])
    };
    let admin = Token::of("acme").role("admin").sign();
    let shown = push(transformer("1").bytes(), &admin, &["--name", "guest"]).good("guest version 1 serves now").out;
    let listed = server.admin("acme").get("/api/v1/plugins/guest").await.expect(200).body;
    let sha256 = shown.lines().find_map(|line| line.trim().strip_prefix("sha256")).expect("it is shown").trim();
    assert!(listed.to_string().contains(sha256), "{sha256} is not in {listed}");
    let waiting = ["--name", "guest", "--no-activate"];
    push(transformer("2").bytes(), &admin, &waiting).good("guest version 2 is kept and does not serve yet");

    push(transformer("1").bytes(), "", &[]).refused(&["no token", "JACKFIELD_TOKEN"]);
    push(transformer("1").bytes(), "rubbish", &[]).refused(&["the server says 401"]);
    let agent = Token::of("acme").role("agent").sign();
    push(transformer("1").bytes(), &agent, &[]).refused(&["the server says 403"]);
    push(transformer("1").understanding(&["***"]).bytes(), &admin, &[]).refused(&["the server says 422: ", "***"]);
    push(not_a_component(), &admin, &[]).refused(&["it is a core module"]);
    let nobody = ["push", "it.wasm", "--url", "http://127.0.0.1:9", "--token", "x"];
    desk.put("it.wasm", transformer("1").bytes());
    desk.plugin(&nobody).refused(&["failed to reach http://127.0.0.1:9/"]);
}
