//! Tokens: verified with the server's secret or with a key of the ring, and their claims read.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use serde_json::{Map, Value, json};

use super::{Identity, Problem, Role};
use crate::{
    config::TokenConfig,
    event::{Patterns, TenantId, UserId, now_ms},
    keys::{KeyRing, Lookup},
};

/// Clocks may differ by this much. The library's own default of 60 s would let a token outlive its 4419.
const LEEWAY_S: u64 = 5;

/// Verifies tokens. Which key verifies one depends on its algorithm, and the key has one algorithm alone: a public key is
/// never taken for a secret, and a token does not choose how it is verified.
pub struct Tokens {
    /// Of HS256.
    secret: Option<DecodingKey>,
    /// Of all else.
    keys: Option<Arc<KeyRing>>,
    /// For the secret; of its algorithm.
    validation: Validation,
    config: TokenConfig,
}

impl Tokens {
    pub fn new(config: TokenConfig, keys: Option<Arc<KeyRing>>) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_S;
        validation.set_required_spec_claims(&["exp"]);
        validation.validate_nbf = true;
        if let Some(issuer) = &config.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        match &config.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                validation.required_spec_claims.insert("aud".to_owned());
            }
            None => validation.validate_aud = false,
        }
        let secret = config.secret.as_deref().map(DecodingKey::from_secret);
        Self { secret, keys, validation, config }
    }

    /// # Errors
    /// 401, with a code that tells an expired token from a bad one; 503 while its key cannot be had.
    pub async fn verify(&self, token: &str) -> Result<Identity, Problem> {
        let claims = self.claims(token).await?;
        let text = |claim: &str| match claims.get(claim) {
            Some(Value::String(text)) => Ok(text.clone()),
            // Backends that number their users and tenants.
            Some(Value::Number(number)) => Ok(number.to_string()),
            _ => Err(bad(format!("the token lacks the claim {claim}"))),
        };
        let (user_claim, tenant_claim) = (&self.config.claim_user, &self.config.claim_tenant);
        let named = |claim: &str, why: &str| bad(format!("the token's {claim} {why}"));
        let user = UserId::parse(&text(user_claim)?).map_err(|why| named(user_claim, why))?;
        let tenant = TenantId::parse(&text(tenant_claim)?).map_err(|why| named(tenant_claim, why))?;
        let role = claims.get(&self.config.claim_role).and_then(Value::as_str).unwrap_or_default();
        let mapped = self.config.role_map.iter().find(|(theirs, _)| theirs == role);
        let events = match claims.get("events") {
            None | Some(Value::Null) => None,
            Some(Value::Array(texts)) => Some(
                Patterns::parse(texts.iter().map(|text| text.as_str().unwrap_or_default()))
                    .map_err(|why| named("events", &why))?,
            ),
            Some(_) => return Err(named("events", "must be a list of patterns")),
        };
        let seconds = |claim: &str| claims.get(claim).and_then(Value::as_f64).map(|seconds| seconds as i64);
        Ok(Identity {
            tenant,
            user,
            role: Role::parse(mapped.map_or(role, |(_, ours)| ours)),
            expires_s: seconds("exp").unwrap_or(0),
            issued_s: seconds("iat"),
            events,
        })
    }

    async fn claims(&self, token: &str) -> Result<Map<String, Value>, Problem> {
        // `none` is no algorithm of the library's: it ends here.
        let header = jsonwebtoken::decode_header(token).map_err(|_| bad("the token is not valid"))?;
        if header.crit.is_some() {
            return Err(bad("the token asks for extensions (crit) that are not known"));
        }
        let claims = match (header.alg, &self.secret, &self.keys) {
            (Algorithm::HS256, Some(secret), _) => decode(token, secret, &self.validation),
            (algorithm, _, Some(keys)) if algorithm != Algorithm::HS256 => {
                let kid = header.kid.ok_or_else(|| bad("the token names no key (kid)"))?;
                let key = match keys.find(&kid).await {
                    Lookup::Found(key) => key,
                    Lookup::Unknown => return Err(bad("the token's key (kid) is not known")),
                    Lookup::Unavailable => {
                        let detail = "the token's key is not known, and where keys come from cannot be read now";
                        return Err(Problem::unavailable("keys_unavailable", detail));
                    }
                };
                decode(token, &key.decoding, &Validation { algorithms: vec![key.algorithm], ..self.validation.clone() })
            }
            _ => Err(ErrorKind::InvalidAlgorithm),
        };
        claims.map_err(|kind| match kind {
            ErrorKind::ExpiredSignature => Problem::unauthorized("token_expired", "the token has expired"),
            ErrorKind::InvalidAlgorithm => bad("the token is signed with another algorithm than its key has"),
            ErrorKind::MissingRequiredClaim(claim) => bad(format!("the token lacks the claim {claim}")),
            _ => bad("the token is not valid"),
        })
    }
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::unauthorized("invalid_token", detail)
}

fn decode(token: &str, key: &DecodingKey, validation: &Validation) -> Result<Map<String, Value>, ErrorKind> {
    match jsonwebtoken::decode(token, key, validation) {
        Ok(decoded) => Ok(decoded.claims),
        Err(error) => Err(error.kind().clone()),
    }
}

/// Makes a token that [`Tokens`] with the same secret accepts.
///
/// # Errors
/// When there is no secret.
pub fn issue(
    config: &TokenConfig,
    tenant: &str,
    user: &str,
    role: &str,
    expires_s: i64,
) -> Result<String, jsonwebtoken::errors::Error> {
    let secret = config.secret.as_deref().ok_or(ErrorKind::InvalidKeyFormat)?;
    let mut claims = json!({ "iat": now_ms() / 1000, "exp": expires_s });
    claims[&config.claim_user] = user.into();
    claims[&config.claim_tenant] = tenant.into();
    claims[&config.claim_role] = role.into();
    for (claim, value) in [("iss", &config.issuer), ("aud", &config.audience)] {
        if let Some(value) = value {
            claims[claim] = value.as_str().into();
        }
    }
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TokenConfig {
        TokenConfig {
            secret: Some(vec![7; 32]),
            keys: None,
            issuer: None,
            audience: None,
            claim_user: "user_id".to_owned(),
            claim_tenant: "tenant_id".to_owned(),
            claim_role: "role".to_owned(),
            role_map: vec![("manager".to_owned(), "admin".to_owned())],
        }
    }

    #[tokio::test]
    async fn claims_of_another_backend_are_mapped() {
        let token = issue(&config(), "acme", "42", "manager", now_ms() / 1000 + 60).unwrap();
        let identity = Tokens::new(config(), None).verify(&token).await.unwrap();
        assert_eq!((identity.user.as_str(), identity.role), ("42", Role::Admin));
    }

    #[tokio::test]
    async fn issuer_and_audience_are_required_once_set() {
        let strict = TokenConfig { issuer: Some("us".to_owned()), audience: Some("here".to_owned()), ..config() };
        let (plain, bound) = (config(), strict.clone());
        let expires = now_ms() / 1000 + 60;
        let tokens = Tokens::new(strict, None);
        assert!(tokens.verify(&issue(&bound, "acme", "a", "agent", expires).unwrap()).await.is_ok());
        assert!(tokens.verify(&issue(&plain, "acme", "a", "agent", expires).unwrap()).await.is_err());
    }
}
