//! The house rules that a compiler does not keep: which room may know which (the arrows of `docs/architecture.md`), which
//! libraries live in which room, and what no file may do. Each failure names the rule and its reason.

use crate::support::repository;
use std::path::{Path, PathBuf};

/// A room and those it may use besides itself. What stands below knows nothing of what stands above.
const ARROWS: [(&str, &[&str]); 17] = [
    ("main", &["cli", "app", "config", "telemetry"]),
    (
        "cli",
        &[
            "app",
            "http",
            "ws",
            "console",
            "broadcaster",
            "webhook",
            "hub",
            "presence",
            "plugin",
            "store",
            "bus",
            "keys",
            "event",
            "config",
            "telemetry",
        ],
    ),
    (
        "app",
        &[
            "http",
            "ws",
            "console",
            "broadcaster",
            "webhook",
            "hub",
            "presence",
            "plugin",
            "store",
            "bus",
            "keys",
            "event",
            "config",
            "telemetry",
        ],
    ),
    ("http", &["broadcaster", "webhook", "hub", "presence", "plugin", "store", "bus", "keys", "event", "config"]),
    // A refused handshake is an HTTP answer, and a token is verified in one place.
    ("ws", &["http", "broadcaster", "webhook", "hub", "presence", "plugin", "store", "bus", "keys", "event", "config"]),
    ("console", &["broadcaster", "webhook", "hub", "presence", "plugin", "store", "bus", "keys", "event", "config"]),
    ("broadcaster", &["webhook", "hub", "presence", "plugin", "store", "bus", "event"]),
    ("webhook", &["store", "plugin", "event"]),
    ("presence", &["store", "bus", "event"]),
    ("plugin", &["store", "event"]),
    ("hub", &["event"]),
    ("store", &["event"]),
    ("bus", &["event"]),
    ("keys", &[]),
    ("event", &[]),
    // Settings are read into the rooms' own types; nobody below the doors reads settings.
    ("config", &["broadcaster", "webhook", "hub", "presence", "plugin", "store", "bus", "keys", "event"]),
    ("telemetry", &["config"]),
];

/// Small rooms that any other may use and that use none.
const LEAVES: [&str; 3] = ["https", "turns", "vault"];

/// A word of code, where alone it may stand, and why.
const HOMES: [(&str, &[&str], &str); 13] = [
    ("sqlx::", &["store/"], "all SQL lives in store/, so that one room knows the tables and the dialects"),
    ("sea_query::", &["store/"], "all SQL lives in store/, so that one room knows the tables and the dialects"),
    ("sea_query_sqlx::", &["store/"], "all SQL lives in store/, so that one room knows the tables and the dialects"),
    ("redis::", &["bus/"], "all Redis lives in bus/, so that one room knows its keys: the rest must work without it"),
    ("wasmtime::", &["plugin/"], "only plugin/ runs guests: limits and isolation are kept in one place"),
    (
        "hyper::",
        &["webhook/", "keys/", "ws/wire/upgrade.rs", "cli/plugin/push.rs"],
        "webhook/ alone dials what tenants name and vets it, keys/ and commands what the operator names; a handshake leaves \
         a bare stream",
    ),
    (
        "hyper_util::",
        &["https.rs", "webhook/", "keys/", "ws/wire/upgrade.rs", "cli/plugin/push.rs"],
        "webhook/ alone dials what tenants name and vets it, keys/ and commands what the operator names; a handshake leaves \
         a bare stream",
    ),
    (
        "hyper_rustls::",
        &["https.rs", "webhook/", "keys/"],
        "webhook/ alone dials what tenants name and vets it, keys/ and commands what the operator names",
    ),
    ("hickory_resolver::", &["webhook/"], "only webhook/ dials out: every address is vetted in one place"),
    ("axum::", &["http/", "ws/", "console/", "app.rs"], "the rooms below the doors must not know HTTP"),
    (
        "std::env",
        &["config.rs"],
        "config.rs is the only reader of the environment, so that --check can see every mistake",
    ),
    (
        "env::var",
        &["config.rs"],
        "config.rs is the only reader of the environment, so that --check can see every mistake",
    ),
    (
        "env = \"",
        &["config/settings.rs"],
        "config.rs is the only reader of the environment, so that --check can see every mistake",
    ),
];

/// A Rust file below `src/`.
struct Source {
    /// Relative to `src/`, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// The first word of the path: `webhook` of `webhook/retry.rs`, `config` of `config.rs`.
    fn room(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// The code that ships: without comments, and without the tests at the bottom.
    fn code(&self) -> String {
        let shipped = self.text.split("#[cfg(test)]").next().unwrap_or_default();
        shipped.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    }
}

fn sources() -> Vec<Source> {
    let src = repository().join("src");
    let read = |path: PathBuf| Source {
        text: std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{} cannot be read: {e}", path.display())),
        path: path.strip_prefix(&src).expect("it lies below src").display().to_string(),
    };
    rust_files(&src).into_iter().map(read).collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{} cannot be read: {e}", folder.display())) {
        let path = entry.expect("a folder can be read").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The rooms that code names, as `crate::room…`, `jackfield::room…` or within `crate::{…}`.
fn rooms_used(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for root in ["crate::", "jackfield::"] {
        for (at, _) in code.match_indices(root) {
            let whole_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
            let rest = &code[at + root.len()..];
            if whole_word {
                match rest.strip_prefix('{') {
                    Some(group) => rooms.extend(first_words(group)),
                    None => rooms.push(word(rest)),
                }
            }
        }
    }
    rooms.retain(|room| room.starts_with(|c: char| c.is_ascii_lowercase()));
    rooms.sort();
    rooms.dedup();
    rooms
}

/// The first word of each item of a `{…}` group whose opening brace is gone.
fn first_words(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut words) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                words.push(word(group[start..at].trim_start()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    words
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn report(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}\n  {}", offences.join("\n  "));
}

#[test]
fn the_corridors_go_one_way() {
    let mut offences = Vec::new();
    for source in sources() {
        let room = source.room();
        if room == "lib" || LEAVES.contains(&room) {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) else {
            offences.push(format!(
                "src/{}: `{room}` has no place in the house; give it one here and in the docs",
                source.path
            ));
            continue;
        };
        let rooms = rooms_used(&source.code());
        let known = |used: &&String| ARROWS.iter().any(|(name, _)| name == used);
        for used in rooms.iter().filter(known).filter(|used| *used != room && !allowed.contains(&used.as_str())) {
            offences.push(format!("src/{}: {room} must not use {used}", source.path));
        }
    }
    report(
        "arrows: main → cli → app → {http, ws, console} → broadcaster → {webhook, hub, presence, plugin, store} → event, and \
         besides webhook → {store, plugin}, presence → store, plugin → store. A room that knows its callers cannot be \
         understood, tested or replaced alone.",
        &offences,
    );
}

#[test]
fn libraries_stay_in_their_rooms() {
    let mut offences = Vec::new();
    for source in sources() {
        let code = source.code();
        for (needle, homes, reason) in HOMES {
            let named = code
                .match_indices(needle)
                .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'));
            if named && !homes.iter().any(|home| source.path.starts_with(home)) {
                offences.push(format!("src/{}: `{needle}` belongs into {}: {reason}", source.path, homes.join(" ")));
            }
        }
    }
    report("homes: a library is known to one room.", &offences);
}

#[test]
fn every_file_says_what_it_is_for() {
    let unnamed = sources().into_iter().filter(|s| !s.text.trim_start().starts_with("//!"));
    let offences: Vec<String> = unnamed.map(|s| format!("src/{}", s.path)).collect();
    report("openings: the first line is `//!`, what the file does and does not; a reader starts there.", &offences);
}

#[test]
fn nothing_that_ships_unwraps() {
    let offences: Vec<String> =
        sources().iter().filter(|s| s.code().contains(".unwrap()")).map(|s| format!("src/{}", s.path)).collect();
    report(
        "unwraps: a fault is a value or an `expect` that says why it cannot be; a panic costs every tenant.",
        &offences,
    );
}

#[test]
fn no_test_waits_for_time_to_pass() {
    // Written in two pieces, or this file would offend.
    let forbidden = concat!("sle", "ep(");
    let files = rust_files(&repository().join("tests/it"));
    let offences: Vec<String> = files
        .iter()
        .filter(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains(forbidden)))
        .map(|path| path.display().to_string())
        .collect();
    report(
        "waits: a test awaits what can be observed, with a timeout that names it; time is slow or flaky.",
        &offences,
    );
}

#[test]
fn every_room_is_found_however_it_is_named() {
    let code =
        "use crate::{event::{Event, Type}, store};\nfn f() -> crate::hub::Hub { jackfield::webhook::x($crate::ws::y) }";
    assert_eq!(rooms_used(code), ["event", "hub", "store", "webhook"]);
    assert_eq!(rooms_used("use crate::Error; use mycrate::http;"), Vec::<String>::new());
}
