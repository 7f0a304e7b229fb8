//! One binary of black-box tests: each module holds one promise of the contract and speaks to the real server through
//! its public doors; where no door leads to a promise, to the library. `support` is what they are written with; `tidy`
//! looks at the source instead.

mod support;

mod adoption;
mod authentication;
mod catalogue;
mod circuits;
mod cloudevents;
mod crashes;
mod database_file;
mod delivery_records;
mod dialling;
mod disabling;
mod duplicates;
mod exact_bytes;
mod hostile_guests;
mod hostile_receivers;
mod in_doubt;
mod limits;
mod neighbours;
mod nodes;
mod online;
mod ordering;
mod pauses;
mod plain_sql;
mod plugin_files;
mod plugins;
mod presence_announcer;
mod problems;
mod public_sessions;
mod publishing;
mod rate_limits;
mod real_clients;
mod recovery;
mod replays;
mod resuming;
mod retention;
mod retries;
mod roles;
mod rotation;
mod sealing;
mod signatures;
mod socket_ends;
mod sockets;
mod start_up;
mod stock_plugins;
mod stopping;
mod store_contract;
mod swaps;
mod tail;
mod tenants;
mod tidy;
mod traces;
mod webhook_urls;
mod webhooks;
