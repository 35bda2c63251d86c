//! A pod reaches itself through its own service: its port of the bridge may send back what came from it.
//!
//! Where packets between pods of a bridge pass the rules for services (br_netfilter), one that is turned back to its sender
//! would be dropped by the bridge otherwise. **Contract**: best effort; without the right, or with an engine elsewhere,
//! nothing changes.
//! **Upstream**: the kubelet's `--hairpin-mode=hairpin-veth` of old, CNI's `hairpinMode`.

use std::io;
use std::path::{Path, PathBuf};

use crate::client::DockerRuntime;

const DEVICES: &str = "/sys/class/net";

impl DockerRuntime {
    /// Sets it for a sandbox that has started.
    pub(crate) async fn allow_hairpin(&self, id: &str) {
        let Ok(found) = self.client.inspect_container(id, None).await else { return };
        let Some(pid) = found.state.and_then(|state| state.pid).filter(|pid| *pid > 0) else { return };
        if let Err(error) =
            set(Path::new(&format!("/proc/{pid}/root{DEVICES}/eth0/iflink")), Path::new(DEVICES))
        {
            tracing::debug!(id, %error, "cannot let the pod reach itself through a service");
        }
    }
}

/// The file with the number of the other end of the sandbox's device, and the folder of this machine's devices.
fn set(other_end: &Path, devices: &Path) -> io::Result<()> {
    let wanted = std::fs::read_to_string(other_end)?;
    let is_wanted = |device: &PathBuf| {
        std::fs::read_to_string(device.join("ifindex")).is_ok_and(|index| index.trim() == wanted.trim())
    };
    let all = std::fs::read_dir(devices)?.filter_map(|entry| Some(entry.ok()?.path()));
    let device = all.into_iter().find(is_wanted).ok_or(io::ErrorKind::NotFound)?;
    std::fs::write(device.join("brport/hairpin_mode"), "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_port_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        for (name, index) in [("veth1", "7\n"), ("veth2", "8\n")] {
            let port = folder.path().join(name).join("brport");
            std::fs::create_dir_all(&port).unwrap();
            std::fs::write(folder.path().join(name).join("ifindex"), index).unwrap();
            std::fs::write(port.join("hairpin_mode"), "0\n").unwrap();
        }
        let other_end = folder.path().join("iflink");
        std::fs::write(&other_end, "8\n").unwrap();
        set(&other_end, folder.path()).unwrap();
        let mode = |name: &str| {
            std::fs::read_to_string(folder.path().join(name).join("brport/hairpin_mode")).unwrap()
        };
        assert_eq!((mode("veth1").trim(), mode("veth2").trim()), ("0", "1"));
        std::fs::write(&other_end, "9\n").unwrap();
        assert!(set(&other_end, folder.path()).is_err());
    }
}
