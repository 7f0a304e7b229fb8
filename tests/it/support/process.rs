//! What a child process says, read to its end.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::{Arc, Mutex};

/// Lines of stderr (and stdout, where little is said) so far. The lock guards only pushes and copies.
#[derive(Clone, Default)]
pub struct Log {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Log {
    pub fn all(&self) -> Vec<String> {
        self.lines.lock().expect("no reader panics").clone()
    }

    /// Reads both streams to their end: a full pipe would stop the server.
    pub fn follow(&self, child: &mut Child) {
        self.read(child.stderr.take().expect("stderr is a pipe"));
        self.read(child.stdout.take().expect("stdout is a pipe"));
    }

    pub fn read(&self, stream: impl Read + Send + 'static) -> std::thread::JoinHandle<()> {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                log.lines.lock().expect("no reader panics").push(line);
            }
        })
    }

    pub fn count(&self, what: &str) -> usize {
        self.lines.lock().expect("no reader panics").iter().filter(|line| line.contains(what)).count()
    }
}
