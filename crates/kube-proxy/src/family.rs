//! The families of IP: what differs between them in the API's words and in nftables'.

use k8s_openapi::api::core::v1::Pod;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// An address, if the text is one of this family.
    pub fn parse(self, text: &str) -> Option<IpAddr> {
        text.parse().ok().filter(|address| Self::of(*address) == self)
    }

    /// A block of addresses, if the text is one of this family.
    pub fn block(self, cidr: &str) -> Option<&str> {
        let (address, _) = cidr.split_once('/')?;
        self.parse(address).map(|_| cidr)
    }

    /// The address of a pod that packets of this family come from and go to: none once it has ended, and none where it has the
    /// machine's.
    pub fn address_of(self, pod: &Pod) -> Option<IpAddr> {
        let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
        let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if ended || spec.host_network == Some(true) {
            return None;
        }
        let mut addresses = status.pod_ips.iter().flatten().map(|ip| &ip.ip).chain(&status.pod_ip);
        addresses.find_map(|address| self.parse(address))
    }

    /// As EndpointSlices and Services spell it.
    pub fn api(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// Its tables, and its addresses in a rule: `ip saddr`.
    pub fn nft(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    /// An address in a set.
    pub fn nft_type(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }

    /// Addresses of the machine at which nothing comes in from elsewhere, so that nothing can be led on from there.
    pub(crate) fn nft_within(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.0/8",
            Self::V6 => "{ ::1, fe80::/10 }",
        }
    }

    /// The loopback.
    pub(crate) fn localhost(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// Any address of the machine.
    pub(crate) fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_of_a_family() {
        for (text, v4, v6) in [("10.0.0.1", true, false), ("fd00::1", false, true), ("x", false, false)] {
            assert_eq!(
                (Family::V4.parse(text).is_some(), Family::V6.parse(text).is_some()),
                (v4, v6),
                "{text}"
            );
        }
        assert_eq!(Family::V6.block("fd00::/8"), Some("fd00::/8"));
        assert_eq!((Family::V4.block("fd00::/8"), Family::V4.block("10.0.0.1")), (None, None));
    }
}
