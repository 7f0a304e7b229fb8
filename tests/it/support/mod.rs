//! What the tests are written with: a real server, its clients, a receiver of deliveries, and guests.

pub mod account;
pub mod chromium;
pub mod client;
pub mod databases;
pub mod dns;
pub mod guests;
pub mod keys;
pub mod load;
pub mod peer;
pub mod pending;
pub mod ports;
mod process;
pub mod program;
pub mod proxy;
pub mod raw;
pub mod receiver;
pub mod redis;
pub mod redis_wire;
pub mod relay;
pub mod server;
pub mod socket;
pub mod store;
pub mod stream;
pub mod tls;
pub mod tokens;
pub mod tools;
pub mod verify;
pub mod wait;
pub mod watcher;
pub mod webhooks;
pub mod wire;

pub use client::{find, items};
pub use databases::Database;
pub use program::Program;
pub use receiver::{Answer, Received, Receiver};
pub use redis::Redis;
pub use server::Server;
pub use socket::Socket;
pub use tokens::Token;
pub use wait::{eventually, within};
pub use wire::Wire;

use std::path::PathBuf;

/// One test for each case and each database, named `…::mariadb::a_case`, of functions that take a [`Database`] and its
/// kind of start: `relaxed`, or `durable` where the database's server is killed. `servers` leaves the file out, which is
/// one node's alone.
macro_rules! on_every_database {
    ($start:ident: $($case:ident,)+) => {
        $crate::support::on_every_database!(@one sqlite Sqlite $start $($case)+);
        $crate::support::on_every_database!(@one mariadb MariaDb $start $($case)+);
        $crate::support::on_every_database!(@one postgres Postgres $start $($case)+);
    };
    (servers $start:ident: $($case:ident,)+) => {
        $crate::support::on_every_database!(@one mariadb MariaDb $start $($case)+);
        $crate::support::on_every_database!(@one postgres Postgres $start $($case)+);
    };
    (@one $module:ident $kind:ident $start:ident $($case:ident)+) => {
        mod $module {
            use $crate::support::databases::{Database, Kind};
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(Database::$start(Kind::$kind).await).await;
                }
            )+
        }
    };
}
pub(crate) use on_every_database;

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
