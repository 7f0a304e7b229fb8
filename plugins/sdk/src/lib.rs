//! Write plugins for Jackfield in Rust.
//!
//! A plugin is a WebAssembly component that sees one event at a time. A [`Transform`] answers with what to send instead
//! (or passes, or drops); a [`Filter`] answers yes or no. Either is one type with one trait, and one line that exports it.
//!
//! # A first plugin
//!
//! `Cargo.toml`:
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]   # cdylib: the component; rlib: your tests
//!
//! [dependencies]
//! jackfield-plugin = "1"
//! serde = { version = "1", features = ["derive"] }
//! ```
//!
//! `src/lib.rs`:
//!
//! ```
//! use jackfield_plugin::{Destination, Event, Failure, Transform, Verdict};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]          // a mistyped field is refused, by name
//! pub struct Config { #[serde(default)] prefix: String }
//!
//! #[derive(Deserialize)]
//! struct Call<'a> { caller: &'a str }    // what it reads of `data`
//!
//! #[derive(Serialize)]
//! struct Message { text: String }        // what it sends instead
//!
//! pub struct Notify(Config);
//!
//! impl Transform for Notify {
//!     type Config = Config;
//!     fn new(config: Config) -> Result<Self, String> { Ok(Self(config)) }
//!     fn transform(&self, event: &Event, _to: &Destination) -> Result<Verdict, Failure> {
//!         let call: Call = event.data()?;
//!         if call.caller == "anonymous" { return Ok(Verdict::drop("anonymous caller")); }
//!         Verdict::emit_json(&Message { text: format!("{}{}", self.0.prefix, call.caller) })
//!     }
//! }
//!
//! jackfield_plugin::export!(transform: Notify);
//!
//! // In a test it is plain Rust:
//! let notify = Notify::from_json(r#"{"prefix":"Call from "}"#).unwrap();
//! let event = Event::new("call.incoming", r#"{"caller":"+49 30 1234"}"#);
//! let verdict = notify.transform(&event, &Destination::default()).unwrap();
//! assert_eq!(verdict.body_text(), Some(r#"{"text":"Call from +49 30 1234"}"#));
//! assert!(Notify::from_json(r#"{"prefx":""}"#).is_err_and(|why| why.contains("prefx")));
//! ```
//!
//! `jackfield plugin build` makes the component.
//!
//! # Messages for people
//!
//! The payloads of the event catalogue are typed, and builders keep messages inside what their receivers take:
//!
//! ```
//! use jackfield_plugin::{Destination, Event, Failure, Transform, Verdict, catalogue::Typed, slack};
//!
//! pub struct Support;
//!
//! impl Transform for Support {
//!     type Config = std::collections::BTreeMap<String, String>;
//!     const EVENTS: &'static [&'static str] = &["call.*"];
//!     fn new(_: Self::Config) -> Result<Self, String> { Ok(Self) }
//!     fn transform(&self, event: &Event, _to: &Destination) -> Result<Verdict, Failure> {
//!         let Typed::CallMissed(call) = event.typed()? else {
//!             return Ok(Verdict::drop("not of interest"));
//!         };
//!         let mut message = slack::Message::new(&format!("Missed call from {}", call.caller));
//!         message.header("Missed call");
//!         message.field("Caller", &call.caller);
//!         if let Some(queue) = &call.queue {
//!             message.field("Queue", queue);
//!         }
//!         Ok(message.into_verdict())
//!     }
//! }
//!
//! let event = Event::new("call.missed", r#"{"call_id":"c-1","caller":"Ada <3"}"#);
//! let verdict = Support.transform(&event, &Destination::default()).unwrap();
//! assert!(verdict.body_text().unwrap().contains("*Caller*\\nAda &lt;3"));
//! ```
//!
//! | module | for |
//! |---|---|
//! | [`catalogue`] | the payload of each event type of the catalogue |
//! | [`slack`], [`discord`], [`teams`] | messages; each is a default feature of the same name |
//! | [`template`] | `{caller}` and `{event.type}` in texts of a configuration |
//! | [`pick`], [`edit`] | reading, or changing, a few places of a payload without parsing all of it |
//! | [`text`] | JSON text inside a limit, with the receiver's escapes |
//! | [`time`] | times as text |
//! | `golden` | golden cases, run natively; a feature for tests |
//!
//! # What holds
//!
//! - One instance serves one step's configuration: `new` runs once, and its error refuses the chain with your words.
//!   Where nobody configured, the configuration is `{}`.
//! - An instance sees one event at a time and may see thousands; what it remembers between them is lost when it is replaced.
//! - A panic fails the one event, reaches the tenant's log with its message, and the instance is thrown away.
//! - Outside wasm the host's part is played by stand-ins: [`log`] writes to stderr, [`secrets`] knows none, and [`clock`]
//!   shows what a test set.
//!
//! # What is deliberately absent
//!
//! Network, files, randomness and a wall clock: a plugin's answer is a function of its event and its configuration, so that
//! a retry or a replay gives the same bytes.

// The generated macros name this crate from the outside, and are also expanded in it.
extern crate self as jackfield_plugin;

mod bindings;
pub mod catalogue;
mod config;
#[cfg(feature = "discord")]
pub mod discord;
pub mod edit;
mod event;
mod host;
mod instance;
pub mod pick;
#[cfg(any(test, all(target_arch = "wasm32", not(target_feature = "atomics"), feature = "allocator")))]
mod pool;
mod scan;
#[cfg(feature = "slack")]
pub mod slack;
mod str;
#[cfg(feature = "teams")]
pub mod teams;
pub mod template;
pub mod text;
pub mod time;
mod verdict;
mod words;

#[cfg(feature = "golden")]
pub mod golden;

use serde::de::DeserializeOwned;

pub use bindings::common::jackfield::plugin::types::{Attribute, Body, Destination, Event, Failure, Output, Verdict};
pub use config::parse_config;
pub use host::{clock, log, secrets};
pub use str::Str;

/// A plugin that decides what is sent: something else, the event as it is, or nothing.
pub trait Transform: Sized + 'static {
    /// The step's configuration; `serde(deny_unknown_fields)` makes mistyped fields an error that names them.
    type Config: DeserializeOwned;

    /// The plugin's name for people; the crate's name where it is absent.
    const NAME: Option<&'static str> = None;
    /// Patterns of the events it understands, e.g. `call.*`; empty means all.
    const EVENTS: &'static [&'static str] = &[];
    /// JSON Schema of `Config`, for forms and checks.
    const CONFIG_SCHEMA: Option<&'static str> = None;

    /// Makes the instance for one step's configuration.
    ///
    /// # Errors
    /// Whatever makes the configuration unusable, in words that tell the tenant what to change.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// Answers for one event on its way to one destination.
    ///
    /// # Errors
    /// What makes this one event impossible; the step's `on_error` says what follows.
    fn transform(&self, event: &Event, to: &Destination) -> Result<Verdict, Failure>;

    /// Makes the instance from configuration text, as the router does. For tests.
    ///
    /// # Errors
    /// The text does not fit `Config`, or `new` refused it.
    fn from_json(config: &str) -> Result<Self, String> {
        Self::new(parse_config(config)?)
    }
}

/// A plugin that only chooses. It runs before anything is formatted, so it is the cheaper of the two.
pub trait Filter: Sized + 'static {
    /// The step's configuration; `serde(deny_unknown_fields)` makes mistyped fields an error that names them.
    type Config: DeserializeOwned;

    /// The plugin's name for people; the crate's name where it is absent.
    const NAME: Option<&'static str> = None;
    /// Patterns of the events it understands, e.g. `call.*`; empty means all.
    const EVENTS: &'static [&'static str] = &[];
    /// JSON Schema of `Config`, for forms and checks.
    const CONFIG_SCHEMA: Option<&'static str> = None;

    /// Makes the instance for one step's configuration.
    ///
    /// # Errors
    /// Whatever makes the configuration unusable, in words that tell the tenant what to change.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// True delivers the event to this destination.
    ///
    /// # Errors
    /// What makes this one event impossible; the step's `on_error` says what follows.
    fn matches(&self, event: &Event, to: &Destination) -> Result<bool, Failure>;

    /// Makes the instance from configuration text, as the router does. For tests.
    ///
    /// # Errors
    /// The text does not fit `Config`, or `new` refused it.
    fn from_json(config: &str) -> Result<Self, String> {
        Self::new(parse_config(config)?)
    }
}

/// Exports a type as the component: `export!(transform: MyPlugin)` or `export!(filter: MyPlugin)`, once in a crate.
///
/// Off wasm32 it exports nothing, so that several plugins can be linked into one native test or benchmark.
#[macro_export]
macro_rules! export {
    (transform: $plugin:ty) => {
        $crate::__export!($plugin, Transform, transform, export_transform);
    };
    (filter: $plugin:ty) => {
        $crate::__export!($plugin, Filter, filter, export_filter);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($plugin:ty, $kind:ident, $bindings:ident, $exporter:ident) => {
        const _: () = {
            // A generic type cannot own a static, so each exported type brings the place its instance lives in.
            ::std::thread_local! {
                static SLOT: $crate::__private::Slot<$plugin> = const { $crate::__private::Slot::empty() };
            }

            impl $crate::__private::Hosted for $plugin {
                type Config = <$plugin as $crate::$kind>::Config;
                const NAME: &'static str = match <$plugin as $crate::$kind>::NAME {
                    Some(name) => name,
                    None => env!("CARGO_PKG_NAME"),
                };
                const VERSION: &'static str = env!("CARGO_PKG_VERSION");
                const EVENTS: &'static [&'static str] = <$plugin as $crate::$kind>::EVENTS;
                const CONFIG_SCHEMA: Option<&'static str> = <$plugin as $crate::$kind>::CONFIG_SCHEMA;

                fn make(config: Self::Config) -> Result<Self, String> {
                    <$plugin as $crate::$kind>::new(config)
                }

                fn with_slot<R>(run: impl FnOnce(&$crate::__private::Slot<Self>) -> R) -> R {
                    SLOT.with(run)
                }
            }

            #[cfg(target_arch = "wasm32")]
            mod component {
                use super::*;
                type Component = $crate::__private::Component<$plugin>;
        $crate::__private::common::export_common!(Component with_types_in $crate::__private::common);
        $crate::__private::$bindings::$exporter!(Component with_types_in $crate::__private::$bindings);
            }
        };
    };
}

/// What the macros need to reach; no part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::{common, filter, transform};
    pub use crate::instance::{Component, Hosted, Slot};
    pub use wit_bindgen;
}
