//! A client that is a program: a child process whose lines can be awaited; killed when dropped.

use super::process::Log;
use super::wait::{PATIENCE, eventually, within};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

pub struct Program {
    child: Child,
    /// Kept open: some programs end with it.
    stdin: ChildStdin,
    name: String,
    out: Log,
    err: Log,
}

impl Program {
    /// Starts it with these variables, and none of the tests' own settings.
    pub fn start(command: &mut Command, env: &[(&str, &str)]) -> Program {
        let kept = ["PATH", "HOME", "TMPDIR"].map(|name| (name, std::env::var_os(name)));
        command
            .env_clear()
            .envs(kept.into_iter().filter_map(|(name, value)| Some((name, value?))))
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own children go with it, see below.
            .process_group(0);
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{name} does not start ({e}): run scripts/setup"));
        let (out, err) = (Log::default(), Log::default());
        out.read(child.stdout.take().expect("stdout is a pipe"));
        err.read(child.stderr.take().expect("stderr is a pipe"));
        let stdin = child.stdin.take().expect("stdin is a pipe");
        Program { child, stdin, name, out, err }
    }

    /// What it has printed so far.
    pub fn lines(&self) -> Vec<String> {
        self.out.all()
    }

    /// What it has said on stderr so far.
    pub fn words(&self) -> Vec<String> {
        self.err.all()
    }

    /// Waits until it has printed a line with `what`; answers the first one.
    pub async fn prints(&self, what: &str) -> String {
        self.nth(&self.out, what, 1).await
    }

    /// Waits until it has printed so `count` times; answers the last of them.
    pub async fn prints_again(&self, what: &str, count: usize) -> String {
        self.nth(&self.out, what, count).await
    }

    /// Waits until it has said a line with `what` on stderr; answers the first one.
    pub async fn says(&self, what: &str) -> String {
        self.nth(&self.err, what, 1).await
    }

    /// Waits until it has said so `count` times; answers the last of them.
    pub async fn says_again(&self, what: &str, count: usize) -> String {
        self.nth(&self.err, what, count).await
    }

    async fn nth(&self, log: &Log, what: &str, count: usize) -> String {
        eventually(&format!("{} to say {what:?} for the {count}. time", self.name), || async {
            log.all().into_iter().filter(|line| line.contains(what)).nth(count - 1)
        })
        .await
    }

    /// How many lines it has printed with `what`.
    pub fn count(&self, what: &str) -> usize {
        self.out.count(what)
    }

    pub fn write_line(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("the program reads its input");
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        let was_there = self.signal("INT");
        assert!(was_there, "{} was not there to be interrupted", self.name);
    }

    /// To it and to the processes that it has started.
    fn signal(&self, name: &str) -> bool {
        let kill = format!("kill -s {name} -- -{} 2>&-", self.child.id());
        Command::new("sh").args(["-c", &kill]).status().is_ok_and(|status| status.success())
    }

    /// Waits until it ends by itself; answers its exit code.
    pub async fn ends(&mut self) -> Option<i32> {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        within(PATIENCE, &format!("{} to end", self.name), async {
            loop {
                ticks.tick().await;
                if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                    return status.code();
                }
            }
        })
        .await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Only while it was not waited for: then its id may be another's.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("KILL");
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let (out, err) = (self.out.all().join("\n"), self.err.all().join("\n"));
            eprintln!("--- {} printed ---\n{out}\n--- and said ---\n{err}\n--- end ---", self.name);
        }
    }
}
