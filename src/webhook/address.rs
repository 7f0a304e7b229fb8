//! Which addresses a webhook may be sent to: the whole check against server-side request forgery, as plain values.
//! It looks nothing up; names are vetted by `resolver`, with the same policy, when they are dialled.

mod ranges;

use std::net::IpAddr;

use ipnet::IpNet;
use url::Url;

pub use ranges::SpecialRange;

/// What may be dialled: public addresses, and the networks the operator named in `WEBHOOK_ALLOW_NETS`.
#[derive(Debug, Clone, Default)]
pub struct AddressPolicy {
    allow: Vec<IpNet>,
}

/// Why an address may not be dialled.
///
/// The text is shown to tenants, so it names the rule and the setting and never the address: an answer that echoed what
/// a name resolves to would map the operator's network for whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} address; WEBHOOK_ALLOW_NETS permits it", .0.name())]
pub struct Refusal(pub SpecialRange);

/// Why a URL may not be a webhook's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefusal {
    /// Not an absolute URL; the reason is the parser's.
    #[error("not a valid URL: {0}")]
    Malformed(String),
    /// An address literal such as `[fe80::1%eth0]`, which means something on one machine only.
    #[error("an IPv6 address with a zone id is not accepted")]
    ZoneId,
    /// Anything but `http` and `https`.
    #[error("scheme must be http or https")]
    Scheme,
    /// `user:password@`: it would end up in logs and in answers.
    #[error("user name and password do not belong in the URL; send them in the webhook's headers")]
    UserInfo,
    /// No host to dial.
    #[error("host is missing")]
    NoHost,
    /// Port 0 names no service.
    #[error("port 0 cannot be dialled")]
    PortZero,
    /// The host is an address literal that may not be dialled.
    #[error(transparent)]
    Address(#[from] Refusal),
}

impl AddressPolicy {
    /// A policy that also permits the networks in `allow`, whatever range they lie in.
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self { allow }
    }

    /// Says whether `ip` may be dialled.
    ///
    /// # Errors
    /// `Refusal` when it lies in a special range that no allowed network covers.
    pub fn check_ip(&self, ip: IpAddr) -> Result<(), Refusal> {
        match ranges::special_range(ip) {
            Some(range) if !self.allows(ip) => Err(Refusal(range)),
            _ => Ok(()),
        }
    }

    /// Says whether `url` may be a webhook's: scheme, user info, port, and the host where it is an address literal.
    ///
    /// A host that is a name passes, `localhost` too: what it means is known only when it is dialled.
    ///
    /// # Errors
    /// Every `UrlRefusal` but `Malformed` and `ZoneId`, which no parsed URL can be.
    pub fn check_url(&self, url: &Url) -> Result<(), UrlRefusal> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(UrlRefusal::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlRefusal::UserInfo);
        }
        if url.port() == Some(0) {
            return Err(UrlRefusal::PortZero);
        }
        match url.host_str() {
            None | Some("") => Err(UrlRefusal::NoHost),
            Some(host) => match address_literal(host) {
                Some(ip) => Ok(self.check_ip(ip)?),
                None => Ok(()),
            },
        }
    }

    /// Parses `text` and says whether it may be a webhook's URL.
    ///
    /// # Errors
    /// Every `UrlRefusal`.
    pub fn parse_url(&self, text: &str) -> Result<Url, UrlRefusal> {
        let url = Url::parse(text).map_err(|reason| match has_zone_id(text) {
            true => UrlRefusal::ZoneId,
            false => UrlRefusal::Malformed(reason.to_string()),
        })?;
        self.check_url(&url)?;
        Ok(url)
    }

    fn allows(&self, ip: IpAddr) -> bool {
        // A v4-mapped address is dialled over IPv4, so an allowed IPv4 network speaks for it too.
        let canonical = ip.to_canonical();
        self.allow.iter().any(|net| net.contains(&ip) || net.contains(&canonical))
    }
}

/// The address a URL's host is written as. The URL parser has already turned `127.1`, `0x7f000001`, `2130706433` and
/// full-width digits into four decimals, so that what is checked here is what will be dialled.
pub(super) fn address_literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn has_zone_id(text: &str) -> bool {
    text.split_once("://[").and_then(|(_, rest)| rest.split_once(']')).is_some_and(|(literal, _)| literal.contains('%'))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use ipnet::{Ipv4Net, Ipv6Net};

    use super::*;

    fn allowing(nets: &[&str]) -> AddressPolicy {
        AddressPolicy::new(nets.iter().map(|net| net.parse().expect("a network")).collect())
    }

    fn refusal(url: &str) -> UrlRefusal {
        AddressPolicy::default().parse_url(url).expect_err(url)
    }

    #[test]
    fn ordinary_urls_and_names_are_accepted() {
        for url in [
            "https://hooks.example.com/in?key=1",
            "http://hooks.example.com:8080/",
            "HTTPS://EXAMPLE.COM",
            "https://8.8.8.8/",
            "https://[2606:4700::1111]:8443/",
            "http://localhost:3000/a-name-is-vetted-when-dialled",
            "http://api.localhost/",
        ] {
            AddressPolicy::default().parse_url(url).expect(url);
        }
    }

    #[test]
    fn urls_that_are_no_http_url_of_a_host_are_refused() {
        assert_eq!(refusal("ftp://example.com/"), UrlRefusal::Scheme);
        assert_eq!(refusal("file:///etc/passwd"), UrlRefusal::Scheme);
        assert_eq!(refusal("gopher://127.0.0.1:6379/_FLUSHALL"), UrlRefusal::Scheme);
        assert_eq!(refusal("https://user@example.com/"), UrlRefusal::UserInfo);
        assert_eq!(refusal("https://:secret@example.com/"), UrlRefusal::UserInfo);
        assert_eq!(refusal("https://example.com@127.0.0.1/"), UrlRefusal::UserInfo);
        assert_eq!(refusal("https://example.com:0/"), UrlRefusal::PortZero);
        assert!(matches!(refusal("https://"), UrlRefusal::Malformed(_)));
        assert!(matches!(refusal("/relative"), UrlRefusal::Malformed(_)));
        assert!(matches!(refusal("http://1.2.3.4.5/"), UrlRefusal::Malformed(_)));
        assert!(matches!(refusal("http://256.0.0.1/"), UrlRefusal::Malformed(_)));
    }

    #[test]
    fn an_address_literal_is_judged_however_it_is_written() {
        for host in [
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "0177.0.0.1",
            "0x7f.1",
            "0x7f000001",
            "017700000001",
            "2130706433",
            "%31%32%37.0.0.1",
            "①②⑦.⓪.⓪.①",
            "127。0。0。1",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
        ] {
            let refusal = refusal(&format!("http://{host}:8080/"));
            assert_eq!(refusal, UrlRefusal::Address(Refusal(SpecialRange::Loopback)), "{host}");
        }
        assert_eq!(refusal("http:\\\\0\\"), UrlRefusal::Address(Refusal(SpecialRange::ThisNetwork)));
        assert_eq!(refusal("http:/\t/[::]"), UrlRefusal::Address(Refusal(SpecialRange::Unspecified)));
    }

    #[test]
    fn a_zone_id_is_refused_by_name() {
        assert_eq!(refusal("http://[fe80::1%25eth0]/"), UrlRefusal::ZoneId);
        assert_eq!(refusal("http://[fe80::1%eth0]/"), UrlRefusal::ZoneId);
        assert!(matches!(refusal("http://[fe80::zz]/%"), UrlRefusal::Malformed(_)));
    }

    #[test]
    fn an_allowed_network_wins_for_its_own_addresses_only() {
        let policy = allowing(&["127.0.0.0/8", "10.1.0.0/16", "fd00:1::/32"]);
        for ip in ["127.0.0.1", "10.1.2.3", "::ffff:127.0.0.1", "fd00:1::5"] {
            policy.check_ip(ip.parse().expect("an address")).expect(ip);
        }
        // NAT64 and v4-compatible addresses leave by another route than the network that was allowed.
        for ip in ["10.2.0.1", "::1", "fd00:2::5", "64:ff9b::10.1.2.3", "::10.1.2.3", "169.254.169.254"] {
            policy.check_ip(ip.parse().expect("an address")).expect_err(ip);
        }
        policy.parse_url("http://127.1:9000/").expect("an allowed literal");
        allowing(&["64:ff9b::/96"]).check_ip("64:ff9b::10.1.2.3".parse().expect("an address")).expect("allowed");
    }

    #[test]
    fn the_text_names_the_rule_and_the_setting_and_not_the_address() {
        let text = refusal("http://169.254.169.254/latest/meta-data").to_string();
        assert_eq!(text, "cloud metadata address; WEBHOOK_ALLOW_NETS permits it");
        assert_eq!(refusal("http://127.0.0.1/").to_string(), "loopback address; WEBHOOK_ALLOW_NETS permits it");
    }

    proptest::proptest! {
        #[test]
        fn a_v4_mapped_address_is_judged_as_the_one_inside(bits: u32, net_bits: u32, prefix in 0_u8..=32) {
            let inner = Ipv4Addr::from_bits(bits);
            let net = Ipv4Net::new_assert(Ipv4Addr::from_bits(net_bits), prefix);
            for policy in [AddressPolicy::default(), AddressPolicy::new(vec![net.into()])] {
                let mapped = policy.check_ip(inner.to_ipv6_mapped().into());
                proptest::prop_assert_eq!(mapped, policy.check_ip(inner.into()));
            }
        }

        /// An allowed network does not speak for it: NAT64 leaves by another route.
        #[test]
        fn a_nat64_address_is_judged_as_the_one_inside_and_no_v4_network_opens_it(bits: u32) {
            let inner = Ipv4Addr::from_bits(bits);
            let nat64 = Ipv6Addr::from_bits(0x64_ff9b << 96 | u128::from(bits)).into();
            let verdict = AddressPolicy::default().check_ip(inner.into());
            proptest::prop_assert_eq!(AddressPolicy::default().check_ip(nat64), verdict);
            proptest::prop_assert_eq!(allowing(&["0.0.0.0/0"]).check_ip(nat64), verdict);
        }

        #[test]
        fn every_address_of_an_allowed_network_passes(
            net_bits: u128, prefix in 0_u8..=128, v4_prefix in 0_u8..=32, bits: u128,
        ) {
            let net = Ipv6Net::new_assert(Ipv6Addr::from_bits(net_bits), prefix);
            let host = bits & !net.netmask().to_bits() | net.network().to_bits();
            proptest::prop_assert_eq!(AddressPolicy::new(vec![net.into()]).check_ip(Ipv6Addr::from_bits(host).into()), Ok(()));
            let (net_bits, bits) = (net_bits as u32, bits as u32);
            let net = Ipv4Net::new_assert(Ipv4Addr::from_bits(net_bits), v4_prefix);
            let host = bits & !net.netmask().to_bits() | net.network().to_bits();
            proptest::prop_assert_eq!(AddressPolicy::new(vec![net.into()]).check_ip(Ipv4Addr::from_bits(host).into()), Ok(()));
        }

        /// Every way to write an address must be judged as the address is.
        #[test]
        fn a_literal_is_judged_as_its_address_however_it_is_written(bits: u32) {
            let ip = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = ip.octets();
            let verdict = AddressPolicy::default().check_ip(ip.into()).map_err(UrlRefusal::Address);
            let tail = u32::from_be_bytes([0, b, c, d]);
            for host in [
                ip.to_string(),
                bits.to_string(),
                format!("{bits:#x}"),
                format!("0{bits:o}"),
                format!("{a}.{tail}"),
                format!("0x{a:x}.0{b:o}.{c}.{d}"),
                format!("[::ffff:{ip}]"),
                format!("[64:ff9b::{ip}]"),
            ] {
                let judged = AddressPolicy::default().parse_url(&format!("http://{host}/")).map(|_| ());
                proptest::prop_assert_eq!(judged, verdict.clone(), "{}", host);
            }
        }

        #[test]
        fn a_refusal_holds_nothing_of_the_address(bits: u128, v4: u32) {
            for ip in [IpAddr::V6(Ipv6Addr::from_bits(bits)), Ipv4Addr::from_bits(v4).into()] {
                if let Err(refusal) = AddressPolicy::default().check_ip(ip) {
                    let words = ["6to4", "NAT64", "IPv6"].into_iter().fold(refusal.to_string(), |text, word| text.replace(word, ""));
                    proptest::prop_assert!(!words.contains(|c: char| c.is_ascii_digit() || c == ':'), "{}", words);
                }
            }
        }
    }
}
