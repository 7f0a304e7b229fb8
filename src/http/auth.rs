//! Who is asking: tokens verified, claims read, roles compared.

use std::str::FromStr;

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use serde_json::{Map, Value, json};

use super::{Api, ApiParts, Problem};
use crate::{
    config::TokenConfig,
    event::{Patterns, TenantId, UserId, now_ms},
};

/// Clocks may differ by this much. The library's own default of 60 s would let a token outlive its 4419.
const LEEWAY_S: u64 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sockets and presence.
    Agent,
    /// Also publishes, and reads events.
    Service,
    /// All of one tenant.
    Admin,
    /// Totals over all tenants.
    Operator,
}

impl Role {
    fn parse(name: &str) -> Self {
        match name {
            "service" => Self::Service,
            "admin" => Self::Admin,
            "operator" => Self::Operator,
            // None or unknown is the least.
            _ => Self::Agent,
        }
    }

    fn may(self, needed: Self) -> bool {
        match needed {
            Self::Agent => true,
            Self::Service => matches!(self, Self::Service | Self::Admin),
            Self::Admin => self == Self::Admin,
            Self::Operator => self == Self::Operator,
        }
    }
}

/// A verified token.
#[derive(Debug, Clone)]
pub struct Identity {
    pub tenant: TenantId,
    pub user: UserId,
    pub role: Role,
    /// Seconds since the Unix epoch.
    pub expires_s: i64,
    /// The same, if the token says so.
    pub issued_s: Option<i64>,
    /// What a socket of this token may see, if it is limited.
    pub events: Option<Patterns>,
}

impl Identity {
    /// # Errors
    /// 403, naming the roles that may.
    pub fn require(&self, role: Role) -> Result<(), Problem> {
        if self.role.may(role) {
            return Ok(());
        }
        let roles = match role {
            Role::Agent => "any role",
            Role::Service => "the role service or admin",
            Role::Admin => "the role admin",
            Role::Operator => "the role operator",
        };
        Err(Problem::forbidden(format!("this takes {roles}")))
    }

    pub fn expires_in_ms(&self) -> i64 {
        self.expires_s.saturating_mul(1000).saturating_sub(now_ms())
    }
}

/// Verifies tokens with the server's key.
pub struct Tokens {
    key: DecodingKey,
    validation: Validation,
    config: TokenConfig,
}

impl Tokens {
    pub fn new(config: TokenConfig) -> Self {
        // One algorithm: a token does not choose how it is verified.
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
        Self { key: DecodingKey::from_secret(&config.secret), validation, config }
    }

    /// # Errors
    /// 401, with a code that tells an expired token from a bad one.
    pub fn verify(&self, token: &str) -> Result<Identity, Problem> {
        let bad = |detail: String| Problem::unauthorized("invalid_token", detail);
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &self.key, &self.validation)
            .map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => Problem::unauthorized("token_expired", "the token has expired"),
                ErrorKind::InvalidAlgorithm => bad("the token is signed with another algorithm than HS256".to_owned()),
                ErrorKind::MissingRequiredClaim(claim) => bad(format!("the token lacks the claim {claim}")),
                _ => bad("the token is not valid".to_owned()),
            })?
            .claims;
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
        Ok(Identity {
            tenant,
            user,
            role: Role::parse(mapped.map_or(role, |(_, ours)| ours)),
            expires_s: claims.get("exp").and_then(Value::as_f64).map_or(0, |exp| exp as i64),
            issued_s: claims.get("iat").and_then(Value::as_f64).map(|iat| iat as i64),
            events,
        })
    }
}

/// Makes a token that [`Tokens`] with the same key accepts.
///
/// # Errors
/// When the key cannot sign.
pub fn issue(
    config: &TokenConfig,
    tenant: &str,
    user: &str,
    role: &str,
    expires_s: i64,
) -> Result<String, jsonwebtoken::errors::Error> {
    let mut claims = json!({ "iat": now_ms() / 1000, "exp": expires_s });
    claims[&config.claim_user] = user.into();
    claims[&config.claim_tenant] = tenant.into();
    claims[&config.claim_role] = role.into();
    for (claim, value) in [("iss", &config.issuer), ("aud", &config.audience)] {
        if let Some(value) = value {
            claims[claim] = value.as_str().into();
        }
    }
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(&config.secret))
}

impl ApiParts {
    /// For sockets and streams: an administrator may have put the user out.
    ///
    /// # Errors
    /// 401.
    pub fn check_revoked(&self, who: &Identity) -> Result<(), Problem> {
        if self.revocations.is_revoked(&who.tenant, &who.user, who.issued_s) {
            let message = "an administrator has closed this user's sockets: tokens issued before that are not taken";
            return Err(Problem::unauthorized("revoked", message));
        }
        Ok(())
    }
}

/// The token of an `Authorization: Bearer …` header.
pub fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl FromRequestParts<Api> for Identity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let token = bearer(parts)
            .ok_or_else(|| Problem::unauthorized("missing_token", "send a token: `Authorization: Bearer …`"))?;
        api.tokens.verify(token)
    }
}

/// An identity that has at least this role.
macro_rules! role_extractor {
    ($(#[$doc:meta])* $name:ident, $role:expr) => {
        $(#[$doc])*
        pub struct $name(pub Identity);

        impl FromRequestParts<Api> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
                let identity = Identity::from_request_parts(parts, api).await?;
                identity.require($role)?;
                Ok(Self(identity))
            }
        }
    };
}

role_extractor!(
    /// May publish and read events.
    ServiceUser,
    Role::Service
);
role_extractor!(
    /// May change what belongs to its tenant.
    AdminUser,
    Role::Admin
);

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "agent" | "service" | "admin" | "operator" => Ok(Self::parse(text)),
            _ => Err(format!("{text:?} is no role: agent, service, admin or operator")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TokenConfig {
        TokenConfig {
            secret: vec![7; 32],
            issuer: None,
            audience: None,
            claim_user: "user_id".to_owned(),
            claim_tenant: "tenant_id".to_owned(),
            claim_role: "role".to_owned(),
            role_map: vec![("manager".to_owned(), "admin".to_owned())],
        }
    }

    #[test]
    fn claims_of_another_backend_are_mapped() {
        let token = issue(&config(), "acme", "42", "manager", now_ms() / 1000 + 60).unwrap();
        let identity = Tokens::new(config()).verify(&token).unwrap();
        assert_eq!((identity.user.as_str(), identity.role), ("42", Role::Admin));
    }

    #[test]
    fn issuer_and_audience_are_required_once_set() {
        let strict = TokenConfig { issuer: Some("us".to_owned()), audience: Some("here".to_owned()), ..config() };
        let (plain, bound) = (config(), strict.clone());
        let expires = now_ms() / 1000 + 60;
        let tokens = Tokens::new(strict);
        assert!(tokens.verify(&issue(&bound, "acme", "a", "agent", expires).unwrap()).is_ok());
        assert!(tokens.verify(&issue(&plain, "acme", "a", "agent", expires).unwrap()).is_err());
    }

    #[test]
    fn roles_include_what_is_below_them() {
        assert!(Role::Admin.may(Role::Service) && Role::Service.may(Role::Agent));
        assert!(
            !Role::Service.may(Role::Admin) && !Role::Operator.may(Role::Service) && !Role::Admin.may(Role::Operator)
        );
    }
}
