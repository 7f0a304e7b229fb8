//! RFC 6455 by the Autobahn cases, which the PyPI package `kosoku` runs, against an echo made of the sockets' own transport.

use crate::support::wait::within;
use crate::support::{Server, tools};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

/// Measures speed (9), or compression, which is not offered (12, 13).
const LEFT_OUT: [&str; 3] = ["9.*", "12.*", "13.*"];
/// Cases that may fail, each explained in `docs/sockets.md`: none.
const EXPLAINED: [&str; 0] = [];

#[tokio::test]
async fn every_autobahn_case_is_passed_or_explained() {
    let server = Server::with().env("WS_ECHO", "true").start().await;
    let reports = tempfile::TempDir::with_prefix("jackfield-autobahn-").expect("a temporary folder can be made");
    let suite = tools::python_program("kosoku");
    let mut command = Command::new(suite);
    command.args(["-m", "fuzzingclient", "-p", "2", "-o"]).arg(reports.path());
    command.args(LEFT_OUT.iter().flat_map(|cases| ["-x", cases]));
    command.arg(format!("ws://127.0.0.1:{}/ws/echo", server.port()));
    let running = tokio::task::spawn_blocking(move || command.output());
    let output = within(Duration::from_secs(80), "the Autobahn cases", running).await;
    let output = output.expect("it was waited for").expect("kosoku starts");

    let index = std::fs::read_to_string(reports.path().join("index.json"));
    let index = index.unwrap_or_else(|e| panic!("no report ({e}): {}", String::from_utf8_lossy(&output.stderr)));
    let index: Value = serde_json::from_str(&index).expect("the report is JSON");
    let server = index.as_object().and_then(|servers| servers.values().next()).expect("one server was tested");
    let cases = server.as_object().expect("its cases by name");
    assert!(cases.len() >= 247, "only {} cases ran", cases.len());
    let passed = |case: &Value| {
        ["behavior", "behaviorClose"]
            .iter()
            .all(|of| ["OK", "NON-STRICT", "INFORMATIONAL"].contains(&case[of].as_str().unwrap_or_default()))
    };
    let failed: Vec<_> =
        cases.iter().filter(|(name, case)| !passed(case) && !EXPLAINED.contains(&name.as_str())).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn there_is_no_echo_unless_it_is_asked_for() {
    let server = Server::start().await;
    assert_eq!(server.dial("/ws/echo").refused().await, 404);
}
