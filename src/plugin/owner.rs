//! Whose plugin it is: everybody's, `shared/slack`, or one tenant's own, `slackish`. Two tenants may use one name; nobody
//! sees what the other calls so.

use std::{fmt, sync::Arc};

use crate::event::TenantId;

const RULE: &str = "must be 1 to 64 of a-z 0-9 - _";
const RESERVED: [&str; 4] = ["shared", "run", "logs", "active"];
const SHARED: &str = "shared/";

/// A name as tenants write it in chains and paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginName {
    is_shared: bool,
    bare: Arc<str>,
}

impl PluginName {
    /// # Errors
    /// Says the rule.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let shared = text.strip_prefix(SHARED);
        let bare = shared.unwrap_or(text);
        if RESERVED.contains(&bare) {
            return Err("must not be `shared`, `run`, `logs` or `active`: these are reserved");
        }
        let is_named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if bare.is_empty() || bare.len() > 64 || !bare.chars().all(is_named) {
            return Err(RULE);
        }
        Ok(Self { is_shared: shared.is_some(), bare: bare.into() })
    }

    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// The plugin that a tenant calls so.
    pub fn of(&self, tenant: &TenantId) -> PluginId {
        PluginId { owner: (!self.is_shared).then(|| tenant.clone()), bare: self.bare.clone() }
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_shared { SHARED } else { "" }, self.bare)
    }
}

/// One plugin of this server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginId {
    /// None: everybody's.
    owner: Option<TenantId>,
    bare: Arc<str>,
}

impl PluginId {
    /// As it stands in the database; none where no name is of that kind.
    pub fn stored(owner: &str, name: &str) -> Option<Self> {
        let name = PluginName::parse(name).ok().filter(|name| !name.is_shared)?;
        let owner = if owner.is_empty() { None } else { Some(TenantId::parse(owner).ok()?) };
        Some(Self { owner, bare: name.bare })
    }

    /// One that the operator put into the folder.
    ///
    /// # Errors
    /// Says the rule.
    pub fn shared(file_stem: &str) -> Result<Self, &'static str> {
        let name = PluginName::parse(file_stem)?;
        if name.is_shared { Err(RULE) } else { Ok(Self { owner: None, bare: name.bare }) }
    }

    pub fn owner(&self) -> Option<&TenantId> {
        self.owner.as_ref()
    }

    /// As the database knows it: empty for everybody's.
    pub fn owner_text(&self) -> &str {
        self.owner.as_ref().map_or("", TenantId::as_str)
    }

    pub fn bare(&self) -> &str {
        &self.bare
    }

    pub fn is_seen_by(&self, tenant: &TenantId) -> bool {
        self.owner.as_ref().is_none_or(|owner| owner == tenant)
    }
}

/// As its users write it. For the server's own log, tell the owner beside it.
impl fmt::Display for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.owner.is_none() { SHARED } else { "" }, self.bare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_tenants_own_unless_it_says_shared() {
        let (acme, other) = (TenantId::parse("acme").expect("a name"), TenantId::parse("other").expect("a name"));
        let of = |text: &str, tenant| PluginName::parse(text).expect("a name").of(tenant);
        assert_ne!(of("slack", &acme), of("slack", &other));
        assert_eq!(of("shared/slack", &acme), of("shared/slack", &other));
        assert!(!of("slack", &acme).is_seen_by(&other) && of("shared/slack", &acme).is_seen_by(&other));
        assert_eq!(of("shared/slack", &acme).to_string(), "shared/slack");
        for wrong in ["", "shared/", "shared/shared", "run", "A", "a/b", "shared/a/b", "a.b", &"x".repeat(65)] {
            assert!(PluginName::parse(wrong).is_err(), "{wrong}");
        }
    }
}
