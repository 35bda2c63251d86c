//! Lets other machines reach services through Docker's firewall, which refuses what is not for a published port.
//!
//! **Contract**: one rule in the chain that Docker leaves to its users, `DOCKER-USER`: what our rules have led to a pod may
//! pass. It goes with the value; after a crash, with the next start or with `minik delete`. Where there is no such chain
//! nothing is to be done.

use super::ip_family::IpFamily;
use kube_proxy::Family;
use std::process::{Command, Stdio};

/// One a family.
const PROGRAMS: [(Family, &str); 2] = [(Family::V4, "iptables"), (Family::V6, "ip6tables")];
const CHAIN: &str = "DOCKER-USER";

/// The rule, for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Forwarding {
    name: String,
    programs: Vec<&'static str>,
}

impl Forwarding {
    /// Puts the rule of this name in place, where an engine refuses packets of the family.
    pub(super) fn admit(name: &str, families: IpFamily) -> Option<Self> {
        let admit = |program: &str| run(program, "-C", name) || run(program, "-I", name);
        let programs =
            PROGRAMS.iter().filter(|(family, _)| families.has(*family)).map(|(_, program)| *program);
        // Few engines have the chain for IPv6: those that have not refuse nothing.
        let programs: Vec<_> = programs.filter(|program| admit(program)).collect();
        (!programs.is_empty()).then(|| Self { name: name.to_owned(), programs })
    }

    /// Takes away what a crash may have left.
    pub(super) fn remove(name: &str) {
        Self::remove_by(&PROGRAMS.map(|(_, program)| program), name);
    }

    fn remove_by(programs: &[&str], name: &str) {
        for program in programs {
            while run(program, "-D", name) {}
        }
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        Self::remove_by(&self.programs, &self.name);
    }
}

/// Checks, inserts or deletes; whether that could be done.
fn run(program: &str, command: &str, name: &str) -> bool {
    let rule = ["-m", "conntrack", "--ctstate", "DNAT", "-m", "comment", "--comment", name, "-j", "ACCEPT"];
    let path = std::env::var("PATH").unwrap_or_default();
    let status = Command::new(program)
        .args(["-w", command, CHAIN])
        .args(rule)
        // Programs for administrators are not on everybody's PATH.
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
