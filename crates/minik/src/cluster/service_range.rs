//! Which addresses a cluster's services have.
//!
//! The kernel's rules know addresses, not clusters: of two clusters on one machine with the same addresses, one would get
//! the other's connections.
//! **Contract**: who has claimed a range has it alone on this machine, until the claim is dropped or the process ends.

use super::ip_family::IpFamily;
use kube_proxy::Family;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::str::FromStr;

/// kubeadm's default, and kind's of the other family.
const DEFAULT: Block = Block { network: IpAddr::V4(Ipv4Addr::new(10, 96, 0, 0)), bits: 12 };
const DEFAULT_V6: Block =
    Block { network: IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0)), bits: 112 };
/// kind's default for the pods of a cluster with IPv6.
const DEFAULT_PODS_V6: Block =
    Block { network: IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 0)), bits: 56 };
/// The blocks of other clusters: `10.FIRST.0.0/16` and those after it.
const FIRST_BLOCK: u8 = 112;
const BLOCKS: u8 = 80;

/// How large blocks of a family are, in bits that their addresses share.
struct Sizes {
    /// The largest and the smallest range. **Upstream**: kube-apiserver takes up to 20 bits for hosts; we need a few
    /// addresses.
    largest: u8,
    smallest: u8,
    /// What is claimed is so many bits long, or a multiple.
    claimed: u8,
}

impl Sizes {
    fn of(family: Family) -> Self {
        match family {
            Family::V4 => Self { largest: 12, smallest: 24, claimed: 16 },
            Family::V6 => Self { largest: 108, smallest: 120, claimed: 108 },
        }
    }
}

/// A range of addresses; in a cluster with both families one of each, that of IPv4 first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    first: Block,
    second: Option<Block>,
}

/// A range of addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    network: IpAddr,
    bits: u8,
}

impl Default for Range {
    fn default() -> Self {
        Self { first: DEFAULT, second: None }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        self.second.map_or(Ok(()), |second| write!(f, ",{second}"))
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((first, second)) = text.split_once(',') else {
            return Ok(Self { first: text.parse()?, second: None });
        };
        let (range, other): (Block, Block) = (first.parse()?, second.parse()?);
        if (range.family(), other.family()) != (Family::V4, Family::V6) {
            return Err(format!("{second}: after a range of IPv4 and a comma, one of IPv6 is possible"));
        }
        Ok(Self { first: range, second: Some(other) })
    }
}

impl FromStr for Block {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = |(network, bits): (&str, &str)| {
            let (network, bits) = (network.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?);
            (bits <= if network.is_ipv4() { 32 } else { 128 }).then_some((network, bits))
        };
        let Some((network, bits)) = text.split_once('/').and_then(parsed) else {
            return Err(format!("invalid CIDR address: {text}"));
        };
        let Sizes { largest, smallest, .. } = Sizes::of(Family::of(network));
        if !(largest..=smallest).contains(&bits) {
            return Err(format!("{text}: from /{largest} to /{smallest} is possible"));
        }
        Ok(Self { network: masked(network, bits), bits })
    }
}

/// The first address of the block of this size that has an address.
fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let hosts = u32::MAX.checked_shr(bits.into()).unwrap_or(0);
            Ipv4Addr::from(u32::from(address) & !hosts).into()
        }
        IpAddr::V6(address) => {
            let hosts = u128::MAX.checked_shr(bits.into()).unwrap_or(0);
            Ipv6Addr::from(u128::from(address) & !hosts).into()
        }
    }
}

/// The address so many after another.
fn after(address: IpAddr, count: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address).wrapping_add(count)).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address).wrapping_add(count.into())).into(),
    }
}

/// A number that depends on a name, so that it is mostly the same again.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()))
}

impl Block {
    fn family(self) -> Family {
        Family::of(self.network)
    }

    fn overlaps(self, other: Self) -> bool {
        let shared = self.bits.min(other.bits);
        self.family() == other.family() && masked(self.network, shared) == masked(other.network, shared)
    }

    /// What is claimed of the machine's names.
    fn claimed(self) -> impl Iterator<Item = IpAddr> {
        let claimed = Sizes::of(self.family()).claimed;
        let hosts = if self.network.is_ipv4() { 32 } else { 128 } - claimed;
        let first = masked(self.network, self.bits.min(claimed));
        (0..1_u32 << claimed.saturating_sub(self.bits)).map(move |block| after(first, block << hosts))
    }

    /// One for services that nobody has.
    fn free(family: Family, name: &str, preferred: bool, taken: &[Range]) -> Option<Self> {
        let routes = Self::routes(family);
        let taken = taken.iter().flat_map(|range| range.blocks()).chain(routes);
        let taken: Vec<Self> = taken.filter(|block| block.family() == family).collect();
        let usable = |block: &Self| {
            !taken.iter().any(|other| other.overlaps(*block)) && block.claimed().all(|at| claim(at).is_ok())
        };
        let (default, others) = match family {
            Family::V4 => (DEFAULT, u16::from(BLOCKS)),
            Family::V6 => (DEFAULT_V6, u16::MAX),
        };
        let others = (0..others).map(|step| Self::other(family, hash(name).wrapping_add(step.into())));
        { preferred.then_some(default).into_iter().chain(others) }.find(usable)
    }

    /// One of those beside the default, by number.
    fn other(family: Family, number: u32) -> Self {
        match family {
            Family::V4 => {
                let second = FIRST_BLOCK + (number % u32::from(BLOCKS)) as u8;
                Self { network: Ipv4Addr::new(10, second, 0, 0).into(), bits: 16 }
            }
            Family::V6 => {
                let network = Ipv6Addr::new(0xfd00, 0x10, 0x96, 1, number as u16, 0, 0, 0);
                Self { network: network.into(), bits: DEFAULT_V6.bits }
            }
        }
    }

    /// The networks that this machine has routes to; not the default route.
    fn routes(family: Family) -> Vec<Self> {
        let (path, read): (_, fn(&str) -> Vec<Self>) = match family {
            Family::V4 => ("/proc/net/route", routes),
            Family::V6 => ("/proc/net/ipv6_route", routes_v6),
        };
        std::fs::read_to_string(path).map(|table| read(&table)).unwrap_or_default()
    }
}

impl Range {
    /// As the API server takes it.
    pub(crate) fn cidr(self) -> (IpAddr, u8) {
        (self.first.network, self.first.bits)
    }

    /// That of the other family, if the cluster has both.
    pub(crate) fn secondary_cidr(self) -> Option<(IpAddr, u8)> {
        self.second.map(|block| (block.network, block.bits))
    }

    /// Each family's, as text.
    pub(crate) fn cidrs(self) -> impl Iterator<Item = (Family, String)> {
        self.blocks().map(|block| (block.family(), block.to_string()))
    }

    fn blocks(self) -> impl Iterator<Item = Block> {
        [self.first].into_iter().chain(self.second)
    }

    /// Which families it has.
    pub fn family(self) -> IpFamily {
        match (self.first.family(), self.second) {
            (_, Some(_)) => IpFamily::Dual,
            (Family::V4, None) => IpFamily::Ipv4,
            (Family::V6, None) => IpFamily::Ipv6,
        }
    }

    /// The DNS service's address. **Upstream**: kubeadm's `GetDNSIP`, the tenth.
    pub(crate) fn dns(self) -> IpAddr {
        after(self.first.network, 10)
    }

    /// Takes the range for this process; `AddrInUse` if another has it, or a part of it.
    ///
    /// # Errors
    /// As said.
    pub(crate) fn claim(self) -> io::Result<Claim> {
        let claimed = self.blocks().flat_map(Block::claimed).map(claim);
        claimed.collect::<io::Result<_>>().map(|sockets| Claim { _sockets: sockets })
    }

    /// What is asked for of these families, and else the usual.
    pub(crate) fn usual(families: IpFamily, asked: Option<Self>) -> Self {
        let usual = |family| Some(if family == Family::V4 { DEFAULT } else { DEFAULT_V6 });
        Self::of(families, asked, usual).unwrap_or_default()
    }

    /// What is asked for of these families, and else what nobody has: the usual for `preferred`, otherwise one that depends on
    /// the name, so that it is mostly the same again.
    pub(crate) fn free(
        families: IpFamily,
        asked: Option<Self>,
        name: &str,
        preferred: bool,
        taken: &[Self],
    ) -> Option<Self> {
        Self::of(families, asked, |family| Block::free(family, name, preferred, taken))
    }

    fn of(
        families: IpFamily,
        asked: Option<Self>,
        otherwise: impl Fn(Family) -> Option<Block>,
    ) -> Option<Self> {
        let asked = |family| asked.and_then(|range| range.blocks().find(|block| block.family() == family));
        let blocks = families.all().iter().map(|family| asked(*family).or_else(|| otherwise(*family)));
        match blocks.collect::<Option<Vec<_>>>()?[..] {
            [first] => Some(Self { first, second: None }),
            [first, second] => Some(Self { first, second: Some(second) }),
            _ => None,
        }
    }
}

/// A range is this process's for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Claim {
    _sockets: Vec<UnixDatagram>,
}

/// A name in the abstract namespace is the network namespace's, as the rules are, and goes with its process.
fn claim(block: IpAddr) -> io::Result<UnixDatagram> {
    let name = format!("minik-services-{block}");
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

/// Addresses of IPv6 for the pods of a profile: kind's for the default one, others beside them, none that this machine has a
/// route to.
pub(crate) fn pods_v6(name: &str, preferred: bool) -> Option<String> {
    let routes = Block::routes(Family::V6);
    let others = (0..=u16::MAX).map(|step| {
        let block = (hash(name) as u16).wrapping_add(step).max(0x100);
        Block { network: Ipv6Addr::new(0xfd00, 0x10, 0x244, block, 0, 0, 0, 0).into(), bits: 64 }
    });
    let candidates = preferred.then_some(DEFAULT_PODS_V6).into_iter().chain(others);
    let mut free = candidates.filter(|block| !routes.iter().any(|route| route.overlaps(*block)));
    free.next().map(|block| block.to_string())
}

/// The kernel's table of IPv6.
fn routes_v6(table: &str) -> Vec<Block> {
    let route = |line: &str| {
        let mut fields = line.split_whitespace();
        let network = u128::from_str_radix(fields.next()?, 16).ok()?;
        let bits = u8::from_str_radix(fields.next()?, 16).ok().filter(|bits| *bits > 0)?;
        Some(Block { network: Ipv6Addr::from(network).into(), bits })
    };
    table.lines().filter_map(route).collect()
}

/// The kernel's table of IPv4.
fn routes(table: &str) -> Vec<Block> {
    let route = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let number = |text: Option<&str>| u32::from_str_radix(text?, 16).ok().map(u32::from_be);
        let (network, mask) = (number(fields.next())?, number(fields.nth(5))?);
        let bits = u8::try_from(mask.count_ones()).ok().filter(|bits| *bits > 0)?;
        Some(Block { network: Ipv4Addr::from(network).into(), bits })
    };
    table.lines().skip(1).filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        text.parse().expect("a range")
    }

    #[test]
    fn reads_ranges() {
        for (text, read) in [
            ("10.96.0.0/12", Ok("10.96.0.0/12")),
            ("10.97.1.2/16", Ok("10.97.0.0/16")),
            ("10.0.0.0/8", Err("10.0.0.0/8: from /12 to /24 is possible")),
            ("10.0.0.0/33", Err("invalid CIDR address: 10.0.0.0/33")),
            ("10.0.0.0", Err("invalid CIDR address: 10.0.0.0")),
            ("fd00:10:96::7/112", Ok("fd00:10:96::/112")),
            ("fd00::/64", Err("fd00::/64: from /108 to /120 is possible")),
            ("fd00::/129", Err("invalid CIDR address: fd00::/129")),
            ("10.97.1.2/16,fd00:10:96::7/112", Ok("10.97.0.0/16,fd00:10:96::/112")),
            ("10.97.0.0/16,fd00::/64", Err("fd00::/64: from /108 to /120 is possible")),
            (
                "10.97.0.0/16,10.98.0.0/16",
                Err("10.98.0.0/16: after a range of IPv4 and a comma, one of IPv6 is possible"),
            ),
            (
                "fd00::/112,10.98.0.0/16",
                Err("10.98.0.0/16: after a range of IPv4 and a comma, one of IPv6 is possible"),
            ),
        ] {
            let range = text.parse::<Range>().map(|range| range.to_string());
            assert_eq!(range.as_deref().map_err(String::as_str), read);
        }
        for (text, family, dns) in [
            ("10.96.0.0/12", IpFamily::Ipv4, "10.96.0.10"),
            ("fd00:10:96::/112", IpFamily::Ipv6, "fd00:10:96::a"),
            ("10.97.0.0/16,fd00:10:96::/112", IpFamily::Dual, "10.97.0.10"),
        ] {
            assert_eq!((range(text).family(), range(text).dns().to_string().as_str()), (family, dns));
        }
    }

    #[test]
    fn the_usual_is_what_is_not_asked_for() {
        for (families, asked, usual) in [
            (IpFamily::Ipv4, None, "10.96.0.0/12"),
            (IpFamily::Ipv6, None, "fd00:10:96::/112"),
            (IpFamily::Dual, None, "10.96.0.0/12,fd00:10:96::/112"),
            (IpFamily::Dual, Some("10.97.0.0/16"), "10.97.0.0/16,fd00:10:96::/112"),
            (IpFamily::Dual, Some("fd00::/112"), "10.96.0.0/12,fd00::/112"),
        ] {
            assert_eq!(Range::usual(families, asked.map(range)).to_string(), usual);
        }
    }

    #[test]
    fn what_one_has_another_has_not() {
        for (first, others) in [
            ("10.250.16.0/20", [("10.250.0.0/24", false), ("10.240.0.0/12", false), ("10.251.0.0/16", true)]),
            ("fd01::7:0/112", [("fd01::/108", false), ("fd01::8:0/112", false), ("fd01::10:0/108", true)]),
        ] {
            let claim = range(first).claim().expect("free");
            for (other, free) in others {
                assert_eq!(range(other).claim().is_ok(), free, "{other}");
            }
            drop(claim);
            range(others[1].0).claim().expect("free again");
        }
    }

    #[test]
    fn a_free_range_is_in_nobodys_way() {
        for families in [IpFamily::Ipv4, IpFamily::Ipv6, IpFamily::Dual] {
            let name = format!("x-{families}");
            let free =
                |taken: &[Range]| Range::free(families, None, &name, false, taken).expect("one is free");
            let overlap = |one: Range, other: Range| {
                one.blocks().any(|block| other.blocks().any(|other| other.overlaps(block)))
            };
            let first = free(&[]);
            assert_eq!((first.family(), first.to_string().parse()), (families, Ok(first)));
            let claim = first.claim().expect("free");
            assert!(!overlap(free(&[]), first), "somebody has it");
            drop(claim);
            assert_eq!(free(&[]), first);
            assert!(!overlap(free(&[first]), first), "it is another profile's");
        }
    }

    #[test]
    fn reads_the_kernels_routes() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
            eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\n\
            docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\n";
        let expected = Block { network: Ipv4Addr::new(172, 17, 0, 0).into(), bits: 16 };
        assert_eq!(routes(table), [expected]);
        let table = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 x eth0\n\
            fd000010024400000000000000000000 38 00000000000000000000000000000000 00 x br-1\n";
        let route = Block { network: "fd00:10:244::".parse().expect("an address"), bits: 56 };
        assert_eq!(routes_v6(table), [route]);
    }
}
