//! What the tests are written with: a real server, its clients, a receiver of deliveries, and guests.

pub mod client;
pub mod dns;
pub mod guests;
pub mod peer;
mod process;
pub mod proxy;
pub mod raw;
pub mod receiver;
pub mod server;
pub mod socket;
pub mod tls;
pub mod tokens;
pub mod verify;
pub mod wait;
pub mod webhooks;

pub use client::{find, items};
pub use receiver::{Answer, Received, Receiver};
pub use server::Server;
pub use socket::Socket;
pub use tokens::Token;
pub use wait::{eventually, within};

use std::path::PathBuf;

/// The clone under test.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The component of a stock plugin.
///
/// # Panics
/// When it was not built yet, saying what builds it.
pub fn stock_plugin(name: &str) -> Vec<u8> {
    let path = repository().join("plugins/dist").join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{} is not there ({e}): run scripts/setup", path.display()))
}
