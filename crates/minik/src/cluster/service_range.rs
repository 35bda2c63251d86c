//! Which addresses a cluster's services have.
//!
//! The kernel's rules know addresses, not clusters: of two clusters on one machine with the same addresses, one would get
//! the other's connections.
//! **Contract**: who has claimed a range has it alone on this machine, until the claim is dropped or the process ends.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::str::FromStr;

/// kubeadm's default.
const DEFAULT: Range = Range { network: Ipv4Addr::new(10, 96, 0, 0), bits: 12, six: None };
/// kind's default for the other family.
const DEFAULT_SIX: Six = Six { network: Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0), bits: 112 };
/// What is claimed is so many bits long, or a multiple.
const BLOCK: u8 = 16;
/// The largest and the smallest range. **Upstream**: kube-apiserver takes up to 20 bits for hosts; we need a few addresses.
const LARGEST: u8 = 12;
const SMALLEST: u8 = 24;
/// The same of IPv6. **Upstream**: up to 20 bits for hosts.
const LARGEST_SIX: u8 = 108;
const SMALLEST_SIX: u8 = 120;
/// The blocks of other clusters: `10.FIRST.0.0/16` and those after it.
const FIRST_BLOCK: u8 = 112;
const BLOCKS: u8 = 80;

/// The families of addresses that pods and services have.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum IpFamily {
    /// IPv4.
    #[default]
    Ipv4,
    /// IPv4, and IPv6 beside it.
    Dual,
}

/// A range of addresses; in a cluster with both families one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    network: Ipv4Addr,
    bits: u8,
    six: Option<Six>,
}

/// A range of addresses of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Six {
    network: Ipv6Addr,
    bits: u8,
}

impl Default for Range {
    fn default() -> Self {
        DEFAULT
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)?;
        self.six.map_or(Ok(()), |six| write!(f, ",{six}"))
    }
}

impl fmt::Display for Six {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((four, six)) = text.split_once(',') {
            return Ok(Self { six: Some(six.parse()?), ..four.parse()? });
        }
        let parsed = |(network, bits): (&str, &str)| {
            Some((network.parse::<Ipv4Addr>().ok()?, bits.parse::<u8>().ok()?))
        };
        let parts = text.split_once('/').and_then(parsed);
        let Some((network, bits)) = parts.filter(|(_, bits)| *bits <= 32) else {
            return Err(format!("invalid CIDR address: {text}"));
        };
        if !(LARGEST..=SMALLEST).contains(&bits) {
            return Err(format!("{text}: from /{LARGEST} to /{SMALLEST} is possible"));
        }
        let network = Ipv4Addr::from(u32::from(network) & mask(bits));
        Ok(Self { network, bits, six: None })
    }
}

impl FromStr for Six {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = |(network, bits): (&str, &str)| {
            Some((network.parse::<Ipv6Addr>().ok()?, bits.parse::<u8>().ok()?))
        };
        let Some((network, bits)) = text.split_once('/').and_then(parsed) else {
            return Err(format!("{text}: after a range of IPv4 and a comma, one of IPv6 is possible"));
        };
        if !(LARGEST_SIX..=SMALLEST_SIX).contains(&bits) {
            return Err(format!("{text}: from /{LARGEST_SIX} to /{SMALLEST_SIX} is possible"));
        }
        Ok(Self { network: Ipv6Addr::from(u128::from(network) & mask_six(bits)), bits })
    }
}

fn mask_six(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

impl Six {
    fn overlaps(self, other: Self) -> bool {
        let shared = mask_six(self.bits.min(other.bits));
        u128::from(self.network) & shared == u128::from(other.network) & shared
    }

    /// What is claimed: the largest range that it can be part of.
    fn block(self) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.network) & mask_six(LARGEST_SIX))
    }
}

/// A number that depends on a name, so that it is mostly the same again.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()))
}

fn mask(bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)
}

impl Range {
    /// As the API server takes it.
    pub(crate) fn cidr(self) -> (IpAddr, u8) {
        (self.network.into(), self.bits)
    }

    /// The one of IPv6, if the cluster has both.
    pub(crate) fn secondary_cidr(self) -> Option<(IpAddr, u8)> {
        self.six.map(|six| (six.network.into(), six.bits))
    }

    /// The one of IPv6 as text.
    pub(crate) fn secondary(self) -> Option<String> {
        self.six.map(|six| six.to_string())
    }

    /// That of IPv4 as text.
    pub(crate) fn primary(self) -> String {
        Self { six: None, ..self }.to_string()
    }

    /// Which families it has.
    pub fn family(self) -> IpFamily {
        if self.six.is_some() { IpFamily::Dual } else { IpFamily::Ipv4 }
    }

    /// The same in a cluster with both families; the other range is one that nobody has.
    #[must_use]
    pub(crate) fn with_both(self, name: &str, preferred: bool, taken: &[Self]) -> Self {
        let others = (0..=u16::MAX).map(|step| {
            // Blocks of /108, which is what is claimed, beside kind's.
            let block = (hash(name) as u16).wrapping_add(step);
            Six { network: Ipv6Addr::new(0xfd00, 0x10, 0x96, 1, block, 0, 0, 0), bits: DEFAULT_SIX.bits }
        });
        let usable = |six: &Six| {
            let overlaps = |other: &Self| other.six.is_some_and(|other| other.overlaps(*six));
            !taken.iter().any(overlaps) && claim_name(six.block()).is_ok()
        };
        let candidates = preferred.then_some(DEFAULT_SIX).into_iter().chain(others);
        Self { six: self.six.or_else(|| { candidates }.find(usable)), ..self }
    }

    /// The DNS service's address. **Upstream**: kubeadm's `GetDNSIP`, the tenth.
    pub(crate) fn dns(self) -> IpAddr {
        Ipv4Addr::from(u32::from(self.network) + 10).into()
    }

    fn overlaps(self, other: Self) -> bool {
        if let (Some(six), Some(other)) = (self.six, other.six)
            && six.overlaps(other)
        {
            return true;
        }
        let shared = mask(self.bits.min(other.bits));
        u32::from(self.network) & shared == u32::from(other.network) & shared
    }

    /// Takes the range for this process; `AddrInUse` if another has it, or a part of it.
    ///
    /// # Errors
    /// As said.
    pub(crate) fn claim(self) -> io::Result<Claim> {
        let bits = self.bits.min(BLOCK);
        let first = u32::from(self.network) & mask(bits);
        let blocks =
            (0..1_u32 << (BLOCK - bits)).map(|block| Ipv4Addr::from(first + (block << (32 - BLOCK))));
        let blocks = blocks.map(IpAddr::from).chain(self.six.map(|six| six.block().into()));
        blocks.map(claim_name).collect::<io::Result<_>>().map(|sockets| Claim { _sockets: sockets })
    }

    /// A range that nobody has: the default for `preferred`, otherwise one that depends on the name, so that it is mostly
    /// the same again.
    pub(crate) fn free(name: &str, preferred: bool, taken: &[Self]) -> Option<(Self, Claim)> {
        let routes = std::fs::read_to_string("/proc/net/route").map(|text| routes(&text)).unwrap_or_default();
        let usable = |range: &Self| !taken.iter().chain(&routes).any(|other| other.overlaps(*range));
        let start = hash(name);
        let others = (0..u32::from(BLOCKS)).map(|step| {
            let block = start.wrapping_add(step) % u32::from(BLOCKS);
            let second = FIRST_BLOCK + u8::try_from(block).unwrap_or_default();
            Self { network: Ipv4Addr::new(10, second, 0, 0), bits: BLOCK, six: None }
        });
        let candidates = preferred.then_some(DEFAULT).into_iter().chain(others).filter(usable);
        candidates.into_iter().find_map(|range| Some((range, range.claim().ok()?)))
    }
}

/// A range is this process's for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Claim {
    _sockets: Vec<UnixDatagram>,
}

/// A name in the abstract namespace is the network namespace's, as the rules are, and goes with its process.
fn claim_name(block: impl Into<IpAddr>) -> io::Result<UnixDatagram> {
    let name = format!("minik-services-{}", block.into());
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

/// Addresses of IPv6 for the pods of a profile: kind's for the default one, others beside them, none that this machine has a
/// route to.
pub(crate) fn pods_v6(name: &str, preferred: bool) -> Option<String> {
    const DEFAULT: Six = Six { network: Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 0), bits: 56 };
    let table = std::fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    let routes = routes_v6(&table);
    let others = (0..=u16::MAX).map(|step| {
        let block = (hash(name) as u16).wrapping_add(step).max(0x100);
        Six { network: Ipv6Addr::new(0xfd00, 0x10, 0x244, block, 0, 0, 0, 0), bits: 64 }
    });
    let candidates = preferred.then_some(DEFAULT).into_iter().chain(others);
    { candidates }.find(|six| !routes.iter().any(|route| route.overlaps(*six))).map(|six| six.to_string())
}

/// The networks of IPv6 that this machine has routes to; not the default route.
fn routes_v6(table: &str) -> Vec<Six> {
    let route = |line: &str| {
        let mut fields = line.split_whitespace();
        let network = u128::from_str_radix(fields.next()?, 16).ok()?;
        let bits = u8::from_str_radix(fields.next()?, 16).ok().filter(|bits| *bits > 0)?;
        Some(Six { network: network.into(), bits })
    };
    table.lines().filter_map(route).collect()
}

/// The networks that this machine has routes to, from the kernel's table; not the default route.
fn routes(table: &str) -> Vec<Range> {
    let route = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let number = |text: Option<&str>| u32::from_str_radix(text?, 16).ok().map(u32::from_be);
        let (network, mask) = (number(fields.next())?, number(fields.nth(5))?);
        let bits = u8::try_from(mask.count_ones()).ok().filter(|bits| *bits > 0)?;
        Some(Range { network: network.into(), bits, six: None })
    };
    table.lines().skip(1).filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ranges() {
        for (text, read) in [
            ("10.96.0.0/12", Ok("10.96.0.0/12")),
            ("10.97.1.2/16", Ok("10.97.0.0/16")),
            ("10.0.0.0/8", Err("10.0.0.0/8: from /12 to /24 is possible")),
            ("10.0.0.0/33", Err("invalid CIDR address: 10.0.0.0/33")),
            ("fd00::/108", Err("invalid CIDR address: fd00::/108")),
            ("10.0.0.0", Err("invalid CIDR address: 10.0.0.0")),
            ("10.97.1.2/16,fd00:10:96::7/112", Ok("10.97.0.0/16,fd00:10:96::/112")),
            ("10.97.0.0/16,fd00::/64", Err("fd00::/64: from /108 to /120 is possible")),
            (
                "10.97.0.0/16,10.98.0.0/16",
                Err("10.98.0.0/16: after a range of IPv4 and a comma, one of IPv6 is possible"),
            ),
        ] {
            let range = text.parse::<Range>().map(|range| range.to_string());
            assert_eq!(range.as_deref().map_err(String::as_str), read);
        }
        assert_eq!(DEFAULT.dns().to_string(), "10.96.0.10");
    }

    #[test]
    fn what_one_has_another_has_not() {
        let range = |text: &str| text.parse::<Range>().expect("a range");
        let claim = range("10.250.16.0/20").claim().expect("free");
        for (other, free) in [("10.250.0.0/24", false), ("10.240.0.0/12", false), ("10.251.0.0/16", true)] {
            assert_eq!(range(other).claim().is_ok(), free, "{other}");
        }
        drop(claim);
        range("10.240.0.0/12").claim().expect("free again");
    }

    #[test]
    fn a_free_range_is_in_nobodys_way() {
        let (first, claim) = Range::free("x", false, &[]).expect("one is free");
        let (second, _) = Range::free("x", false, &[]).expect("one is free");
        assert!(!first.overlaps(second));
        drop(claim);
        assert_eq!(Range::free("x", false, &[]).expect("one is free").0, first);
        let both = first.with_both("x", false, &[]);
        assert_eq!((both.family(), both.primary()), (IpFamily::Dual, first.to_string()));
        assert_eq!(both.to_string().parse(), Ok(both));
        assert_ne!(first.with_both("x", false, &[both]), both);
        let claim = both.claim().expect("free");
        assert_ne!(first.with_both("x", false, &[]), both, "somebody has it");
        drop(claim);
        assert_ne!(Range::free("x", false, &[first]).expect("one is free").0, first);
    }

    #[test]
    fn reads_the_kernels_routes() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
            eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\n\
            docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\n";
        let expected = Range { network: Ipv4Addr::new(172, 17, 0, 0), bits: 16, six: None };
        assert_eq!(routes(table), [expected]);
        let table = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 x eth0\n\
            fd000010024400000000000000000000 38 00000000000000000000000000000000 00 x br-1\n";
        let route = Six { network: "fd00:10:244::".parse().expect("an address"), bits: 56 };
        assert_eq!(routes_v6(table), [route]);
    }
}
