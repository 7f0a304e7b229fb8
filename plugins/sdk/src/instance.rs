//! The instance behind an exported type: configured once, then asked for every event.
#![expect(missing_docs, reason = "public for the export macro alone")]

use std::cell::RefCell;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::bindings::common::exports::jackfield::plugin::lifecycle::{self, About};
use crate::bindings::filter::exports::jackfield::plugin::filter;
use crate::bindings::transform::exports::jackfield::plugin::transformer;
use crate::host::report_panics;
use crate::{Destination, Event, Failure, Filter, Transform, Verdict, parse_config};

/// What the export macro says about a plugin's type, whichever kind it is.
pub trait Hosted: Sized + 'static {
    type Config: DeserializeOwned;
    const NAME: &'static str;
    const VERSION: &'static str;
    const EVENTS: &'static [&'static str];
    const CONFIG_SCHEMA: Option<&'static str>;

    fn make(config: Self::Config) -> Result<Self, String>;
    fn with_slot<R>(run: impl FnOnce(&Slot<Self>) -> R) -> R;
}

/// Where the one instance lives. Only one call runs in a component at a time, so borrows never overlap.
pub struct Slot<P>(RefCell<Option<P>>);

impl<P: Hosted> Slot<P> {
    pub const fn empty() -> Self {
        Self(RefCell::new(None))
    }

    fn configure(&self, config: &str) -> Result<(), String> {
        report_panics();
        let plugin = P::make(parse_config(config)?)?;
        *self.0.borrow_mut() = Some(plugin);
        Ok(())
    }

    fn ask<R>(&self, question: impl FnOnce(&P) -> Result<R, Failure>) -> Result<R, Failure> {
        if let Some(plugin) = self.0.borrow().as_ref() {
            return question(plugin);
        }
        self.configure("{}").map_err(Failure::config)?;
        self.ask(question)
    }
}

/// The component that is exported for `P`.
pub struct Component<P>(PhantomData<P>);

impl<P: Hosted> lifecycle::Guest for Component<P> {
    fn describe() -> About {
        report_panics();
        About {
            name: P::NAME.to_owned(),
            version: P::VERSION.to_owned(),
            events: P::EVENTS.iter().map(|&pattern| pattern.to_owned()).collect(),
            config_schema: P::CONFIG_SCHEMA.map(str::to_owned),
        }
    }

    fn configure(config: String) -> Result<(), String> {
        P::with_slot(|slot| slot.configure(&config))
    }
}

impl<P: Hosted + Transform> transformer::Guest for Component<P> {
    fn transform(to: Destination, event: Event) -> Result<Verdict, Failure> {
        P::with_slot(|slot| slot.ask(|plugin| plugin.transform(&event, &to)))
    }
}

impl<P: Hosted + Filter> filter::Guest for Component<P> {
    fn matches(to: Destination, event: Event) -> Result<bool, Failure> {
        P::with_slot(|slot| slot.ask(|plugin| plugin.matches(&event, &to)))
    }
}
