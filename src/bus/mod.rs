//! All Redis: where it is, the connections to it, and what the nodes keep and say there.

mod location;

pub use location::{DEFAULT_PORT, RedisLocation};
