//! The pods' bridge keeps its hardware address, and can be reached before there is a pod.
//!
//! A bridge that was given none takes the lowest of its ports': it has another when a pod comes or goes, and what the other
//! pods send to this machine is lost for as long as they remember the one before, up to half a minute. Docker gives one to
//! bridges that it makes, but not to those that it found.
//!
//! An address of IPv6 is the kernel's to try first, which it cannot while nothing is on the bridge: until a second after the
//! first pod nobody may listen at it. On a bridge of our own nobody else has it, and it is given without a trial.
//!
//! **Contract**: the address that the bridge has is given to it, for good; again is as good as once.
//! **Upstream**: `ensureBridge` of the CNI plugin `bridge` does the same.

use super::{Error, program};
use serde_json::Value;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::process::Stdio;
use tokio::process::Command;

const PROGRAM: &str = "ip";

/// Has the bridge with this address keep its hardware address, and have this one at once; where no bridge has it, nothing is
/// to be done.
pub(super) async fn hold(path: &OsStr, address: IpAddr) -> Result<(), Error> {
    let bridges =
        ip(path, &["-json", "address", "show", "type", "bridge", "to", &address.to_string()]).await?;
    let Some(bridge) = first(&bridges, "ifname") else { return Ok(()) };
    if let Some(length) = on_trial(&bridges, address) {
        let address = format!("{address}/{length}");
        ip(path, &["address", "del", &address, "dev", &bridge]).await?;
        ip(path, &["address", "add", &address, "dev", &bridge, "nodad"]).await?;
    }
    let link = ip(path, &["-json", "link", "show", "dev", &bridge]).await?;
    let Some(hardware) = first(&link, "address") else { return Ok(()) };
    ip(path, &["link", "set", "dev", &bridge, "address", &hardware]).await.map(drop)
}

/// A field of the first link that is listed.
fn first(links: &[u8], field: &str) -> Option<String> {
    let links: Vec<Value> = serde_json::from_slice(links).ok()?;
    links.iter().find_map(|link| link[field].as_str().map(str::to_owned))
}

/// The length of the prefix of an address that the kernel has not tried yet.
fn on_trial(links: &[u8], address: IpAddr) -> Option<u64> {
    let links: Vec<Value> = serde_json::from_slice(links).ok()?;
    let mut known = links.iter().flat_map(|link| link["addr_info"].as_array().into_iter().flatten());
    let found = known.find(|known| known["local"] == address.to_string())?;
    found["prefixlen"].as_u64().filter(|_| found["tentative"] == true)
}

async fn ip(path: &OsStr, arguments: &[&str]) -> Result<Vec<u8>, Error> {
    let mut command = Command::new(program(path, PROGRAM));
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|source| Error::Run { program: PROGRAM, source })?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(Error::Bridge(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_on_trial_is_given_again() {
        let links = br#"[{"ifname":"br-1","addr_info":[
            {"local":"fd00:1::1","prefixlen":64,"tentative":true},{"local":"fd00:2::1","prefixlen":64},{}]}]"#;
        for (address, expected) in [("fd00:1::1", Some(64)), ("fd00:2::1", None), ("10.0.0.1", None)] {
            assert_eq!(on_trial(links, address.parse().expect("an address")), expected, "{address}");
        }
        assert_eq!(first(links, "ifname").as_deref(), Some("br-1"));
    }
}
