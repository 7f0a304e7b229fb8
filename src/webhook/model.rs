//! A webhook: its rules for what a tenant may set, and its form in the table and in JSON.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use url::Url;

use super::{Ed25519Key, WebhookSecret, address::AddressPolicy, signature::Signer};
use crate::{
    event::{Fields, Invalid, Patterns, TenantId, WebhookId, now_ms, rfc3339_ms},
    plugin::{Chain, ChainSpec, check_header},
    store::WebhookRow,
};

const DEFAULT_RETRIES: u64 = 8;
const DEFAULT_TIMEOUT_S: u64 = 30;
const MAX_HEADERS: usize = 32;
const MAX_URL_BYTES: usize = 2048;
const MAX_DESCRIPTION_CHARS: usize = 1000;

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
    pub fn from_row(row: WebhookRow, chain: Chain) -> Result<Self, String> {
        let say = |column: &str, why: String| format!("{column}: {why}");
        let secret = row.secret.as_deref().unwrap_or_default();
        let secret = WebhookSecret::parse(secret).map_err(|error| say("secret", error.to_string()))?;
        let ed25519 = row.ed25519_seed.as_deref().map(Ed25519Key::parse).transpose();
        let ed25519 = ed25519.map_err(|error| say("ed25519_seed", error.to_string()))?;
        let mut signer = Signer::new(&secret);
        if let Some(key) = &ed25519 {
            signer = signer.with_ed25519(key.clone());
        }
        let headers: BTreeMap<String, String> = serde_json::from_str(&row.headers)
            .map_err(|_| say("headers", "is no JSON object of strings".to_owned()))?;
        Ok(Self {
            id: row.id,
            tenant: TenantId::parse(&row.tenant_id).map_err(|why| say("tenant_id", why.to_owned()))?,
            name: row.name.clone(),
            url: Url::parse(&row.url).map_err(|error| say("url", error.to_string()))?,
            events: patterns_in(&row.events).map_err(|why| say("events", why))?,
            is_active: row.is_active,
            retry_count: u32::try_from(row.retry_count)
                .map_err(|_| say("retry_count", "is out of range".to_owned()))?,
            timeout: Duration::from_secs(row.timeout_s.clamp(1, 60).unsigned_abs()),
            headers: headers.into_iter().collect(),
            signer,
            ed25519,
            chain,
            row,
        })
    }

    /// To be shown once, to whoever made it.
    ///
    /// # Errors
    /// When the row's secret cannot be read any more.
    pub fn secret(&self) -> Result<WebhookSecret, String> {
        WebhookSecret::parse(self.row.secret.as_deref().unwrap_or_default()).map_err(|error| error.to_string())
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
            rate_limit: None,
            ordering: "none",
            chain: RawValue::from_string(row.chain.clone()).ok(),
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
    /// These two in the answer of the create only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_secret: Option<String>,
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
    pub chain: Option<ChainSpec>,
}

impl Changes {
    /// Reads the fields of a create or change body.
    ///
    /// # Errors
    /// Every field at fault.
    pub fn parse(mut fields: Fields, policy: &AddressPolicy, is_create: bool) -> Result<Self, Invalid> {
        let name = fields.text("name", |text| match text.trim().chars().count() {
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
                    0..=MAX_DESCRIPTION_CHARS => Ok(text.to_owned()),
                    _ => Err(format!("must be at most {MAX_DESCRIPTION_CHARS} characters")),
                })
                .map(Some)
        };
        let headers = headers(&mut fields);
        // Said aloud rather than taken and not kept.
        if fields.raw("rate_limit").is_some() {
            fields.fault("rate_limit", "is not available in this version: leave it out");
        }
        if fields.optional::<String>("ordering", "`none`").is_some_and(|ordering| ordering != "none") {
            fields.fault("ordering", "only `none` is available in this version");
        }
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
        Ok(Self { name, url, events, secret, ed25519, retry_count, timeout_s, is_active, description, headers, chain })
    }

    /// A row of a new webhook of the tenant, with a secret that is made when none was given.
    pub fn into_new_row(self, tenant: &TenantId) -> WebhookRow {
        let now = now_ms();
        let empty = WebhookRow {
            id: WebhookId(0),
            tenant_id: tenant.to_string(),
            name: String::new(),
            url: String::new(),
            events: "[]".to_owned(),
            secret: Some(WebhookSecret::generate().expose().to_owned()),
            is_active: true,
            description: None,
            headers: "{}".to_owned(),
            ed25519_seed: None,
            retry_count: DEFAULT_RETRIES.cast_signed(),
            timeout_s: DEFAULT_TIMEOUT_S.cast_signed(),
            chain: "[]".to_owned(),
            disabled_reason: None,
            created_ms: now,
            updated_ms: now,
        };
        self.apply(empty)
    }

    /// The row with these changes.
    pub fn apply(self, mut row: WebhookRow) -> WebhookRow {
        fn set<T>(place: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *place = value;
            }
        }
        set(&mut row.name, self.name);
        set(&mut row.url, self.url.map(String::from));
        set(&mut row.events, self.events.map(|events| Value::from(events.texts()).to_string()));
        if let Some(secret) = self.secret {
            row.secret = Some(secret.expose().to_owned());
        }
        match self.ed25519 {
            Some(true) if row.ed25519_seed.is_none() => row.ed25519_seed = Some(Ed25519Key::generate().private_key()),
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
        set(&mut row.headers, self.headers.map(|headers| json!(headers).to_string()));
        set(&mut row.chain, self.chain.map(|chain| chain.to_json()));
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
