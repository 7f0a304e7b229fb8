//! Jackfield: a multi-tenant event router. `docs/architecture.md` is the map; `examples/embedded.rs` shows the
//! [`broadcaster::Broadcaster`] used as a library.

pub mod app;
pub mod broadcaster;
pub mod bus;
pub mod cli;
pub mod config;
pub mod event;
pub mod http;
mod https;
pub mod hub;
pub mod keys;
pub mod plugin;
pub mod presence;
pub mod store;
pub mod telemetry;
mod turns;
pub mod vault;
pub mod webhook;
pub mod ws;
