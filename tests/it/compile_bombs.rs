//! Components made to hurt whoever compiles them: refused at sight or ended by the child's limits, while everybody's events
//! go on. The bombs are made here; none is stored.

use crate::support::guests::{Guest, transformer};
use crate::support::{Receiver, Server, eventually};
use serde_json::json;
use std::fmt::Write as _;

/// A guest that would be good, but for a core module of these functions.
fn with_functions(functions: &str) -> Guest {
    transformer("bomb").carrying(format!("(core module {functions})"))
}

fn loops_and_locals(loops: usize, locals: usize) -> String {
    let mut code = format!("(func (local {})\n", "i32 ".repeat(locals));
    for n in 0..loops {
        let (from, to) = (n % locals, (n * 7 + 1) % locals);
        let _ = writeln!(
            code,
            "loop (local.set {to} (i32.add (local.get {from}) (local.get {to}))) (br_if 0 (local.get {from})) end"
        );
    }
    code + ")"
}

fn nested(loops: usize, locals: usize) -> String {
    let open = "loop ".repeat(loops);
    let close = "(br_if 0 (local.get 1)) end ".repeat(loops);
    format!("(func (local {})\n{open} (local.set 1 (i32.const 7)) {close})", "i32 ".repeat(locals))
}

/// Below every bound of the scan, and seconds of work for any compiler: a good component with a core module behind it of
/// ten functions, each of 400 loops in which 900 locals mix.
pub fn just_under_the_bounds() -> Vec<u8> {
    const FUNCTIONS: u32 = 10;
    const LOCALS: u32 = 900;
    let mut body = [&[1], &*leb128(LOCALS), &[I32]].concat();
    for n in 0..400_u32 {
        body.extend([LOOP, NO_RESULT]);
        for k in n * 150..(n + 1) * 150 {
            let (one, other, to) = (k % LOCALS, (k * 7 + 3) % LOCALS, (k * 13 + 5) % LOCALS);
            body.extend([&[LOCAL_GET], &*leb128(one), &[LOCAL_GET], &*leb128(other)].concat());
            body.extend([&[I32_ADD, LOCAL_SET], &*leb128(to)].concat());
        }
        body.extend([LOCAL_GET, 0, BR_IF, 0, END]);
    }
    body.push(END);
    let types = section(1, &[1, 0x60, 0, 0]);
    let functions = section(3, &[&*leb128(FUNCTIONS), &[0; FUNCTIONS as usize]].concat());
    let body = [&*leb128(body.len() as u32), &body].concat();
    let code = section(10, &[&*leb128(FUNCTIONS), &body.repeat(FUNCTIONS as usize)].concat());
    let module = [b"\0asm\x01\0\0\0".as_slice(), &types, &functions, &code].concat();
    // A component is sections too; the first kind is a core module.
    [transformer("bomb").bytes(), section(1, &module)].concat()
}

const I32: u8 = 0x7f;
const LOOP: u8 = 0x03;
const NO_RESULT: u8 = 0x40;
const END: u8 = 0x0b;
const BR_IF: u8 = 0x0d;
const LOCAL_GET: u8 = 0x20;
const LOCAL_SET: u8 = 0x21;
const I32_ADD: u8 = 0x6a;

fn section(id: u8, bytes: &[u8]) -> Vec<u8> {
    [&[id], &*leb128(bytes.len() as u32), bytes].concat()
}

/// A number as WebAssembly writes it: seven bits a byte, the lowest first.
fn leb128(mut n: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

/// Writes the bomb's file and waits for what the server says of it, while another tenant's events go on.
async fn refused(server: &Server, name: &str, bomb: &[u8], ours: &mut Receiver) -> String {
    std::fs::write(server.plugin_path(name), bomb).expect("the plugin folder takes files");
    let words = eventually(&format!("shared/{name} to show its last_error"), || async {
        server.publish("calm", json!({"type": "call.ended"})).await;
        let words = server.plugin(name).await?["last_error"].as_str()?.to_owned();
        Some(words)
    })
    .await;
    server.publish("calm", json!({"type": "marker"})).await;
    while ours.expect_delivery().await.json()["type"] != "marker" {}
    words
}

/// Children of the server that compile now.
pub fn children(server: &Server) -> Vec<u32> {
    let parent = format!("PPid:\t{}", server.pid());
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("there is /proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let read = |what: &str| std::fs::read_to_string(entry.path().join(what)).unwrap_or_default();
        if read("status").lines().any(|line| line == parent) && read("cmdline").contains("compile-plugin") {
            pids.push(pid);
        }
    }
    pids
}

fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains("zombie"))
}

#[tokio::test]
async fn what_is_over_a_bound_is_refused_with_the_bound_and_what_to_do() {
    let server = Server::start().await;
    let mut ours = Receiver::start().await;
    server.webhook_with("calm", &ours.url(), json!({"events": ["*"]})).await;
    let modules = transformer("1").carrying("(core module)".repeat(199));
    let wasi = transformer("1").carrying(r#"(import "wasi:cli/environment@0.2.6" (instance))"#.to_owned());
    let large = transformer("1").carrying("(core module (memory 2000))".to_owned());
    for (name, bomb, said) in [
        ("loops", with_functions(&loops_and_locals(20_000, 2_000)), "2000 locals in a function, at most 1000"),
        ("weight", with_functions(&loops_and_locals(20_000, 900)), "18000000 blocks times locals in a function"),
        ("sum", with_functions(&loops_and_locals(395, 1_000).repeat(11)), "over all functions, at most 4000000"),
        ("nested", with_functions(&nested(4_000, 50)), "1025 blocks inside each other, at most 1024"),
        ("many", with_functions(&"(func)".repeat(200_000)), "functions, at most 25000"),
        ("modules", modules, "core modules, at most 48"),
        ("memory", large, "PLUGIN_MAX_MEMORY"),
        ("wasi", wasi, "wasi:cli/environment@0.2.6"),
    ] {
        let words = refused(&server, name, &bomb.bytes(), &mut ours).await;
        assert!(words.contains(said), "{name}: {words}");
        assert!(words.contains(": ") && words.len() < 400, "it says what to do, in a line: {words}");
    }
    assert_eq!(server.log().iter().filter(|line| line.contains("was compiled in")).count(), 0, "none was compiled");
    let good = transformer("1").bytes();
    server.install("good", &good).await;
}

#[tokio::test]
async fn what_the_scan_lets_through_is_ended_by_its_time_while_events_flow() {
    let server = Server::with().env("PLUGIN_COMPILE_TIMEOUT", "1s").start().await;
    let mut ours = Receiver::start().await;
    server.webhook_with("calm", &ours.url(), json!({"events": ["*"]})).await;
    let words = refused(&server, "gentle", &just_under_the_bounds(), &mut ours).await;
    // On a machine with other work, the clock may be first.
    assert!(words.contains("took more than") && words.contains("to compile (PLUGIN_COMPILE_TIMEOUT)"), "{words}");
    eventually("the child to be gone", || async { children(&server).is_empty().then_some(()) }).await;
    server.install("good", &transformer("1").bytes()).await;
}

#[tokio::test]
async fn the_child_has_nothing_of_the_servers_and_its_death_is_no_plugins_fault() {
    let mut server = Server::with().env("ENCRYPTION_KEY", &format!("{}=", "A".repeat(43))).start().await;
    std::fs::write(server.plugin_path("slow"), just_under_the_bounds()).expect("the plugin folder takes files");
    let child = eventually("a child that compiles, confined", || async {
        let pid = *children(&server).first()?;
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
        // The last of them is set when all are.
        limits.lines().any(|line| line.starts_with("Max cpu time") && line.contains("60")).then_some((pid, limits))
    })
    .await;
    let (pid, limits) = child;
    for (limit, value) in
        [("Max data size", "1610612736"), ("Max core file size", "0"), ("Max file size", "0"), ("Max open files", "16")]
    {
        let line = limits.lines().find(|line| line.starts_with(limit)).expect("the kernel tells its limits");
        assert_eq!(line[limit.len()..].split_whitespace().next(), Some(value), "{line}");
    }
    assert_eq!(std::fs::read(format!("/proc/{pid}/environ")).expect("the child runs"), b"", "no environment");
    let files: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the child runs").flatten().collect();
    assert_eq!(files.len(), 3, "nothing but its standard streams: {files:?}");

    kill(pid);
    let words = server.plugin_error("slow").await;
    assert!(words.contains("tried again"), "{words}");
    let second =
        eventually("another child", || async { children(&server).first().copied().filter(|it| *it != pid) }).await;
    server.kill();
    eventually("the child to die with its server", || async { (!is_alive(second)).then_some(()) }).await;
}

pub fn kill(pid: u32) {
    let status = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill is there");
    assert!(status.success(), "the child was there");
}

/// A component of more than four megabytes serves at once with code that was made quickly; the better code takes its
/// place while events flow.
#[tokio::test]
async fn a_large_component_serves_before_its_code_is_optimised() {
    let server = Server::start().await;
    let ballast = format!(r#"(core module (memory 80) (data (i32.const 0) "{}"))"#, "x".repeat(5 << 20));
    let receiver = Receiver::start().await;
    server.install("large", &transformer("1").carrying(ballast).bytes()).await;
    server.webhook_with("acme", &receiver.url(), json!({"chain": [{"plugin": "shared/large"}]})).await;
    let mut sent = 0;
    eventually("the optimised code", || {
        sent += 1;
        async {
            server.publish("acme", json!({"type": "call.ended"})).await;
            server
                .log()
                .iter()
                .any(|line| line.contains("shared/large version 1 runs its optimised code"))
                .then_some(())
        }
    })
    .await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let delivered = receiver.expect("every event", |r| r.len() == sent + 1).await;
    assert!(delivered.iter().all(|delivery| delivery.json()["version"] == "1"));
}
