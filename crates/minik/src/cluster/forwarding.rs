//! Lets other machines reach services through Docker's firewall, which refuses what is not for a published port.
//!
//! **Contract**: one rule in the chain that Docker leaves to its users, `DOCKER-USER`: what our rules have led to a pod may
//! pass. It goes with the value; after a crash, with the next start or with `minik delete`. Where there is no such chain
//! nothing is to be done.

use std::process::{Command, Stdio};

const PROGRAM: &str = "iptables";
const CHAIN: &str = "DOCKER-USER";

/// The rule, for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Forwarding(String);

impl Forwarding {
    /// Puts the rule of this name in place.
    pub(super) fn admit(name: &str) -> Option<Self> {
        (run("-C", name) || run("-I", name)).then(|| Self(name.to_owned()))
    }

    /// Takes away what a crash may have left.
    pub(super) fn remove(name: &str) {
        while run("-D", name) {}
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        Self::remove(&self.0);
    }
}

/// Checks, inserts or deletes; whether that could be done.
fn run(command: &str, name: &str) -> bool {
    let rule = ["-m", "conntrack", "--ctstate", "DNAT", "-m", "comment", "--comment", name, "-j", "ACCEPT"];
    let path = std::env::var("PATH").unwrap_or_default();
    let status = Command::new(PROGRAM)
        .args(["-w", command, CHAIN])
        .args(rule)
        // Programs for administrators are not on everybody's PATH.
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
