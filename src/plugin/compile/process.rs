//! The server's side of the child: starts it with nothing of the server's, feeds it, waits with an end, and says in words
//! what became of it.

use std::{
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use super::{
    MAX_ARTIFACT_BYTES,
    artifact::Artifact,
    child::{Order, broken, heard, too_long, too_much_memory},
};
use crate::plugin::PluginError;

/// Wall time is this many times the CPU time: the child stands back for everything that serves events.
const WALL: u32 = 5;
/// Its last line is what counts.
const MAX_WORDS_BYTES: usize = 4 << 10;

/// The hidden command; `src/cli/compile_plugin.rs` is its other end.
const COMMAND: &str = "compile-plugin";

/// Compiles a component in a child of this process.
///
/// # Errors
/// What is wrong with the component, or that the child was lost: that is ours.
pub async fn compile(program: &Path, order: &Order, wasm: &[u8]) -> Result<Artifact, PluginError> {
    let mut command = Command::new(program);
    command.arg0("jackfield").arg(COMMAND).args(["--tier", order.tier.as_str()]);
    for (flag, value) in [
        ("--max-size", order.limits.max_size_bytes.to_string()),
        ("--max-memory", order.limits.max_memory_bytes.to_string()),
        ("--cpu-ms", order.cpu.as_millis().to_string()),
    ] {
        command.args([flag, &value]);
    }
    // No environment: it holds secrets. No folder that could be kept busy. Files of ours close at the start of another
    // program, all of them.
    command.env_clear().current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    // Called on a thread of the runtime, which lives as long as the server: the child dies with the thread that started it.
    let mut child = command.spawn().map_err(|error| PluginError::Compiler(format!("it does not start: {error}")))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A child that refuses early reads no further.
            let _ = stdin.write_all(wasm).await;
        }
    };
    let wall = order.cpu.saturating_mul(WALL);
    let ((), code, words, status) = tokio::time::timeout(wall, async {
        tokio::join!(feed, read(stdout, MAX_ARTIFACT_BYTES), read(stderr, MAX_WORDS_BYTES), child.wait())
    })
    .await
    // Dropped, the child is killed.
    .map_err(|_| too_long(wall, "time"))?;
    let status = status.map_err(|error| PluginError::Compiler(format!("it cannot be waited for: {error}")))?;
    if status.success() && !code.is_empty() {
        return Ok(Artifact::made(code, wasm.len()));
    }
    Err(why(order, status, &String::from_utf8_lossy(&words)))
}

async fn read(from: Option<impl AsyncRead + Unpin>, max_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What is cut does not load; a broken pipe shows in the exit status.
        let _ = from.take(max_bytes as u64).read_to_end(&mut bytes).await;
    }
    bytes
}

fn why(order: &Order, status: ExitStatus, words: &str) -> PluginError {
    if let Some(refusal) = words.lines().last().and_then(heard) {
        return refusal;
    }
    let last = words.lines().last().unwrap_or("it said nothing");
    match status.signal().map(Signal::try_from) {
        Some(Ok(Signal::SIGXCPU)) => too_long(order.cpu.max(Duration::from_secs(1)), "CPU time"),
        Some(Ok(Signal::SIGABRT)) if words.contains("memory allocation of") => too_much_memory(),
        Some(Ok(Signal::SIGABRT | Signal::SIGSEGV | Signal::SIGBUS | Signal::SIGILL)) => {
            broken(&format!("{status}: {last}"))
        }
        // A kill is an operator's, or the system's that is out of memory.
        Some(_) => PluginError::Compiler(format!("it was ended by {status}; it is tried again")),
        None => PluginError::Compiler(format!("it ended with {status}: {last}")),
    }
}
