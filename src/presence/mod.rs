//! Presence and what waits for users who are away.
//!
//! Entities: a user of a tenant is *online* while any node holds a connection of theirs, as an [`OnlineView`] tells. What the
//! tenant was told last is a *generation* in the database. A user's *offline list* holds what they missed.
//!
//! Guarantees: the events `agent.presence.online` and `agent.presence.offline` of one user alternate, over crashes, restarts
//! and several nodes at once, and end in what is true: an event and its generation are one transaction, the event's id is
//! made of the generation, and what a crash left untold is found by [`Announcer::run`] within two of its rounds. A user
//! who is back within the debounce was never away.
//!
//! Deliberately absent: who is online (that is the hub's or Redis's to say), and when an item of a list counts as delivered.

mod announcer;
mod due;
mod leases;
mod lobby;
mod mail;
mod mailbox;
mod reconcile;
mod revocations;

pub use announcer::{Announcement, Announcer, OnlineView, Pace};
pub use leases::{Count, LeaseTask, Leases};
pub use lobby::{Departure, Presence};
pub use mail::{Letter, Mail, Passed, letter};
pub use mailbox::{Mailbox, MailboxConfig};
pub use revocations::Revocations;
