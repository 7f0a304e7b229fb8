//! What every database keeps alike: each case runs the real server, or the store alone, on SQLite, on a real MariaDB and
//! on a real Postgres.
//! The traps are those of the dialects: collations that fold case, accents and trailing spaces, columns and packets that
//! are too short, statements that break a transaction, text that takes no NUL.

mod deliveries;
mod duplicates;
mod events;
mod names;
mod offline;
mod plugins;
mod presence;
mod restarts;
mod revocations;
mod settings;
