//! Settings that tokens are made and verified by.

use std::path::PathBuf;

use super::{
    TokenSettings,
    reader::{Reader, text_or},
};
use crate::keys::Location;

/// At least as long as the hash that HS256 is built on (RFC 7518 §3.2).
const MIN_SECRET_BYTES: usize = 32;

#[derive(Clone)]
pub struct TokenConfig {
    /// Of HS256. There where `keys` are not.
    pub secret: Option<Vec<u8>>,
    /// Where the public keys of all other tokens are.
    pub keys: Option<Location>,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub claim_user: String,
    pub claim_tenant: String,
    pub claim_role: String,
    /// Foreign role name → ours.
    pub role_map: Vec<(String, String)>,
}

impl std::fmt::Debug for TokenConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenConfig").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl TokenConfig {
    /// For whoever signs: with a secret in any case.
    ///
    /// # Errors
    /// Every mistake, each a line that names the setting and says what to do.
    pub fn parse(settings: &TokenSettings) -> Result<Self, Vec<String>> {
        let mut reader = Reader::default();
        let tokens = read(&mut reader, settings, None);
        if tokens.as_ref().is_some_and(|tokens| tokens.secret.is_none() && tokens.keys.is_some()) {
            reader.mistake("JWT_SECRET", "is not set: tokens are signed with it; the keys of JWT_JWKS_… only verify");
        }
        reader.finish(tokens)
    }
}

/// `made` stands in for a JWT_SECRET that is not set.
pub fn read(r: &mut Reader, settings: &TokenSettings, made: Option<&str>) -> Option<TokenConfig> {
    let keys = read_keys(r, settings);
    let secret = settings.jwt_secret.as_deref().filter(|secret| !secret.is_empty()).or(made);
    match secret {
        None if matches!(keys, Some(None)) => r.mistake(
            "JWT_SECRET",
            "is not set: set it to at least 32 random bytes, or set JWT_JWKS_URL or JWT_JWKS_FILE, or use `serve --dev` to \
             try things out",
        ),
        Some(secret) if secret.len() < MIN_SECRET_BYTES => {
            r.mistake("JWT_SECRET", &format!("is {} bytes long: HS256 needs at least {MIN_SECRET_BYTES}", secret.len()));
        }
        _ => {}
    }
    let role_map = r.read("JWT_ROLE_MAP", &settings.jwt_role_map, "", |text| {
        text.split(',')
            .filter(|pair| !pair.trim().is_empty())
            .map(|pair| match pair.split_once('=') {
                Some((theirs, ours)) if ["agent", "service", "admin", "operator"].contains(&ours.trim()) => {
                    Ok((theirs.trim().to_owned(), ours.trim().to_owned()))
                }
                _ => Err(format!("{pair:?} is no `theirs=ours` with ours one of agent, service, admin, operator")),
            })
            .collect()
    });
    Some(TokenConfig {
        secret: secret.map(|secret| secret.as_bytes().to_vec()),
        keys: keys?,
        issuer: settings.jwt_issuer.clone().filter(|text| !text.is_empty()),
        audience: settings.jwt_audience.clone().filter(|text| !text.is_empty()),
        claim_user: text_or(&settings.jwt_claim_user, "sub"),
        claim_tenant: text_or(&settings.jwt_claim_tenant, "tenant_id"),
        claim_role: text_or(&settings.jwt_claim_role, "role"),
        role_map: role_map?,
    })
}

fn read_keys(r: &mut Reader, settings: &TokenSettings) -> Option<Option<Location>> {
    let url = r.read("JWT_JWKS_URL", &settings.jwt_jwks_url, "", |text| match text {
        "" => Ok(None),
        url => Location::url(url).map(Some),
    });
    let file = Some(text_or(&settings.jwt_jwks_file, "")).filter(|file| !file.is_empty());
    match (url?, file) {
        (Some(_), Some(_)) => {
            r.mistake("JWT_JWKS_FILE", "is set beside JWT_JWKS_URL: set the one that holds the keys");
            None
        }
        (url, file) => Some(url.or(file.map(|file| Location::File(PathBuf::from(file))))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(settings: TokenSettings, made: Option<&str>) -> Result<TokenConfig, Vec<String>> {
        let mut reader = Reader::default();
        let tokens = read(&mut reader, &settings, made);
        reader.finish(tokens)
    }

    fn with(url: &str, file: &str) -> TokenSettings {
        TokenSettings { jwt_jwks_url: Some(url.into()), jwt_jwks_file: Some(file.into()), ..TokenSettings::default() }
    }

    #[test]
    fn keys_stand_in_for_a_secret_except_where_tokens_are_signed() {
        assert!(parsed(with("", "keys.json"), None).unwrap().secret.is_none());
        assert!(parsed(with("https://idp.example/keys", ""), None).unwrap().keys.is_some());
        assert!(parsed(with("", ""), None).unwrap_err()[0].starts_with("JWT_SECRET is not set"));
        let mistakes = TokenConfig::parse(&with("", "keys.json")).unwrap_err();
        assert!(mistakes[0].starts_with("JWT_SECRET is not set"), "{mistakes:?}");
    }

    #[test]
    fn keys_come_from_one_place_that_can_be_read() {
        let mistakes = parsed(with("https://idp.example/keys", "keys.json"), None).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].starts_with("JWT_JWKS_FILE"), "{mistakes:?}");
        for bad in ["idp.example/keys", "ftp://idp.example/keys", "https://kim:hunter2@idp.example/keys"] {
            let mistakes = parsed(with(bad, ""), None).unwrap_err();
            assert!(mistakes.len() == 1 && mistakes[0].starts_with("JWT_JWKS_URL"), "{bad}: {mistakes:?}");
            assert!(!mistakes[0].contains("hunter2"), "{mistakes:?}");
        }
    }
}
