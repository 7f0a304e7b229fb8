//! Bounds for people without a token: handshakes per address, messages per connection.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::http::Problem;

/// Handshakes of one address: a burst, then so many a second.
const HANDSHAKE_BURST: NonZeroU32 = NonZeroU32::new(60).expect("60 is not 0");
const HANDSHAKES_PER_SECOND: NonZeroU32 = NonZeroU32::new(2).expect("2 is not 0");
/// Messages of one visitor's connection.
const MESSAGES_PER_SECOND: NonZeroU32 = NonZeroU32::new(5).expect("5 is not 0");
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

pub fn visitor_messages() -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_second(MESSAGES_PER_SECOND))
}
