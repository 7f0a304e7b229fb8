//! Ports that nobody takes between a look and a server's start.

use std::fs::{self, File};
use std::mem;
use std::net::TcpListener;

/// A free port outside the range that the kernel gives to outgoing connections, so that no test's client takes it meanwhile.
/// No other test takes it for as long as this process lives: a server that is killed finds it again.
pub fn free_port() -> u16 {
    let taken = std::env::temp_dir().join("jackfield-test-ports");
    fs::create_dir_all(&taken).expect("the system's temporary folder can be written");
    loop {
        let port = 20_000 + rand::random::<u16>() % 12_000;
        let lock = File::create(taken.join(port.to_string())).expect("a lock file can be made");
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            // The lock ends with the process, which is one test's.
            mem::forget(lock);
            return port;
        }
    }
}
