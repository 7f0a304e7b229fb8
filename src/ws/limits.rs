//! Bounds in time: handshakes per address for people without a token, messages per connection and per tenant for all.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::seat::Who;
use crate::{event::TenantId, http::Problem, hub::Viewer};

/// Handshakes of one address: a burst, then so many a second.
const HANDSHAKE_BURST: NonZeroU32 = NonZeroU32::new(60).expect("60 is not 0");
const HANDSHAKES_PER_SECOND: NonZeroU32 = NonZeroU32::new(2).expect("2 is not 0");
/// Messages of one visitor's connection.
const VISITOR_MESSAGES_PER_SECOND: NonZeroU32 = NonZeroU32::new(5).expect("5 is not 0");
/// Messages of one member's connection: people and their tools are far below it.
const MEMBER_MESSAGES_PER_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("200 is not 0");
const MEMBER_MESSAGE_BURST: NonZeroU32 = NonZeroU32::new(400).expect("400 is not 0");
/// Messages of all connections of one tenant on this node; twice as many in a burst.
const TENANT_MESSAGES_PER_SECOND: NonZeroU32 = NonZeroU32::new(2000).expect("2000 is not 0");
const TENANT_VISITOR_MESSAGES_PER_SECOND: NonZeroU32 = NonZeroU32::new(1000).expect("1000 is not 0");
const TWO: NonZeroU32 = NonZeroU32::new(2).expect("2 is not 0");
/// Messages over the rate that are answered before the connection is closed, and when that is forgotten.
const MAX_RATE_WARNINGS: u32 = 20;
const FORGIVEN_AFTER: Duration = Duration::from_secs(10);
/// Tenants remembered before those that are quiet are forgotten.
const MAX_TENANTS: usize = 10_000;
/// Addresses remembered before those that are quiet are forgotten.
const MAX_ADDRESSES: usize = 10_000;

#[derive(Clone)]
pub struct AddressLimiter(Arc<DefaultKeyedRateLimiter<IpAddr>>);

impl Default for AddressLimiter {
    fn default() -> Self {
        let quota = Quota::per_second(HANDSHAKES_PER_SECOND).allow_burst(HANDSHAKE_BURST);
        Self(Arc::new(RateLimiter::keyed(quota)))
    }
}

impl AddressLimiter {
    /// # Errors
    /// 429.
    pub fn check(&self, address: IpAddr) -> Result<(), Problem> {
        if self.0.len() > MAX_ADDRESSES {
            self.0.retain_recent();
        }
        self.0
            .check_key(&network_of(address))
            .map_err(|_| Problem::too_many("rate_limited", "too many connections were opened from this address", 1))
    }
}

/// Whoever has one IPv6 address has its /64.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// Messages of one connection: those over its rate are refused, and at last it is closed.
pub struct Pace {
    rate: DefaultDirectRateLimiter,
    pub per_second: u32,
    refused: u32,
    refused_at: Option<Instant>,
}

/// What becomes of a message over the rate.
#[derive(Debug, PartialEq, Eq)]
pub enum Over {
    Refused,
    Closed,
}

impl Pace {
    pub fn of(who: &Who) -> Self {
        match who {
            Who::Member(_) => Self::of_member(),
            Who::Visitor { .. } => Self::of_visitor(),
        }
    }

    fn of_visitor() -> Self {
        Self::new(Quota::per_second(VISITOR_MESSAGES_PER_SECOND), VISITOR_MESSAGES_PER_SECOND)
    }

    fn of_member() -> Self {
        let quota = Quota::per_second(MEMBER_MESSAGES_PER_SECOND).allow_burst(MEMBER_MESSAGE_BURST);
        Self::new(quota, MEMBER_MESSAGES_PER_SECOND)
    }

    fn new(quota: Quota, per_second: NonZeroU32) -> Self {
        Self { rate: RateLimiter::direct(quota), per_second: per_second.get(), refused: 0, refused_at: None }
    }

    /// # Errors
    /// [`Over`]: the message is not to be taken.
    pub fn check(&mut self, now: Instant) -> Result<(), Over> {
        if self.rate.check().is_ok() {
            return Ok(());
        }
        if self.refused_at.is_some_and(|at| now.duration_since(at) > FORGIVEN_AFTER) {
            self.refused = 0;
        }
        (self.refused, self.refused_at) = (self.refused + 1, Some(now));
        Err(if self.refused > MAX_RATE_WARNINGS { Over::Closed } else { Over::Refused })
    }
}

/// Messages of all connections of a tenant; its visitors cannot use up what its own people have.
pub struct TenantPaces {
    members: DefaultKeyedRateLimiter<TenantId>,
    visitors: DefaultKeyedRateLimiter<TenantId>,
}

impl Default for TenantPaces {
    fn default() -> Self {
        let keyed = |per_second: NonZeroU32| {
            RateLimiter::keyed(Quota::per_second(per_second).allow_burst(per_second.saturating_mul(TWO)))
        };
        Self { members: keyed(TENANT_MESSAGES_PER_SECOND), visitors: keyed(TENANT_VISITOR_MESSAGES_PER_SECOND) }
    }
}

impl TenantPaces {
    /// Whether the tenant may have one message more now.
    pub fn has_room(&self, viewer: &Viewer, tenant: &TenantId) -> bool {
        let paces = match viewer {
            Viewer::Member { .. } => &self.members,
            Viewer::Visitor { .. } => &self.visitors,
        };
        if paces.len() > MAX_TENANTS {
            paces.retain_recent();
        }
        paces.check_key(tenant).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use crate::event::{SessionId, UserId};

    use super::*;

    #[test]
    fn a_burst_is_taken_then_refused_then_the_end() {
        let mut pace = Pace::of_member();
        let now = Instant::now();
        let burst = MEMBER_MESSAGE_BURST.get();
        // A slow machine may let some more pass meanwhile.
        let refused_after = (0..10 * burst).take_while(|_| pace.check(now).is_ok()).count();
        assert!(refused_after >= burst as usize, "{refused_after}");
        let last = (0..10 * burst).find_map(|_| pace.check(now).err().filter(|over| *over == Over::Closed));
        assert_eq!(last, Some(Over::Closed));
    }

    #[test]
    fn what_was_refused_long_ago_is_forgiven() {
        let mut pace = Pace::of_visitor();
        let now = Instant::now();
        let later = now + FORGIVEN_AFTER * 2;
        while pace.check(now) != Err(Over::Closed) {}
        while pace.check(later).is_ok() {}
        assert_eq!(pace.refused, 1);
    }

    #[test]
    fn a_tenants_visitors_do_not_use_up_its_members_rate() {
        let paces = TenantPaces::default();
        let (acme, other) = (TenantId::parse("acme").unwrap(), TenantId::parse("other").unwrap());
        let visitor = Viewer::Visitor { session: SessionId::parse("session-of-16-chars").unwrap() };
        let member = Viewer::Member { user: UserId::parse("kim").unwrap() };
        while paces.has_room(&visitor, &acme) {}
        assert!(paces.has_room(&member, &acme) && paces.has_room(&visitor, &other));
    }
}
