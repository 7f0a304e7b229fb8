//! Interface 1.0.0: typed calls into an instance, and what an instance may call.

use std::time::{Duration, Instant};

use wasmtime::{
    Engine, ResourceLimiter, Store, Trap, UpdateDeadline,
    component::{Component, HasSelf, Linker},
};

use crate::plugin::{
    Failure, Limits, PluginError,
    call::{About, CallLog, Destination, Emitted, Input, LogLine, Verdict},
    engine::{MAX_TABLE_ELEMENTS, thread_cpu, ticks},
};

mod transform_world {
    wasmtime::component::bindgen!({
        path: "wit/plugin-1.0.0",
        world: "transform-plugin",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

mod filter_world {
    wasmtime::component::bindgen!({
        path: "wit/plugin-1.0.0",
        world: "filter-plugin",
        ownership: Borrowing { duplicate_if_necessary: true },
        with: {
            "jackfield:plugin/types": super::transform_world::jackfield::plugin::types,
            "jackfield:plugin/log": super::transform_world::jackfield::plugin::log,
            "jackfield:plugin/secrets": super::transform_world::jackfield::plugin::secrets,
            "jackfield:plugin/clock": super::transform_world::jackfield::plugin::clock,
        },
    });
}

use transform_world::jackfield::plugin::{clock, log, secrets, types};

/// Wall time may be this many times the CPU time of a deadline, so that a guest that waits for a core is not killed, and
/// one that is never scheduled does not stay for ever.
const WALL_CAP: u32 = 10;
/// Log lines and bytes of one call; the rest is dropped.
const MAX_LOG_LINES: usize = 100;
const MAX_LOG_BYTES: usize = 4 << 10;
/// Words that a plugin may say of a drop, a failure or a configuration.
const MAX_WORDS_BYTES: usize = 1024;
/// Handles a component may hold: this interface has no resources.
const MAX_HANDLES: usize = 64;

/// A component with its imports linked and its exports found: instances are made from it in microseconds.
pub enum Linked {
    Transform(transform_world::TransformPluginPre<Host>),
    Filter(filter_world::FilterPluginPre<Host>),
}

/// One live instance. A trap poisons it: whoever calls throws it away then.
pub struct Instance {
    store: Store<Host>,
    exports: Exports,
    limits: Limits,
}

enum Exports {
    Transform(transform_world::TransformPlugin),
    Filter(filter_world::FilterPlugin),
}

/// What a store knows about its guest.
pub struct Host {
    max_memory_bytes: usize,
    memory_bytes: usize,
    refused_memory: bool,
    time_ms: u64,
    deadline: Duration,
    /// CPU and wall time at the call's first tick, once there was one.
    first_tick: Option<(Duration, Instant)>,
    log: CallLog,
    log_bytes: usize,
}

impl Linked {
    /// # Errors
    /// Says what to do, when the component is for no world of this interface.
    pub fn new(engine: &Engine, component: &Component) -> Result<Self, PluginError> {
        let mut linker = Linker::<Host>::new(engine);
        transform_world::TransformPlugin::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)
            .map_err(|error| PluginError::Engine(format!("{error:#}")))?;
        let pre = linker.instantiate_pre(component).map_err(|error| PluginError::Imports(format!("{error:#}")))?;
        if let Ok(transform) = transform_world::TransformPluginPre::new(pre.clone()) {
            return Ok(Self::Transform(transform));
        }
        filter_world::FilterPluginPre::new(pre)
            .map(Self::Filter)
            .map_err(|error| PluginError::World(format!("{error:#}")))
    }

    pub fn world(&self) -> &'static str {
        match self {
            Self::Transform(_) => "transform-plugin",
            Self::Filter(_) => "filter-plugin",
        }
    }

    /// # Errors
    /// [`PluginError::Busy`] when the pool has no room, a [`PluginError::Guest`] when the guest's start traps.
    pub fn instantiate(&self, engine: &Engine, limits: &Limits) -> Result<Instance, PluginError> {
        let host = Host {
            max_memory_bytes: limits.max_memory_bytes,
            memory_bytes: 0,
            refused_memory: false,
            time_ms: 0,
            deadline: limits.deadline,
            first_tick: None,
            log: CallLog::default(),
            log_bytes: 0,
        };
        let mut store = Store::new(engine, host);
        store.limiter(|host| host);
        store.set_max_component_handles(MAX_HANDLES);
        store.epoch_deadline_callback(|mut store| store.data_mut().look_at_clock());
        store.set_epoch_deadline(1);
        store.set_hostcall_fuel(limits.max_output_bytes.saturating_add(64 << 10));
        let instantiated = match self {
            Self::Transform(pre) => pre.instantiate(&mut store).map(Exports::Transform),
            Self::Filter(pre) => pre.instantiate(&mut store).map(Exports::Filter),
        };
        match instantiated {
            Ok(exports) => Ok(Instance { store, exports, limits: *limits }),
            Err(error) if error.is::<wasmtime::PoolConcurrencyLimitError>() => Err(PluginError::Busy),
            Err(error) => Err(PluginError::Guest(failure_of(&error, store.data()))),
        }
    }
}

impl Instance {
    /// # Errors
    /// The guest's failure; the instance is spent then.
    pub fn describe(&mut self) -> Result<About, Failure> {
        self.begin(0);
        let about = match &self.exports {
            Exports::Transform(it) => it
                .jackfield_plugin_lifecycle()
                .call_describe(&mut self.store)
                .map(|a| (a.name, a.version, a.events, a.config_schema)),
            Exports::Filter(it) => it
                .jackfield_plugin_lifecycle()
                .call_describe(&mut self.store)
                .map(|a| (a.name, a.version, a.events, a.config_schema)),
        };
        let (name, version, events, config_schema) = about.map_err(|error| self.failure(&error))?;
        Ok(About { name, version, events, config_schema })
    }

    /// `Ok(Err(…))` is the guest's own no.
    ///
    /// # Errors
    /// The guest's failure; the instance is spent then.
    pub fn configure(&mut self, config: &str) -> Result<Result<(), String>, Failure> {
        self.begin(0);
        match &self.exports {
            Exports::Transform(it) => it.jackfield_plugin_lifecycle().call_configure(&mut self.store, config),
            Exports::Filter(it) => it.jackfield_plugin_lifecycle().call_configure(&mut self.store, config),
        }
        .map(|answer| answer.map_err(|words| clip(words, MAX_WORDS_BYTES)))
        .map_err(|error| self.failure(&error))
    }

    /// Passes one event through. A filter's false is a drop without a reason.
    ///
    /// # Errors
    /// The failure, and whether the instance can be used again: it can after the guest's own no, not after a trap.
    pub fn call(&mut self, to: &Destination, input: &Input) -> Result<Verdict, (Failure, bool)> {
        self.begin(input.time_ms);
        let attributes = pairs(input.attributes);
        let event = types::Event {
            id: input.id,
            event_type: input.event_type,
            tenant: input.tenant,
            user: input.user,
            session: input.session,
            key: input.key,
            source: input.source,
            time_ms: input.time_ms,
            attributes: &attributes,
            data: input.data,
        };
        let to = types::Destination { kind: to.kind, id: &to.id, name: &to.name, attributes: &[] };
        let called = match &self.exports {
            Exports::Transform(it) => {
                it.jackfield_plugin_transformer().call_transform(&mut self.store, to, event).map(|answer| {
                    answer.map(|verdict| match verdict {
                        types::Verdict::Emit(output) => Verdict::Emit(emitted(output)),
                        types::Verdict::Pass => Verdict::Pass,
                        types::Verdict::Drop(reason) => {
                            Verdict::Drop(reason.map(|reason| clip(reason, MAX_WORDS_BYTES)))
                        }
                    })
                })
            }
            Exports::Filter(it) => it
                .jackfield_plugin_filter()
                .call_matches(&mut self.store, to, event)
                .map(|answer| answer.map(|delivers| if delivers { Verdict::Pass } else { Verdict::Drop(None) })),
        };
        match called {
            Ok(Ok(Verdict::Emit(output))) if output.size() > self.limits.max_output_bytes => Err((
                Failure::new(
                    "output-too-large",
                    format!(
                        "answered {} bytes, at most {} are taken (PLUGIN_MAX_OUTPUT)",
                        output.size(),
                        self.limits.max_output_bytes
                    ),
                ),
                true,
            )),
            Ok(Ok(verdict)) => Ok(verdict),
            Ok(Err(types::Failure { code, message })) => {
                Err((Failure::new(clip(code, 64), clip(message, MAX_WORDS_BYTES)), true))
            }
            Err(error) => Err((self.failure(&error), false)),
        }
    }

    /// What the guest logged in the last call, also in one that failed.
    pub fn take_log(&mut self) -> CallLog {
        std::mem::take(&mut self.store.data_mut().log)
    }

    fn begin(&mut self, time_ms: u64) {
        self.store.set_epoch_deadline(1);
        let host = self.store.data_mut();
        host.time_ms = time_ms;
        host.first_tick = None;
        host.log = CallLog::default();
        host.log_bytes = 0;
        host.refused_memory = false;
    }

    fn failure(&self, error: &wasmtime::Error) -> Failure {
        failure_of(error, self.store.data())
    }
}

fn pairs(attributes: &[(String, String)]) -> Vec<types::AttributeParam<'_>> {
    attributes.iter().map(|(key, value)| types::AttributeParam { key, value }).collect()
}

fn emitted(output: types::Output) -> Emitted {
    let pairs = |attributes: Vec<types::AttributeResult>| attributes.into_iter().map(|a| (a.key, a.value)).collect();
    let (is_text, body) = match output.body {
        types::Body::Text(text) => (true, text.into_bytes()),
        types::Body::Bytes(bytes) => (false, bytes),
    };
    Emitted {
        content_type: output.content_type,
        headers: pairs(output.headers),
        body: body.into(),
        is_text,
        attributes: pairs(output.attributes),
    }
}

fn failure_of(error: &wasmtime::Error, host: &Host) -> Failure {
    let deadline = || format!("ran longer than {} ms of CPU time (PLUGIN_DEADLINE)", host.deadline.as_millis());
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return match trap {
            Trap::Interrupt => Failure::new("deadline", deadline()),
            Trap::StackOverflow => Failure::new("stack-overflow", "recursed too deep"),
            _ if host.refused_memory => Failure::new(
                "memory",
                format!("wanted more than {} bytes of memory (PLUGIN_MAX_MEMORY)", host.max_memory_bytes),
            ),
            other => Failure::new("trap", format!("trapped: {other}")),
        };
    }
    let text = format!("{error:#}");
    if text.contains("fuel allocated for hostcalls has been exhausted") {
        return Failure::new("output-too-large", "handed over more than PLUGIN_MAX_OUTPUT bytes");
    }
    Failure::new("trap", clip(text, MAX_WORDS_BYTES))
}

fn clip(mut text: String, max_bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}

impl Host {
    /// The first tick starts the call's clocks: to read them costs a third of a filter's call, and few calls see a tick.
    /// What ran before it goes uncounted: no more than the deadline could be late by anyway, since only ticks enforce it.
    fn look_at_clock(&mut self) -> wasmtime::Result<UpdateDeadline> {
        let (cpu_then, then) = *self.first_tick.get_or_insert_with(|| (thread_cpu(), Instant::now()));
        let (cpu, wall) = (thread_cpu().saturating_sub(cpu_then), then.elapsed());
        if cpu >= self.deadline || wall >= self.deadline * WALL_CAP {
            return Err(Trap::Interrupt.into());
        }
        Ok(UpdateDeadline::Continue(ticks(self.deadline - cpu)))
    }
}

impl ResourceLimiter for Host {
    /// Memory is counted over all memories of the instance, or two memories would be twice the limit.
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes - current.min(self.memory_bytes) + desired;
        if total > self.max_memory_bytes {
            self.refused_memory = true;
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}

impl types::Host for Host {}

impl log::Host for Host {
    fn write(&mut self, level: String, message: String) {
        self.log_bytes += level.len() + message.len();
        if self.log.lines.len() < MAX_LOG_LINES && self.log_bytes <= MAX_LOG_BYTES {
            self.log.lines.push(LogLine { level, message });
        } else {
            self.log.dropped += 1;
        }
    }
}

impl secrets::Host for Host {
    fn get(&mut self, _name: String) -> Option<String> {
        None
    }
}

impl clock::Host for Host {
    fn now_ms(&mut self) -> u64 {
        self.time_ms
    }
}
