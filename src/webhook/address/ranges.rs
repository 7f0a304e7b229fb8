//! The table of special-purpose addresses (IANA registries for IPv4 and IPv6), read as "is this a public host?".
//! Where the registries call a protocol's own range reachable, it is refused all the same: no receiver lives there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// A range whose addresses are not public hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialRange {
    ThisNetwork,
    Unspecified,
    Loopback,
    Private,
    UniqueLocal,
    CarrierNat,
    LinkLocal,
    SiteLocal,
    CloudMetadata,
    ProtocolAssignment,
    Documentation,
    Benchmarking,
    SixToFourRelay,
    SixToFour,
    Teredo,
    LocalNat64,
    Orchid,
    SegmentRouting,
    Discard,
    Multicast,
    Broadcast,
    Reserved,
    NotGlobalUnicast,
}

impl SpecialRange {
    /// The range in a few words, as they stand before "address".
    pub fn name(self) -> &'static str {
        match self {
            Self::ThisNetwork => "this-network",
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::UniqueLocal => "unique-local",
            Self::CarrierNat => "carrier-grade NAT",
            Self::LinkLocal => "link-local",
            Self::SiteLocal => "site-local",
            Self::CloudMetadata => "cloud metadata",
            Self::ProtocolAssignment => "IETF protocol",
            Self::Documentation => "documentation",
            Self::Benchmarking => "benchmarking",
            Self::SixToFourRelay => "6to4 relay",
            Self::SixToFour => "6to4",
            Self::Teredo => "Teredo",
            Self::LocalNat64 => "local-use NAT64",
            Self::Orchid => "ORCHID",
            Self::SegmentRouting => "segment routing",
            Self::Discard => "discard-only",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Reserved => "reserved",
            Self::NotGlobalUnicast => "non-public IPv6",
        }
    }
}

/// The special range `ip` lies in; `None` is a public address.
pub(super) fn special_range(ip: IpAddr) -> Option<SpecialRange> {
    match ip {
        IpAddr::V4(ip) => special_v4(ip),
        IpAddr::V6(ip) => special_v6(ip),
    }
}

fn special_v4(ip: Ipv4Addr) -> Option<SpecialRange> {
    V4.iter().find(|(net, _)| net.contains(&ip)).map(|(_, range)| *range)
}

fn special_v6(ip: Ipv6Addr) -> Option<SpecialRange> {
    // Both are ways of writing an IPv4 address: what counts is the host at the other end.
    if let Some(inner) = ip.to_ipv4_mapped() {
        return special_v4(inner);
    }
    if NAT64.contains(&ip) {
        return special_v4(last_32_bits(ip));
    }
    if let Some((_, range)) = V6.iter().find(|(net, _)| net.contains(&ip)) {
        return Some(*range);
    }
    // Long deprecated and never public, but the inner address gives the refusal a better name.
    if V4_COMPATIBLE.contains(&ip) {
        return special_v4(last_32_bits(ip)).or(Some(SpecialRange::NotGlobalUnicast));
    }
    (!GLOBAL_UNICAST.contains(&ip)).then_some(SpecialRange::NotGlobalUnicast)
}

fn last_32_bits(ip: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = ip.octets();
    Ipv4Addr::new(a, b, c, d)
}

const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0], 3);
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0], 96);
const V4_COMPATIBLE: Ipv6Net = v6([0, 0, 0, 0], 96);

/// The first match counts, so a range within a range comes first.
const V4: &[(Ipv4Net, SpecialRange)] = &[
    (v4([0, 0, 0, 0], 8), SpecialRange::ThisNetwork),
    (v4([10, 0, 0, 0], 8), SpecialRange::Private),
    (v4([100, 100, 100, 200], 32), SpecialRange::CloudMetadata), // Alibaba
    (v4([100, 64, 0, 0], 10), SpecialRange::CarrierNat),
    (v4([127, 0, 0, 0], 8), SpecialRange::Loopback),
    // Azure's host agent. It looks public, but is answered by the machine's own hypervisor.
    (v4([168, 63, 129, 16], 32), SpecialRange::CloudMetadata),
    (v4([169, 254, 169, 254], 32), SpecialRange::CloudMetadata),
    (v4([169, 254, 0, 0], 16), SpecialRange::LinkLocal),
    (v4([172, 16, 0, 0], 12), SpecialRange::Private),
    (v4([192, 0, 0, 192], 32), SpecialRange::CloudMetadata), // Oracle
    (v4([192, 0, 0, 0], 24), SpecialRange::ProtocolAssignment),
    (v4([192, 0, 2, 0], 24), SpecialRange::Documentation),
    (v4([192, 31, 196, 0], 24), SpecialRange::ProtocolAssignment), // AS112
    (v4([192, 52, 193, 0], 24), SpecialRange::ProtocolAssignment), // AMT
    (v4([192, 88, 99, 0], 24), SpecialRange::SixToFourRelay),
    (v4([192, 168, 0, 0], 16), SpecialRange::Private),
    (v4([192, 175, 48, 0], 24), SpecialRange::ProtocolAssignment), // AS112
    (v4([198, 18, 0, 0], 15), SpecialRange::Benchmarking),
    (v4([198, 51, 100, 0], 24), SpecialRange::Documentation),
    (v4([203, 0, 113, 0], 24), SpecialRange::Documentation),
    (v4([224, 0, 0, 0], 4), SpecialRange::Multicast),
    (v4([255, 255, 255, 255], 32), SpecialRange::Broadcast),
    (v4([240, 0, 0, 0], 4), SpecialRange::Reserved),
];

/// As `V4`. What is neither here nor in 2000::/3 is refused too; those rows are here to be named.
const V6: &[(Ipv6Net, SpecialRange)] = &[
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), SpecialRange::Unspecified),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), SpecialRange::Loopback),
    (v6([0x64, 0xff9b, 1, 0], 48), SpecialRange::LocalNat64),
    (v6([0x100, 0, 0, 0], 64), SpecialRange::Discard),
    (v6([0x100, 0, 0, 1], 64), SpecialRange::Discard), // the dummy prefix, RFC 9780
    (v6([0x2001, 0, 0, 0], 32), SpecialRange::Teredo),
    (v6([0x2001, 2, 0, 0], 48), SpecialRange::Benchmarking),
    (v6([0x2001, 0x10, 0, 0], 28), SpecialRange::Orchid),
    (v6([0x2001, 0x20, 0, 0], 28), SpecialRange::Orchid),
    (v6([0x2001, 0, 0, 0], 23), SpecialRange::ProtocolAssignment),
    (v6([0x2001, 0xdb8, 0, 0], 32), SpecialRange::Documentation),
    // The prefix holds an IPv4 address that a relay anywhere may be asked to reach.
    (v6([0x2002, 0, 0, 0], 16), SpecialRange::SixToFour),
    (v6([0x2620, 0x4f, 0x8000, 0], 48), SpecialRange::ProtocolAssignment), // AS112
    (v6([0x3fff, 0, 0, 0], 20), SpecialRange::Documentation),
    (v6([0x5f00, 0, 0, 0], 16), SpecialRange::SegmentRouting),
    // fd00:ec2::254 (Amazon) and fd20:ce::254 (Google) are within.
    (v6([0xfc00, 0, 0, 0], 7), SpecialRange::UniqueLocal),
    (v6([0xfe80, 0, 0, 0], 10), SpecialRange::LinkLocal),
    (v6([0xfec0, 0, 0, 0], 10), SpecialRange::SiteLocal),
    (v6([0xff00, 0, 0, 0], 8), SpecialRange::Multicast),
];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([a, b, c, d]: [u16; 4], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), prefix)
}

#[cfg(test)]
mod tests {
    use super::SpecialRange::*;
    use super::*;

    /// First and last address of each range, so that an edge off by one shows.
    const SPECIAL: &[(SpecialRange, &[&str])] = &[
        (ThisNetwork, &["0.0.0.0", "0.255.255.255"]),
        (Private, &["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255"]),
        (CarrierNat, &["100.64.0.0", "100.127.255.255"]),
        (Loopback, &["127.0.0.0", "127.255.255.255", "::1"]),
        (LinkLocal, &["169.254.0.0", "169.254.255.255", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]),
        (CloudMetadata, &["169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192"]),
        (ProtocolAssignment, &["192.0.0.0", "192.0.0.255", "192.31.196.0", "192.31.196.255", "192.52.193.0"]),
        (ProtocolAssignment, &["192.52.193.255", "192.175.48.0", "192.175.48.255", "2001:1::1", "2001:1ff:ffff::"]),
        (ProtocolAssignment, &["2001:4:112::", "2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"]),
        (Documentation, &["192.0.2.0", "192.0.2.255", "198.51.100.255", "203.0.113.0", "203.0.113.255"]),
        (Documentation, &["2001:db8::", "2001:db8:ffff::1", "3fff::", "3fff:fff:ffff::"]),
        (SixToFourRelay, &["192.88.99.0", "192.88.99.255"]),
        (Benchmarking, &["198.18.0.0", "198.19.255.255", "2001:2::", "2001:2:0:ffff::"]),
        (Multicast, &["224.0.0.0", "239.255.255.255", "ff00::", "ff02::1", "ffff::"]),
        (Reserved, &["240.0.0.0", "255.255.255.254"]),
        (Broadcast, &["255.255.255.255"]),
        (Unspecified, &["::"]),
        (LocalNat64, &["64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"]),
        (Discard, &["100::", "100::ffff:ffff:ffff:ffff", "100:0:0:1::"]),
        (Teredo, &["2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff"]),
        (Orchid, &["2001:10::", "2001:1f:ffff::", "2001:20::", "2001:2f:ffff::"]),
        (SixToFour, &["2002::", "2002:7f00:1::", "2002:808:808::", "2002:ffff:ffff::"]),
        (SegmentRouting, &["5f00::", "5f00:ffff::"]),
        (UniqueLocal, &["fc00::", "fd00:ec2::254", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]),
        (SiteLocal, &["fec0::", "feff:ffff::"]),
        (NotGlobalUnicast, &["::8.8.8.8", "::ffff:0:8.8.8.8", "1fff:ffff::", "4000::", "64:ff9b:0:1::1", "fe00::"]),
    ];

    const PUBLIC: &[&str] = &[
        "1.0.0.0",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.1.0",
        "192.0.3.0",
        "192.31.195.255",
        "192.31.197.0",
        "192.52.192.255",
        "192.52.194.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "192.175.47.255",
        "192.175.49.0",
        "198.17.255.255",
        "198.20.0.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "2000::",
        "2001:200::",
        "2001:4860:4860::8888",
        "2001:db7:ffff::",
        "2001:db9::",
        "2003::",
        "2606:4700:4700::1111",
        "2620:4f:7fff::",
        "2620:4f:8001::",
        "3fff:1000::",
    ];

    fn range_of(text: &str) -> Option<SpecialRange> {
        special_range(text.parse().expect(text))
    }

    #[test]
    fn each_range_is_named_from_its_first_to_its_last_address() {
        for (range, addresses) in SPECIAL {
            for address in *addresses {
                assert_eq!(range_of(address), Some(*range), "{address}");
            }
        }
    }

    #[test]
    fn the_neighbours_of_the_ranges_are_public() {
        for address in PUBLIC {
            assert_eq!(range_of(address), None, "{address}");
        }
    }

    proptest::proptest! {
        #[test]
        fn mapped_and_nat64_addresses_inherit_the_verdict_of_the_v4_inside(bits: u32) {
            let inner = Ipv4Addr::from_bits(bits);
            let verdict = special_range(inner.into());
            let nat64 = Ipv6Addr::from_bits(0x64_ff9b << 96 | u128::from(bits));
            proptest::prop_assert_eq!(special_range(inner.to_ipv6_mapped().into()), verdict);
            proptest::prop_assert_eq!(special_range(nat64.into()), verdict);
        }

        #[test]
        fn an_embedded_address_never_passes_elsewhere(bits: u32) {
            let compatible = Ipv6Addr::from_bits(u128::from(bits));
            let six_to_four = Ipv6Addr::from_bits(0x2002 << 112 | u128::from(bits) << 80 | 1);
            proptest::prop_assert!(special_range(compatible.into()).is_some());
            proptest::prop_assert_eq!(special_range(six_to_four.into()), Some(SixToFour));
        }

        #[test]
        fn nothing_but_global_unicast_mapped_and_nat64_is_public(bits: u128) {
            let ip = Ipv6Addr::from_bits(bits);
            let may_be_public = bits >> 125 == 1 || ip.to_ipv4_mapped().is_some() || bits >> 32 == 0x64_ff9b << 64;
            proptest::prop_assert!(may_be_public || special_range(ip.into()).is_some());
        }
    }
}
