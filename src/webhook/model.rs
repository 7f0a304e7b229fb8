//! A webhook: its rules for what a tenant may set, and its form in the table and in JSON.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use url::Url;

use super::{Ed25519Key, WebhookSecret, address::AddressPolicy, sealed::Sealed, signature::Signer};
use crate::{
    event::{Event, Fields, Invalid, Patterns, TenantId, WebhookId, now_ms, rfc3339_ms},
    plugin::{Chain, ChainSpec, check_header},
    store::WebhookRow,
    vault::Vault,
};

const DEFAULT_RETRIES: u64 = 8;
const DEFAULT_TIMEOUT_S: u64 = 30;
const MAX_HEADERS: usize = 32;
const MAX_URL_BYTES: usize = 2048;
const MAX_DESCRIPTION_CHARS: usize = 1000;
/// Deliveries a second.
const MAX_RATE: u64 = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordering {
    None,
    /// One delivery in flight for each key of its events.
    Key,
}

impl Ordering {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "none" => Ok(Self::None),
            "key" => Ok(Self::Key),
            _ => Err("must be `none` or `key`"),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Key => "key",
        }
    }
}

/// A subscribed URL, ready to be sent to.
#[derive(Debug)]
pub struct Webhook {
    pub id: WebhookId,
    pub tenant: TenantId,
    pub name: String,
    pub url: Url,
    pub events: Patterns,
    pub is_active: bool,
    /// Retries after the first attempt.
    pub retry_count: u32,
    /// Over DNS, connect, TLS, headers and body.
    pub timeout: Duration,
    pub headers: Vec<(String, String)>,
    /// Deliveries a second, over all nodes.
    pub rate_limit: Option<u32>,
    pub ordering: Ordering,
    secret: WebhookSecret,
    pub signer: Signer,
    pub ed25519: Option<Ed25519Key>,
    pub chain: Chain,
    /// What it was made from: tells whether the row has changed.
    pub row: WebhookRow,
}

impl Webhook {
    /// Reads a row, which another program may have written.
    ///
    /// # Errors
    /// The column at fault and why.
    pub fn from_row(row: WebhookRow, chain: Chain, vault: &Vault) -> Result<Self, String> {
        let say = |column: &str, why: String| format!("{column}: {why}");
        let tenant = TenantId::parse(&row.tenant_id).map_err(|why| say("tenant_id", why.to_owned()))?;
        let sealed = Sealed { vault, tenant: tenant.as_str() };
        let secret = sealed.secret_of(&row).map_err(|why| say("secret", why))?;
        let ed25519 = sealed.ed25519_of(&row).map_err(|why| say("ed25519_seed", why))?;
        let mut signer = Signer::new(&secret);
        for (previous, until_ms) in sealed.previous_of(&row).map_err(|why| say("previous_secrets", why))? {
            signer = signer.with_previous(&previous, until_ms);
        }
        if let Some(key) = &ed25519 {
            signer = signer.with_ed25519(key.clone());
        }
        let headers: BTreeMap<String, String> = serde_json::from_str(row.headers.as_deref().unwrap_or("{}"))
            .map_err(|_| say("headers", "is no JSON object of strings".to_owned()))?;
        let out_of_range = |column: &'static str| move |_| say(column, "is out of range".to_owned());
        let rate_limit = row.rate_limit.filter(|rate| *rate != 0).map(u32::try_from).transpose();
        Ok(Self {
            id: row.id,
            tenant,
            name: row.name.clone(),
            url: Url::parse(&row.url).map_err(|error| say("url", error.to_string()))?,
            events: patterns_in(&row.events).map_err(|why| say("events", why))?,
            is_active: row.is_active,
            retry_count: u32::try_from(row.retry_count).map_err(out_of_range("retry_count"))?,
            timeout: Duration::from_secs(row.timeout_s.clamp(1, 60).unsigned_abs()),
            headers: headers.into_iter().collect(),
            rate_limit: rate_limit.map_err(out_of_range("rate_limit"))?,
            ordering: Ordering::parse(row.ordering.as_deref().unwrap_or("none"))
                .map_err(|why| say("ordering", why.to_owned()))?,
            secret,
            signer,
            ed25519,
            chain,
            row,
        })
    }

    /// To be shown once, to whoever made it.
    pub fn secret(&self) -> &WebhookSecret {
        &self.secret
    }

    /// Behind which key a delivery of an event waits.
    pub fn order_key(&self, event: &Event) -> Option<Arc<str>> {
        event.key.clone().filter(|_| self.ordering == Ordering::Key)
    }

    /// As the API shows it.
    pub fn view(&self) -> WebhookView {
        let row = &self.row;
        WebhookView {
            id: self.id,
            name: row.name.clone(),
            url: row.url.clone(),
            events: self.events.texts(),
            is_active: row.is_active,
            description: row.description.clone(),
            headers: self.headers.iter().cloned().collect(),
            ed25519: self.ed25519.is_some(),
            retry_count: self.retry_count,
            timeout: self.timeout.as_secs(),
            rate_limit: self.rate_limit,
            ordering: self.ordering.as_str(),
            chain: RawValue::from_string(row.chain.clone().unwrap_or_else(|| "[]".to_owned())).ok(),
            disabled_reason: row.disabled_reason.clone(),
            created_at: rfc3339_ms(row.created_ms),
            updated_at: rfc3339_ms(row.updated_ms),
            secret: None,
            signing_secret: None,
        }
    }
}

/// A webhook as the API shows it. Its chain's configurations are shown byte for byte.
#[derive(Debug, Serialize)]
pub struct WebhookView {
    pub id: WebhookId,
    name: String,
    url: String,
    events: Vec<String>,
    is_active: bool,
    description: Option<String>,
    headers: BTreeMap<String, String>,
    ed25519: bool,
    retry_count: u32,
    timeout: u64,
    rate_limit: Option<u32>,
    ordering: &'static str,
    chain: Option<Box<RawValue>>,
    disabled_reason: Option<String>,
    created_at: String,
    updated_at: String,
    /// These two in the answers of create and rotate-secret only.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_secret: Option<String>,
}

impl WebhookView {
    /// With the secret in both its forms, for whoever made it.
    pub fn with_secret(self, secret: &WebhookSecret) -> Self {
        Self { secret: Some(secret.expose().to_owned()), signing_secret: Some(secret.signing_secret()), ..self }
    }
}

/// A JSON array, or texts with commas between, as other programs write it.
fn patterns_in(column: &str) -> Result<Patterns, String> {
    let texts: Vec<String> = match serde_json::from_str(column) {
        Ok(texts) => texts,
        Err(_) => column.split(',').map(|text| text.trim().to_owned()).collect(),
    };
    Patterns::parse(texts.iter().map(String::as_str))
}

/// What a tenant sets at create, or changes: any subset of fields.
#[derive(Debug, Default)]
pub struct Changes {
    name: Option<String>,
    url: Option<Url>,
    events: Option<Patterns>,
    secret: Option<WebhookSecret>,
    ed25519: Option<bool>,
    retry_count: Option<u64>,
    timeout_s: Option<u64>,
    is_active: Option<bool>,
    /// The inner none takes it away.
    description: Option<Option<String>>,
    headers: Option<BTreeMap<String, String>>,
    rate_limit: Option<Option<u64>>,
    ordering: Option<Ordering>,
    pub chain: Option<ChainSpec>,
}

impl Changes {
    /// Reads the fields of a create or change body.
    ///
    /// # Errors
    /// Every field at fault.
    pub fn parse(mut fields: Fields, policy: &AddressPolicy, is_create: bool) -> Result<Self, Invalid> {
        let name = fields.text("name", |text| match text.trim().chars().count() {
            _ if text.contains(char::is_control) => Err("must have no control characters"),
            1..=200 => Ok(text.to_owned()),
            _ => Err("must be 1 to 200 characters"),
        });
        let url = fields.text("url", |text| match text.len() {
            0..=MAX_URL_BYTES => policy.parse_url(text).map_err(|refusal| refusal.to_string()),
            len => Err(format!("is {len} bytes long, at most {MAX_URL_BYTES} are taken")),
        });
        let texts = fields.optional::<Vec<String>>("events", "a list of patterns");
        let events = match texts.map(|texts| Patterns::parse(texts.iter().map(String::as_str))) {
            Some(Ok(patterns)) if patterns.is_empty() => {
                fields.fault("events", "must name at least one pattern");
                None
            }
            Some(Ok(patterns)) => Some(patterns),
            Some(Err(message)) => {
                fields.fault("events", message);
                None
            }
            None => None,
        };
        let secret = fields.text("secret", WebhookSecret::parse);
        let ed25519 = fields.optional("ed25519", "true or false");
        let retry_count = fields.number("retry_count", 0..=20);
        let timeout_s = fields.number("timeout", 1..=60);
        let is_active = fields.optional("is_active", "true or false");
        let description = if fields.take_null("description") {
            Some(None)
        } else {
            fields
                .text("description", |text| match text.chars().count() {
                    // Postgres takes none.
                    _ if text.contains('\0') => Err("must have no NUL".to_owned()),
                    0..=MAX_DESCRIPTION_CHARS => Ok(text.to_owned()),
                    _ => Err(format!("must be at most {MAX_DESCRIPTION_CHARS} characters")),
                })
                .map(Some)
        };
        let headers = headers(&mut fields);
        let rate_limit = if fields.take_null("rate_limit") {
            Some(None)
        } else {
            fields.number("rate_limit", 1..=MAX_RATE).map(Some)
        };
        let ordering = fields.text("ordering", Ordering::parse);
        let chain = match fields.raw("chain").map(|raw| ChainSpec::parse("chain", raw.get())) {
            Some(Ok(chain)) => Some(chain),
            Some(Err(invalid)) => {
                invalid.errors.into_iter().for_each(|error| fields.fault(error.field, error.message));
                None
            }
            None => None,
        };
        if is_create {
            fields.require("name", name.as_ref());
            fields.require("url", url.as_ref());
            fields.require("events", events.as_ref());
        }
        fields.finish()?;
        Ok(Self {
            name,
            url,
            events,
            secret,
            ed25519,
            retry_count,
            timeout_s,
            is_active,
            description,
            headers,
            rate_limit,
            ordering,
            chain,
        })
    }

    /// Whether the webhook is set to be active, which it may be already.
    pub fn switch_on(&self) -> bool {
        self.is_active == Some(true)
    }

    /// A row of a new webhook of the tenant, with a secret that is made when none was given.
    pub fn into_new_row(mut self, tenant: &TenantId, vault: &Vault) -> WebhookRow {
        let now = now_ms();
        let empty = WebhookRow {
            id: WebhookId(0),
            tenant_id: tenant.to_string(),
            name: String::new(),
            url: String::new(),
            events: "[]".to_owned(),
            secret: None,
            is_active: true,
            description: None,
            headers: Some("{}".to_owned()),
            ed25519_seed: None,
            previous_secrets: None,
            rate_limit: None,
            ordering: None,
            retry_count: DEFAULT_RETRIES.cast_signed(),
            timeout_s: DEFAULT_TIMEOUT_S.cast_signed(),
            chain: Some("[]".to_owned()),
            disabled_reason: None,
            created_ms: now,
            updated_ms: now,
        };
        self.secret.get_or_insert_with(WebhookSecret::generate);
        self.apply(empty, vault)
    }

    /// The row with these changes.
    pub fn apply(self, mut row: WebhookRow, vault: &Vault) -> WebhookRow {
        let tenant = row.tenant_id.clone();
        let sealed = Sealed { vault, tenant: &tenant };
        fn set<T>(place: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *place = value;
            }
        }
        set(&mut row.name, self.name);
        set(&mut row.url, self.url.map(String::from));
        set(&mut row.events, self.events.map(|events| Value::from(events.texts()).to_string()));
        if let Some(secret) = self.secret {
            row.secret = Some(sealed.secret(&secret));
            // Chosen without an overlap: what signed before does not any more.
            row.previous_secrets = None;
        }
        match self.ed25519 {
            Some(true) if row.ed25519_seed.is_none() => {
                row.ed25519_seed = Some(sealed.ed25519(&Ed25519Key::generate()));
            }
            Some(false) => row.ed25519_seed = None,
            _ => {}
        }
        set(&mut row.retry_count, self.retry_count.map(u64::cast_signed));
        set(&mut row.timeout_s, self.timeout_s.map(u64::cast_signed));
        if self.is_active == Some(true) {
            row.disabled_reason = None;
        }
        set(&mut row.is_active, self.is_active);
        set(&mut row.description, self.description);
        set(&mut row.headers, self.headers.map(|headers| Some(json!(headers).to_string())));
        set(&mut row.rate_limit, self.rate_limit.map(|rate| rate.map(u64::cast_signed)));
        set(&mut row.ordering, self.ordering.map(|ordering| Some(ordering.as_str().to_owned())));
        set(&mut row.chain, self.chain.map(|chain| Some(chain.to_json())));
        row.updated_ms = now_ms();
        row
    }
}

fn headers(fields: &mut Fields) -> Option<BTreeMap<String, String>> {
    let headers: BTreeMap<String, String> = fields.optional("headers", "an object of strings")?;
    if headers.len() > MAX_HEADERS {
        fields.fault("headers", format!("{} are too many: at most {MAX_HEADERS}", headers.len()));
    }
    for (name, value) in &headers {
        // A tenant may say who it is to its own receiver; a plugin may not.
        if !name.eq_ignore_ascii_case("authorization")
            && let Err(message) = check_header(name, value)
        {
            fields.fault(format!("headers.{name}"), message);
        }
    }
    Some(headers)
}
