//! A webhook's secrets in its row: sealed for the tenant, and those that were replaced and sign for a while yet.

use serde::{Deserialize, Serialize};

use super::{Ed25519Key, WebhookSecret};
use crate::{event::now_ms, store::WebhookRow, vault::Vault};

/// Replaced secrets that sign at once: each makes every request's header longer.
const MAX_PREVIOUS: usize = 4;

/// Seals and opens the secrets of one tenant's rows.
pub struct Sealed<'a> {
    pub vault: &'a Vault,
    pub tenant: &'a str,
}

#[derive(Debug, Serialize, Deserialize)]
struct Previous {
    secret: String,
    until_ms: i64,
}

impl Sealed<'_> {
    fn place(&self, what: &str) -> String {
        format!("{what}:{}", self.tenant)
    }

    fn open(&self, stored: &str, what: &str) -> Result<String, String> {
        self.vault.open(stored, &self.place(what)).map_err(|error| error.to_string())
    }

    fn open_secret(&self, stored: &str) -> Result<WebhookSecret, String> {
        WebhookSecret::parse(&self.open(stored, SECRET)?).map_err(|error| error.to_string())
    }

    pub fn secret(&self, secret: &WebhookSecret) -> String {
        self.vault.seal(secret.expose(), &self.place(SECRET))
    }

    pub fn ed25519(&self, key: &Ed25519Key) -> String {
        self.vault.seal(&key.private_key(), &self.place(ED25519))
    }

    pub fn secret_of(&self, row: &WebhookRow) -> Result<WebhookSecret, String> {
        self.open_secret(row.secret.as_deref().unwrap_or_default())
    }

    pub fn ed25519_of(&self, row: &WebhookRow) -> Result<Option<Ed25519Key>, String> {
        let Some(stored) = &row.ed25519_seed else { return Ok(None) };
        Ed25519Key::parse(&self.open(stored, ED25519)?).map(Some).map_err(|error| error.to_string())
    }

    /// The most recently replaced first, with when it ends.
    pub fn previous_of(&self, row: &WebhookRow) -> Result<Vec<(WebhookSecret, i64)>, String> {
        let previous = previous(row)?.into_iter();
        previous.map(|previous| Ok((self.open_secret(&previous.secret)?, previous.until_ms))).collect()
    }

    /// The row with a new secret, the old one signing beside it until then.
    pub fn rotate(&self, mut row: WebhookRow, secret: &WebhookSecret, until_ms: i64) -> Result<WebhookRow, String> {
        let now = now_ms();
        let old = row.secret.take().map(|secret| Previous { secret, until_ms });
        let mut all: Vec<Previous> = old.into_iter().chain(previous(&row)?).collect();
        all.retain(|previous| previous.until_ms > now);
        all.truncate(MAX_PREVIOUS);
        row.previous_secrets = if all.is_empty() { None } else { Some(serde_json::json!(all).to_string()) };
        row.secret = Some(self.secret(secret));
        row.updated_ms = now;
        Ok(row)
    }

    /// The row with a secret where it had none, and with everything sealed as it is to be now; none where it is so already
    /// or cannot be opened. `also_old`: what older keys sealed too.
    pub fn renew(&self, row: &WebhookRow, also_old: bool) -> Option<WebhookRow> {
        let mut renewed = row.clone();
        if row.secret.as_deref().is_none_or(str::is_empty) {
            renewed.secret = Some(self.secret(&WebhookSecret::generate()));
        }
        let renew = |stored: &str, what: &str| {
            let is_sealed = self.vault.is_sealed(stored);
            if self.vault.is_current(stored) || (is_sealed && !also_old) {
                return stored.to_owned();
            }
            self.open(stored, what)
                .map_or_else(|_| stored.to_owned(), |plain| self.vault.seal(&plain, &self.place(what)))
        };
        renewed.secret = renewed.secret.map(|stored| renew(&stored, SECRET));
        renewed.ed25519_seed = renewed.ed25519_seed.map(|stored| renew(&stored, ED25519));
        if let Ok(mut all) = previous(row)
            && !all.is_empty()
        {
            all.iter_mut().for_each(|previous| previous.secret = renew(&previous.secret, SECRET));
            renewed.previous_secrets = Some(serde_json::json!(all).to_string());
        }
        (renewed != *row).then_some(renewed)
    }
}

const SECRET: &str = "webhook-secret";
const ED25519: &str = "webhook-ed25519";

fn previous(row: &WebhookRow) -> Result<Vec<Previous>, String> {
    match row.previous_secrets.as_deref() {
        None | Some("") => Ok(Vec::new()),
        Some(json) => serde_json::from_str(json).map_err(|_| "is no list of replaced secrets".to_owned()),
    }
}
