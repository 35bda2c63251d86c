//! The machine's facts as a node publishes them.
//!
//! **Contract**: read once, by the launcher; the kubelet takes them as a value and looks at nothing itself.
//! **Upstream**: cadvisor's `MachineInfo`, `pkg/kubelet/nodestatus/setters.go`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// What a node says of its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineInfo {
    /// Logical processors.
    pub cpus: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Size in bytes of the file system with the runtime's data.
    pub disk: u64,
    /// The address at which other machines reach this one; loopback if it has none.
    pub address: IpAddr,
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
    /// Of the machine this runs on; `data` is a directory on the disk whose size counts.
    pub fn detect(data: &Path) -> Self {
        let system = System::new_with_specifics(
            RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram()),
        );
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let machine_id = read("/etc/machine-id");
        let uuid = read("/sys/class/dmi/id/product_uuid");
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
            memory: system.map_or(0, |system| system.total_memory()),
            disk: rustix::fs::statvfs(data).map_or(0, |fs| fs.f_blocks * fs.f_frsize),
            address: machine_address(),
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
            disk: 1 << 40,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
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
    fn reads_the_pretty_name() {
        let text = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(os_image(text), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(os_image(""), "Linux");
    }
}
