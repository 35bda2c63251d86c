//! The pods' bridge keeps its hardware address.
//!
//! A bridge that was given none takes the lowest of its ports': it has another when a pod comes or goes, and what the other
//! pods send to this machine is lost for as long as they remember the one before, up to half a minute. Docker gives one to
//! bridges that it makes, but not to those that it found.
//!
//! **Contract**: the address that the bridge has is given to it, for good; again is as good as once.
//! **Upstream**: `ensureBridge` of the CNI plugin `bridge` does the same.

use super::{Error, program};
use serde_json::Value;
use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::process::Stdio;
use tokio::process::Command;

const PROGRAM: &str = "ip";

/// Has the bridge with this address keep its hardware address; where no bridge has it, nothing is to be done.
pub(super) async fn hold(path: &OsStr, address: Ipv4Addr) -> Result<(), Error> {
    let bridges =
        ip(path, &["-json", "address", "show", "type", "bridge", "to", &address.to_string()]).await?;
    let Some(bridge) = first(&bridges, "ifname") else { return Ok(()) };
    let link = ip(path, &["-json", "link", "show", "dev", &bridge]).await?;
    let Some(hardware) = first(&link, "address") else { return Ok(()) };
    ip(path, &["link", "set", "dev", &bridge, "address", &hardware]).await.map(drop)
}

/// A field of the first link that is listed.
fn first(links: &[u8], field: &str) -> Option<String> {
    let links: Vec<Value> = serde_json::from_slice(links).ok()?;
    links.iter().find_map(|link| link[field].as_str().map(str::to_owned))
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
