//! The families of addresses that a cluster has.

use kube_proxy::Family;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The families of addresses that pods and services have.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum IpFamily {
    /// IPv4 alone.
    #[default]
    Ipv4,
    /// IPv6 alone.
    Ipv6,
    /// IPv4, and IPv6 beside it.
    Dual,
}

impl fmt::Display for IpFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.all().iter().map(|family| family.api()).collect::<Vec<_>>().join(" and "))
    }
}

impl IpFamily {
    /// Each of them, that of nodes' and services' first addresses first.
    pub(crate) fn all(self) -> &'static [Family] {
        match self {
            Self::Ipv4 => &[Family::V4],
            Self::Ipv6 => &[Family::V6],
            Self::Dual => &[Family::V4, Family::V6],
        }
    }

    /// The first of them.
    pub(crate) fn first(self) -> Family {
        self.all()[0]
    }

    /// Whether there are addresses of this family.
    pub(crate) fn has(self, family: Family) -> bool {
        self.all().contains(&family)
    }

    /// What is meant by a family that somebody asks for, and a range of services with these; none: they do not go together.
    pub(crate) fn agreed(asked: Option<Self>, of_range: Self) -> Option<Self> {
        match asked {
            None => Some(of_range),
            // The range of the other family is to be found.
            Some(Self::Dual) => Some(Self::Dual),
            Some(asked) => Some(asked).filter(|asked| *asked == of_range),
        }
    }
}

/// This machine's address of a family, which its nodes have; the loopback if it has none.
pub(crate) fn machine_address(family: Family) -> IpAddr {
    match family {
        Family::V4 => kubelet::machine_address(),
        Family::V6 => kubelet::machine_address_v6().unwrap_or(Ipv6Addr::LOCALHOST.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::IpFamily::{self, Dual, Ipv4, Ipv6};

    #[test]
    fn a_range_says_the_family_and_a_family_agrees_with_it() {
        for (asked, of_range, agreed) in [
            (None, Ipv4, Some(Ipv4)),
            (None, Ipv6, Some(Ipv6)),
            (None, Dual, Some(Dual)),
            (Some(Ipv4), Ipv4, Some(Ipv4)),
            (Some(Ipv4), Ipv6, None),
            (Some(Ipv4), Dual, None),
            (Some(Ipv6), Ipv6, Some(Ipv6)),
            (Some(Ipv6), Ipv4, None),
            (Some(Ipv6), Dual, None),
            (Some(Dual), Ipv4, Some(Dual)),
            (Some(Dual), Ipv6, Some(Dual)),
        ] {
            assert_eq!(IpFamily::agreed(asked, of_range), agreed, "{asked:?} {of_range}");
        }
        assert_eq!([Ipv4, Ipv6, Dual].map(|family| family.to_string()), ["IPv4", "IPv6", "IPv4 and IPv6"]);
    }
}
