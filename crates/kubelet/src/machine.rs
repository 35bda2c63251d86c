//! The machine's facts as a node publishes them.
//!
//! **Contract**: read once, by the launcher; the kubelet takes them as a value and looks at nothing itself.
//! **Upstream**: cadvisor's `MachineInfo`, `pkg/kubelet/nodestatus/setters.go`.

use api::quantity::Quantity;
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// Where the kernel tells of huge pages, a folder a size.
const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages";

/// Where the kernel tells of its addresses of IPv6, a line each.
const IF_INET6: &str = "/proc/net/if_inet6";

/// What a node says of its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineInfo {
    /// Logical processors.
    pub cpus: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Bytes in huge pages, by resource (`hugepages-2Mi`), for every size that the kernel knows.
    pub huge_pages: BTreeMap<String, u64>,
    /// Size in bytes of the file system with the runtime's data.
    pub disk: u64,
    /// The addresses at which other machines reach this one, that of the cluster's first family first.
    pub addresses: Vec<IpAddr>,
    /// The machine's own name.
    pub hostname: String,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// The firmware's identity of the machine.
    pub system_uuid: String,
    /// Changes with every boot.
    pub boot_id: String,
    /// `6.1.0-13-amd64`.
    pub kernel_version: String,
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub os_image: String,
    /// Go's name of the processor: `amd64`, `arm64`.
    pub architecture: String,
    /// Go's name of the system: `linux`.
    pub operating_system: String,
}

impl MachineInfo {
    /// Of the machine this runs on, with these of its addresses; `data` is a directory on the disk whose size counts.
    pub fn detect(data: &Path, addresses: Vec<IpAddr>) -> Self {
        let system = System::new_with_specifics(
            RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram()),
        );
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let machine_id = read("/etc/machine-id");
        let uuid = read("/sys/class/dmi/id/product_uuid");
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
            memory: system.map_or(0, |system| system.total_memory()),
            huge_pages: huge_pages(Path::new(HUGE_PAGES)),
            disk: rustix::fs::statvfs(data).map_or(0, |fs| fs.f_blocks * fs.f_frsize),
            addresses,
            hostname: System::host_name().unwrap_or_else(|_| "localhost".to_owned()),
            system_uuid: if uuid.is_empty() { machine_id.clone() } else { uuid },
            machine_id,
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            kernel_version: System::kernel_version().unwrap_or_default(),
            os_image: os_image(&read("/etc/os-release")),
            architecture: go_architecture(std::env::consts::ARCH).to_owned(),
            operating_system: std::env::consts::OS.to_owned(),
        }
    }

    /// A machine that only exists on paper, for simulated nodes.
    pub fn simulated(hostname: &str) -> Self {
        Self {
            cpus: 32,
            memory: 256 << 30,
            huge_pages: BTreeMap::new(),
            disk: 1 << 40,
            addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            hostname: hostname.to_owned(),
            machine_id: hostname.to_owned(),
            system_uuid: hostname.to_owned(),
            boot_id: hostname.to_owned(),
            kernel_version: "simulated".to_owned(),
            os_image: "simulated".to_owned(),
            architecture: go_architecture(std::env::consts::ARCH).to_owned(),
            operating_system: "linux".to_owned(),
        }
    }
}

/// The source address of the default route, which a node publishes as its own. Connecting a datagram socket sends
/// nothing; the target is from the block for documentation (RFC 5737).
pub fn machine_address() -> IpAddr {
    let probe = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    probe().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// The source address of the default route of IPv6, or else any address that more than a link knows; none: the machine has
/// none. As [`machine_address`], with a target of RFC 3849.
pub fn machine_address_v6() -> Option<IpAddr> {
    let routed = || {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    routed().or_else(|| fs::read_to_string(IF_INET6).ok().and_then(|table| global_v6(&table)))
}

/// The first address of global scope in the kernel's table, which is not a bridge's of containers.
fn global_v6(table: &str) -> Option<IpAddr> {
    const GLOBAL: &str = "00";
    let address = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [number, _, _, scope, _, device] = fields[..] else { return None };
        let bridge = device.starts_with("br-") || device.starts_with("docker");
        let address = u128::from_str_radix(number, 16).ok().filter(|_| scope == GLOBAL && !bridge)?;
        Some(IpAddr::from(Ipv6Addr::from(address)))
    };
    table.lines().find_map(address)
}

fn huge_pages(folder: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let size = name.strip_prefix("hugepages-").and_then(|name| name.strip_suffix("kB"));
        let count = fs::read_to_string(entry.path().join("nr_hugepages")).unwrap_or_default();
        if let Some(size) = size.and_then(|size| size.parse::<u64>().ok())
            && let Ok(quantity) = format!("{size}Ki").parse::<Quantity>()
        {
            let count: u64 = count.trim().parse().unwrap_or(0);
            found.insert(format!("hugepages-{quantity}"), count.saturating_mul(size << 10));
        }
    }
    found
}

fn os_image(os_release: &str) -> String {
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

fn go_architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_named_by_their_size() {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, count) in [("hugepages-2048kB", "3\n"), ("hugepages-1048576kB", "0\n"), ("other", "1")] {
            fs::create_dir(dir.path().join(name)).expect("made");
            fs::write(dir.path().join(name).join("nr_hugepages"), count).expect("written");
        }
        let expected = [("hugepages-1Gi".to_owned(), 0), ("hugepages-2Mi".to_owned(), 6 << 20)];
        assert_eq!(huge_pages(dir.path()), expected.into());
        assert_eq!(huge_pages(&dir.path().join("none")), BTreeMap::new());
    }

    #[test]
    fn an_address_of_ipv6_is_one_that_others_know() {
        let table = "fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n\
            fd000010024400000000000000000001 05 40 00 80 br-0123456789ab\n\
            fd000000000000000000000000000002 04 40 00 82     eth0\n\
            00000000000000000000000000000001 01 80 10 80       lo\n";
        assert_eq!(global_v6(table), "fd00::2".parse().ok());
        assert_eq!(global_v6("x y\n"), None);
    }

    #[test]
    fn reads_the_pretty_name() {
        let text = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(os_image(text), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(os_image(""), "Linux");
    }
}
