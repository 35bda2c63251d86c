//! Which addresses a cluster's services have.
//!
//! The kernel's rules know addresses, not clusters: of two clusters on one machine with the same addresses, one would get
//! the other's connections.
//! **Contract**: who has claimed a range has it alone on this machine, until the claim is dropped or the process ends.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::str::FromStr;

/// kubeadm's default.
const DEFAULT: Range = Range { network: Ipv4Addr::new(10, 96, 0, 0), bits: 12 };
/// What is claimed is so many bits long, or a multiple.
const BLOCK: u8 = 16;
/// The largest and the smallest range. **Upstream**: kube-apiserver takes up to 20 bits for hosts; we need a few addresses.
const LARGEST: u8 = 12;
const SMALLEST: u8 = 24;
/// The blocks of other clusters: `10.FIRST.0.0/16` and those after it.
const FIRST_BLOCK: u8 = 112;
const BLOCKS: u8 = 80;

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    network: Ipv4Addr,
    bits: u8,
}

impl Default for Range {
    fn default() -> Self {
        DEFAULT
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
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
        Ok(Self { network, bits })
    }
}

fn mask(bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)
}

impl Range {
    /// As the API server takes it.
    pub(crate) fn cidr(self) -> (IpAddr, u8) {
        (self.network.into(), self.bits)
    }

    /// The DNS service's address. **Upstream**: kubeadm's `GetDNSIP`, the tenth.
    pub(crate) fn dns(self) -> IpAddr {
        Ipv4Addr::from(u32::from(self.network) + 10).into()
    }

    fn overlaps(self, other: Self) -> bool {
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
        // A name in the abstract namespace is the network namespace's, as the rules are, and goes with its process.
        let claim = |block| {
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(format!("minik-services-{block}"))?)
        };
        blocks.map(claim).collect::<io::Result<_>>().map(|sockets| Claim { _sockets: sockets })
    }

    /// A range that nobody has: the default for `preferred`, otherwise one that depends on the name, so that it is mostly
    /// the same again.
    pub(crate) fn free(name: &str, preferred: bool, taken: &[Self]) -> Option<(Self, Claim)> {
        let routes = std::fs::read_to_string("/proc/net/route").map(|text| routes(&text)).unwrap_or_default();
        let usable = |range: &Self| !taken.iter().chain(&routes).any(|other| other.overlaps(*range));
        let start = name.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        let others = (0..u32::from(BLOCKS)).map(|step| {
            let block = start.wrapping_add(step) % u32::from(BLOCKS);
            let second = FIRST_BLOCK + u8::try_from(block).unwrap_or_default();
            Self { network: Ipv4Addr::new(10, second, 0, 0), bits: BLOCK }
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

/// The networks that this machine has routes to, from the kernel's table; not the default route.
fn routes(table: &str) -> Vec<Range> {
    let route = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let number = |text: Option<&str>| u32::from_str_radix(text?, 16).ok().map(u32::from_be);
        let (network, mask) = (number(fields.next())?, number(fields.nth(5))?);
        let bits = u8::try_from(mask.count_ones()).ok().filter(|bits| *bits > 0)?;
        Some(Range { network: network.into(), bits })
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
        assert_ne!(Range::free("x", false, &[first]).expect("one is free").0, first);
    }

    #[test]
    fn reads_the_kernels_routes() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
            eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\n\
            docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\n";
        let expected = Range { network: Ipv4Addr::new(172, 17, 0, 0), bits: 16 };
        assert_eq!(routes(table), [expected]);
    }
}
