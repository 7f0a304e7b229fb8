//! Who is asking: the identity that a token gives, and what its role may do.

mod tokens;

use std::str::FromStr;

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};

pub use tokens::{Tokens, issue};

use super::{Api, ApiParts, Problem};
use crate::event::{Patterns, TenantId, UserId, now_ms};

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
        api.tokens.verify(token).await
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

    #[test]
    fn roles_include_what_is_below_them() {
        assert!(Role::Admin.may(Role::Service) && Role::Service.may(Role::Agent));
        assert!(
            !Role::Service.may(Role::Admin) && !Role::Operator.may(Role::Service) && !Role::Admin.may(Role::Operator)
        );
    }
}
