//! Chains: as a tenant writes them ([`ChainSpec`]) and as they are run ([`Chain`], each step bound to a version).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{PluginId, PluginName, instances::StepConfig, version::Version};
use crate::event::{EventType, Fields, Invalid, Patterns, TenantId};

const MAX_STEPS: usize = 10;
const MAX_CONFIG_BYTES: usize = 64 * 1024;

/// Versions fixed at commit: [`Step::pin_key`] → number. Two steps may use one plugin with configurations that keep them on
/// different versions.
pub type Pins = BTreeMap<String, u32>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    Fail,
    /// As if the step were absent.
    Pass,
}

#[derive(Debug, Clone)]
pub struct StepSpec {
    pub plugin: PluginName,
    pub events: Patterns,
    pub config: String,
    pub on_error: OnError,
}

/// A chain as written, checked for its form.
#[derive(Debug, Clone, Default)]
pub struct ChainSpec(pub Vec<StepSpec>);

impl ChainSpec {
    /// Parses `[{"plugin","events","config","on_error"}]`. `field` names the place in error messages.
    ///
    /// # Errors
    /// Every fault, by its place.
    pub fn parse(field: &str, json: &str) -> Result<Self, Invalid> {
        let steps: Vec<&RawValue> =
            serde_json::from_str(json).map_err(|_| Invalid::field(field, "must be a list of steps"))?;
        if steps.len() > MAX_STEPS {
            return Err(Invalid::field(field, format!("has {} steps, at most {MAX_STEPS} are taken", steps.len())));
        }
        let mut errors = Vec::new();
        let mut parsed = Vec::with_capacity(steps.len());
        for (n, step) in steps.iter().enumerate() {
            match parse_step(step.get()) {
                Ok(step) => parsed.push(step),
                Err(invalid) => errors.extend(invalid.errors.into_iter().map(|mut error| {
                    error.field = format!("{field}[{n}].{}", error.field);
                    error
                })),
            }
        }
        if errors.is_empty() { Ok(Self(parsed)) } else { Err(Invalid { errors }) }
    }

    /// The text that is stored and shown.
    pub fn to_json(&self) -> String {
        let steps: Vec<StepText> = self
            .0
            .iter()
            .map(|step| StepText {
                plugin: step.plugin.to_string(),
                events: step.events.texts(),
                config: serde_json::from_str(&step.config).ok(),
                on_error: step.on_error,
            })
            .collect();
        serde_json::to_string(&steps).expect("text and raw JSON can be written")
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A step as it is stored: its configuration byte for byte.
#[derive(Serialize)]
struct StepText<'a> {
    plugin: String,
    events: Vec<String>,
    config: Option<&'a RawValue>,
    on_error: OnError,
}

fn parse_step(json: &str) -> Result<StepSpec, Invalid> {
    let mut fields: Fields =
        serde_json::from_str(json).map_err(|_| Invalid::field("plugin", "each step must be an object"))?;
    let plugin = fields.text("plugin", PluginName::parse);
    let plugin = fields.require("plugin", plugin);
    let texts = fields.optional::<Vec<String>>("events", "a list of patterns");
    let events = match texts.map(|texts| Patterns::parse(texts.iter().map(String::as_str))) {
        None => Patterns::all(),
        Some(Ok(patterns)) => patterns,
        Some(Err(message)) => {
            fields.fault("events", message);
            Patterns::all()
        }
    };
    let config = fields.raw("config").map_or("{}", RawValue::get).to_owned();
    if config.len() > MAX_CONFIG_BYTES {
        fields.fault("config", format!("is {} bytes long, at most {MAX_CONFIG_BYTES} are taken", config.len()));
    }
    let on_error = fields.text("on_error", |text| match text {
        "fail" => Ok(OnError::Fail),
        "pass" => Ok(OnError::Pass),
        _ => Err("must be `fail` or `pass`"),
    });
    fields.finish()?;
    // Finished: it is there.
    let plugin = plugin.ok_or_else(|| Invalid::field("plugin", "is required"))?;
    Ok(StepSpec { plugin, events, config, on_error: on_error.unwrap_or(OnError::Fail) })
}

/// A step that runs.
pub struct Step {
    pub plugin: PluginId,
    pub events: Patterns,
    pub config: StepConfig,
    pub on_error: OnError,
    /// The plugin as its tenant calls it.
    pub name: String,
    /// Under which its version is fixed with a delivery.
    pub pin_key: String,
    /// Why the step is not on the plugin's active version, if it is not.
    held_back: Mutex<Option<String>>,
}

impl Step {
    fn new(tenant: &TenantId, spec: &StepSpec) -> Self {
        let (plugin, config) = (spec.plugin.of(tenant), StepConfig::new(&spec.config));
        Self {
            name: plugin.to_string(),
            pin_key: format!("{plugin}#{:016x}", config.id),
            plugin,
            events: spec.events.clone(),
            config,
            on_error: spec.on_error,
            held_back: Mutex::new(None),
        }
    }

    pub(super) fn why_held_back(&self) -> Option<String> {
        self.held_back.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn hold_back(&self, why: Option<String>) {
        *self.held_back.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Whether the step runs for this type, as far as the chain says.
    pub fn takes(&self, event_type: &EventType) -> bool {
        self.events.match_any(event_type)
    }
}

/// The versions that serve the steps of a chain, by place; none where a plugin is not there yet.
pub(super) type Serving = Vec<Option<Arc<Version>>>;

/// A chain that is bound: the registry knows it as long as anybody does.
pub(super) struct Bound {
    pub tenant: TenantId,
    pub steps: Box<[Arc<Step>]>,
    /// One pointer for all steps, so that no event sees half of a swap. The registry moves it; everybody else reads it once
    /// per event.
    serving: ArcSwap<Serving>,
}

impl Bound {
    pub(super) fn new(tenant: &TenantId, spec: &ChainSpec) -> Self {
        let steps: Box<[_]> = spec.0.iter().map(|step| Arc::new(Step::new(tenant, step))).collect();
        let serving = ArcSwap::from_pointee(vec![None; steps.len()]);
        Self { tenant: tenant.clone(), steps, serving }
    }

    pub(super) fn serving(&self) -> Arc<Serving> {
        self.serving.load_full()
    }

    pub(super) fn serve(&self, versions: Serving) {
        self.serving.store(Arc::new(versions));
    }

    /// The places of the steps that use a plugin.
    pub(super) fn places_of(&self, plugin: &PluginId) -> impl Iterator<Item = usize> {
        self.steps.iter().enumerate().filter(move |(_, step)| step.plugin == *plugin).map(|(n, _)| n)
    }
}

/// A chain ready to run. Cheap to clone.
#[derive(Clone, Default)]
pub struct Chain {
    /// None: it has no steps.
    pub(super) bound: Option<Arc<Bound>>,
}

impl Chain {
    pub(super) fn steps(&self) -> &[Arc<Step>] {
        self.bound.as_ref().map_or(&[], |bound| &bound.steps)
    }

    pub fn is_empty(&self) -> bool {
        self.steps().is_empty()
    }

    /// The plugin of the first step, for words about a chain that could not run.
    pub fn first_plugin(&self) -> String {
        self.steps().first().map(|step| step.plugin.to_string()).unwrap_or_default()
    }

    /// Whether a step uses what this tenant calls so.
    pub fn uses(&self, tenant: &TenantId, name: &PluginName) -> bool {
        let plugin = name.of(tenant);
        self.steps().iter().any(|step| step.plugin == plugin)
    }

    /// Whether any step may run for this type.
    pub fn takes(&self, event_type: &EventType) -> bool {
        self.steps().iter().any(|step| step.takes(event_type))
    }

    /// The steps that may run for this type, with what serves them: all of one moment.
    pub(super) fn taking(&self, event_type: &EventType) -> Vec<(Arc<Step>, Option<Arc<Version>>)> {
        let Some(bound) = &self.bound else { return Vec::new() };
        let serving = bound.serving();
        let both = bound.steps.iter().zip(serving.iter());
        both.filter(|(step, _)| step.takes(event_type)).map(|(step, version)| (step.clone(), version.clone())).collect()
    }

    /// The versions that serve now, to be fixed with a delivery; none when there are no steps.
    pub fn pins(&self, event_type: &EventType) -> Option<Arc<str>> {
        let taking = self.taking(event_type).into_iter();
        let pins: Pins = taking.filter_map(|(step, version)| Some((step.pin_key.clone(), version?.number))).collect();
        if pins.is_empty() {
            return None;
        }
        serde_json::to_string(&pins).ok().map(Into::into)
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.steps().iter().map(|step| &step.plugin)).finish()
    }
}
