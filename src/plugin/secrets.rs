//! Values that a tenant lets named plugins read: sealed in the store, open in memory, and never shown.
//!
//! A plugin gets what is [`Bound`] to it. What it writes where people read it is scrubbed of these values; what it sends is
//! its own affair.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::Plugins;
use crate::{
    event::{Invalid, TenantId, now_ms, rfc3339_ms},
    store::{PluginSecretRow, Store, StoreError},
    vault::Vault,
};

pub const MAX_VALUE_BYTES: usize = 16 << 10;
/// A shorter one could not be told apart from other words where it is to be scrubbed.
const MIN_VALUE_BYTES: usize = 4;
/// A value in JSON: six bytes for one, at most.
const MAX_FORM_BYTES: usize = 6 * MAX_VALUE_BYTES;
const MAX_OF_PLUGIN: usize = 16;
const MAX_OF_TENANT: usize = 100;
const MAX_PLUGINS: usize = 32;
/// What another node changed is in force here after so long.
const REFRESH_EVERY: Duration = Duration::from_secs(3);

/// The secrets that one plugin of one tenant may read, by name.
#[derive(Default)]
pub struct Bound {
    /// Another whenever a value is: an instance that has read the one before is not used again.
    pub id: u64,
    values: BTreeMap<String, Arc<str>>,
}

/// As it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SecretInfo {
    pub name: String,
    pub plugins: Vec<String>,
    pub updated_at: String,
    /// Why it cannot be read, if so.
    pub error: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum PutSecretError {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub struct PluginSecrets {
    store: Store,
    vault: Vault,
    /// Replaced whole at each change, read at each call.
    open: ArcSwap<HashMap<TenantId, OfTenant>>,
    changing: tokio::sync::Mutex<()>,
    next_id: AtomicU64,
    none: Arc<Bound>,
}

#[derive(Default)]
struct OfTenant {
    secrets: BTreeMap<String, Secret>,
    /// By the plugin's full name.
    bound: HashMap<String, Arc<Bound>>,
    all: Bound,
}

struct Secret {
    row: PluginSecretRow,
    plugins: Vec<String>,
    value: Result<Arc<str>, String>,
}

impl PluginSecrets {
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn load(store: Store, vault: Vault) -> Result<Self, StoreError> {
        let secrets = Self {
            store,
            vault,
            open: ArcSwap::default(),
            changing: tokio::sync::Mutex::default(),
            next_id: AtomicU64::new(1),
            none: Arc::default(),
        };
        // Only at the start, as it is done for webhooks.
        secrets.seal_with_current_key().await?;
        secrets.refresh().await?;
        Ok(secrets)
    }

    async fn seal_with_current_key(&self) -> Result<(), StoreError> {
        for row in self.store.plugin_secrets().await? {
            if self.vault.is_current(&row.value) {
                continue;
            }
            // What does not open is told of when it is read.
            if let Ok(plain) = self.vault.open(&row.value, &place(&row.tenant, &row.name)) {
                let sealed = self.vault.seal(&plain, &place(&row.tenant, &row.name));
                self.store.seal_plugin_secret(row, sealed).await?;
            }
        }
        Ok(())
    }

    /// Reads the table again.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: all stay as they are.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        self.refresh_locked().await
    }

    async fn refresh_locked(&self) -> Result<(), StoreError> {
        let before = self.open.load();
        let mut open: HashMap<TenantId, OfTenant> = HashMap::new();
        for row in self.store.plugin_secrets().await? {
            let known =
                before.get(&row.tenant).and_then(|of| of.secrets.get(&row.name)).filter(|known| known.row == row);
            let secret = match known {
                Some(known) => Secret { row, plugins: known.plugins.clone(), value: known.value.clone() },
                None => self.read(row),
            };
            let of_tenant = open.entry(secret.row.tenant.clone()).or_default();
            of_tenant.secrets.insert(secret.row.name.clone(), secret);
        }
        for (tenant, of_tenant) in &mut open {
            self.bind(of_tenant, before.get(tenant));
        }
        self.open.store(Arc::new(open));
        Ok(())
    }

    fn read(&self, row: PluginSecretRow) -> Secret {
        let plugins = serde_json::from_str(&row.plugins).unwrap_or_default();
        let opened = self.vault.open(&row.value, &place(&row.tenant, &row.name));
        let value = opened.map(Arc::from).map_err(|error| error.to_string());
        if let Err(error) = &value {
            let (tenant, name) = (&row.tenant, &row.name);
            tracing::warn!(%tenant, "the plugin secret {name} of {tenant} cannot be read: {error}");
        }
        Secret { row, plugins, value }
    }

    /// What each plugin may read; where that is what it was, it stays the same object.
    fn bind(&self, of: &mut OfTenant, before: Option<&OfTenant>) {
        let mut values: HashMap<&str, BTreeMap<String, Arc<str>>> = HashMap::new();
        for (name, secret) in &of.secrets {
            let Ok(value) = &secret.value else { continue };
            of.all.values.insert(name.clone(), value.clone());
            for plugin in &secret.plugins {
                values.entry(plugin).or_default().insert(name.clone(), value.clone());
            }
        }
        let bound = values.into_iter().map(|(plugin, values)| {
            let known = before.and_then(|before| before.bound.get(plugin)).filter(|known| known.values == values);
            let bound = known
                .cloned()
                .unwrap_or_else(|| Arc::new(Bound { id: self.next_id.fetch_add(1, Ordering::Relaxed), values }));
            (plugin.to_owned(), bound)
        });
        of.bound = bound.collect();
    }

    /// Takes what other nodes change, until the server stops.
    pub async fn keep_fresh(self: Arc<Self>, stopping: CancellationToken) {
        while self.store.is_shared() && stopping.run_until_cancelled(tokio::time::sleep(REFRESH_EVERY)).await.is_some()
        {
            if let Err(error) = self.refresh().await {
                tracing::warn!("plugin secrets stay as they are: {error}");
            }
        }
    }

    /// What a plugin may read on this tenant's events.
    pub fn bound_to(&self, tenant: &TenantId, plugin: &str) -> Arc<Bound> {
        let open = self.open.load();
        open.get(tenant).and_then(|of| of.bound.get(plugin)).unwrap_or(&self.none).clone()
    }

    /// A text without any of the tenant's secrets.
    pub fn scrub(&self, tenant: &TenantId, text: String) -> String {
        match self.open.load().get(tenant) {
            Some(of) => of.all.scrub(text),
            None => text,
        }
    }

    /// The same for every text of an answer.
    pub fn scrub_json(&self, tenant: &TenantId, value: &mut serde_json::Value) {
        use serde_json::Value;
        match value {
            Value::String(text) => *text = self.scrub(tenant, std::mem::take(text)),
            Value::Array(values) => values.iter_mut().for_each(|value| self.scrub_json(tenant, value)),
            Value::Object(fields) => fields.values_mut().for_each(|value| self.scrub_json(tenant, value)),
            _ => {}
        }
    }

    /// By name.
    pub fn list(&self, tenant: &TenantId) -> Vec<SecretInfo> {
        let open = self.open.load();
        open.get(tenant).map(|of| of.secrets.values().map(Secret::info).collect()).unwrap_or_default()
    }

    /// Sets a secret, new or not; in force when this returns.
    ///
    /// # Errors
    /// [`PutSecretError::Invalid`] names the field; nothing changed then.
    pub async fn put(
        &self,
        tenant: &TenantId,
        name: &str,
        value: &str,
        plugins: Vec<String>,
    ) -> Result<Option<SecretInfo>, PutSecretError> {
        check(name, value, &plugins)?;
        let _changing = self.changing.lock().await;
        // Counted as it stands there now.
        self.refresh_locked().await?;
        self.check_room(tenant, name, &plugins)?;
        let row = PluginSecretRow {
            tenant: tenant.clone(),
            name: name.to_owned(),
            value: self.vault.seal(value, &place(tenant, name)),
            plugins: serde_json::json!(plugins).to_string(),
            updated_ms: now_ms(),
        };
        self.store.put_plugin_secret(row).await?;
        self.refresh_locked().await?;
        Ok(self.open.load().get(tenant).and_then(|of| of.secrets.get(name)).map(Secret::info))
    }

    fn check_room(&self, tenant: &TenantId, name: &str, plugins: &[String]) -> Result<(), Invalid> {
        let open = self.open.load();
        let Some(of_tenant) = open.get(tenant) else { return Ok(()) };
        let others: Vec<&Secret> = of_tenant.secrets.values().filter(|secret| secret.row.name != name).collect();
        if others.len() >= MAX_OF_TENANT {
            return Err(Invalid::field(
                "name",
                format!("would be one of more than {MAX_OF_TENANT} secrets: delete one"),
            ));
        }
        for plugin in plugins {
            if others.iter().filter(|secret| secret.plugins.contains(plugin)).count() >= MAX_OF_PLUGIN {
                let message = format!("{plugin} has {MAX_OF_PLUGIN} secrets already, which is the most");
                return Err(Invalid::field("plugins", message));
            }
        }
        Ok(())
    }

    /// False when there is none of this name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete(&self, tenant: &TenantId, name: &str) -> Result<bool, StoreError> {
        let _changing = self.changing.lock().await;
        let deleted = self.store.delete_plugin_secret(tenant, name.to_owned()).await?;
        self.refresh_locked().await?;
        Ok(deleted)
    }
}

impl Plugins {
    /// A text without any of the tenant's secrets.
    pub fn scrub(&self, tenant: &TenantId, text: String) -> String {
        self.secrets.scrub(tenant, text)
    }
}

impl Secret {
    fn info(&self) -> SecretInfo {
        SecretInfo {
            name: self.row.name.clone(),
            plugins: self.plugins.clone(),
            updated_at: rfc3339_ms(self.row.updated_ms),
            error: self.value.as_ref().err().cloned(),
        }
    }
}

impl Bound {
    /// For a rehearsal: no store knows them.
    pub fn of(values: BTreeMap<String, Arc<str>>) -> Self {
        Self { id: 0, values }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| &**value)
    }

    /// The text with each value, as it is and as it stands in JSON, replaced by its name. What a plugin makes of a value
    /// (its base64, parts of it) is not known again.
    pub fn scrub(&self, mut text: String) -> String {
        let mut values: Vec<_> = self.values.iter().collect();
        // One that is part of another is not to leave the rest of it.
        values.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        for (name, value) in values {
            let quoted = serde_json::json!(**value).to_string();
            for form in [&**value, &quoted[1..quoted.len() - 1]] {
                if text.contains(form) {
                    text = text.replace(form, &format!("[secret {name}]"));
                }
            }
        }
        text
    }

    /// Scrubbed and then cut to so many bytes; a very long text is not looked at further than that takes.
    pub fn scrub_and_cut(&self, mut text: String, max_bytes: usize) -> String {
        if !self.values.is_empty() {
            let looked_at = max_bytes + MAX_FORM_BYTES;
            let is_longer = text.len() > looked_at;
            text.truncate(text.floor_char_boundary(looked_at));
            text = self.scrub(text);
            if is_longer {
                // The first part of a value may end it.
                text.truncate(text.floor_char_boundary(text.len().saturating_sub(MAX_FORM_BYTES)));
            }
        }
        text.truncate(text.floor_char_boundary(max_bytes));
        text
    }
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.values.keys()).finish()
    }
}

fn place(tenant: &TenantId, name: &str) -> String {
    format!("plugin-secret:{tenant}:{name}")
}

fn check(name: &str, value: &str, plugins: &[String]) -> Result<(), Invalid> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_name) {
        return Err(Invalid::field("name", "must be 1 to 64 of A-Z a-z 0-9 _ - ."));
    }
    if !(MIN_VALUE_BYTES..=MAX_VALUE_BYTES).contains(&value.len()) {
        let message = format!("is {} bytes long: {MIN_VALUE_BYTES} to {MAX_VALUE_BYTES} are taken", value.len());
        return Err(Invalid::field("value", message));
    }
    let distinct: HashSet<&String> = plugins.iter().collect();
    if plugins.is_empty() || plugins.len() > MAX_PLUGINS || distinct.len() < plugins.len() {
        return Err(Invalid::field("plugins", format!("must be 1 to {MAX_PLUGINS} different names of plugins")));
    }
    match plugins.iter().find(|plugin| !is_plugin(plugin)) {
        Some(plugin) => {
            let shown: String = plugin.chars().take(80).collect();
            Err(Invalid::field("plugins", format!("{shown:?} is no plugin's name, such as slackish or shared/slack")))
        }
        None => Ok(()),
    }
}

fn is_plugin(name: &str) -> bool {
    let own = name.strip_prefix("shared/").unwrap_or(name);
    !own.is_empty()
        && own.len() <= 64
        && own.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(values: &[(&str, &str)]) -> Bound {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), Arc::from(*value))).collect();
        Bound { id: 1, values }
    }

    #[test]
    fn a_value_is_scrubbed_as_it_is_and_as_json_and_one_within_another_leaves_no_rest() {
        let bound = bound(&[("short", "abcd"), ("long", "abcd-efgh"), ("pem", "a\"b\nc")]);
        let scrubbed = bound.scrub("abcd abcd-efgh a\"b\nc {\"key\":\"a\\\"b\\nc\"}".to_owned());
        assert_eq!(scrubbed, "[secret short] [secret long] [secret pem] {\"key\":\"[secret pem]\"}");
        assert_eq!(format!("{bound:?}"), r#"["long", "pem", "short"]"#);
    }

    #[test]
    fn no_cut_leaves_a_part_of_a_value() {
        let value = "v".repeat(MAX_VALUE_BYTES);
        let bound = bound(&[("key", &value)]);
        for before in [0, 90, 100, 200] {
            // The last ones are beyond what is looked at, and one is half in it.
            let text = "-".repeat(before) + &format!("{value}{}", "-".repeat(50)).repeat(9);
            let cut = bound.scrub_and_cut(text, 100);
            assert!(cut.len() <= 100 && !cut.contains('v'), "{before}: {cut}");
        }
    }
}
