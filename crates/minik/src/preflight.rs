//! What is checked before a start, and what is said when it fails: the cause, and the next command.

use crate::cluster::IpFamily;
use crate::problem::Problem;
use crate::profile::{Profile, RuntimeKind, Settings};
use crate::{extra_config, feature_gates, mounts, ports, registries, registry};
use anyhow::{Context as _, Result};
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// Less free disk than this and a start is refused: databases and engines fail badly on a full disk.
const DISK_MIN: u64 = 100 << 20;
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// The engine's address: `$DOCKER_HOST`, or empty for the platform's default.
pub(crate) fn docker_host() -> String {
    std::env::var("DOCKER_HOST").unwrap_or_default()
}

/// Where collectors of logs look for those of containers, where links may be made and lead to the engine's files.
pub(crate) fn log_dir() -> Option<PathBuf> {
    let host = docker_host();
    let is_here = host.is_empty() || host.starts_with("unix:");
    (is_here && rustix::process::geteuid().is_root()).then(|| PathBuf::from("/var/log"))
}

/// Everything that can be known before the server starts.
pub(crate) fn check(profile: &Profile, settings: &Settings) -> Result<()> {
    extra_config::read(&settings.extra_config)?;
    feature_gates::check(&settings.feature_gates)?;
    mounts::check(&settings.mounts)?;
    if settings.runtime != RuntimeKind::Docker && !settings.ports.is_empty() {
        return Err(Problem::error(
            "ports cannot lead to pods on paper: they answer nobody",
            "choose containers (--runtime docker), or leave out the ports",
        ));
    }
    if settings.ip_family != IpFamily::Ipv4 {
        // Some pods may do without where there is IPv4, too.
        let some = settings.simulated_nodes > 0 && settings.ip_family == IpFamily::Ipv6;
        if settings.runtime != RuntimeKind::Docker || some {
            return Err(Problem::error(
                "pods on paper have no addresses of IPv6",
                "choose containers (--runtime docker), or leave out --ip-family",
            ));
        }
        ipv6().map_err(|why| {
            Problem::error(format!("this machine has no IPv6: {why}"), "turn it on, or leave out --ip-family")
        })?;
    }
    folder(profile)?;
    disk(profile)?;
    if settings.runtime == RuntimeKind::Docker && settings.nodes > 0 {
        docker(&docker_host())?;
        registries::check(&settings.registries, &docker_host())?;
    }
    if settings.registry && settings.runtime == RuntimeKind::Docker {
        registry::check(settings, &std::env::var_os("PATH").unwrap_or_default())?;
    }
    let _mappings = ports::probe(&settings.ports, settings.ip_family)?;
    port(settings.api_port)
}

/// Whether the kernel has IPv6, for the bridges of engines as well; why not.
pub(crate) fn ipv6() -> Result<(), String> {
    const ADDRESSES: &str = "/proc/net/if_inet6";
    if !std::path::Path::new(ADDRESSES).exists() {
        return Err(format!("there is no {ADDRESSES}"));
    }
    for name in ["all", "default"] {
        let sysctl = format!("net.ipv6.conf.{name}.disable_ipv6");
        let value = std::fs::read_to_string(format!("/proc/sys/{}", sysctl.replace('.', "/")));
        if value.is_ok_and(|value| value.trim() != "0") {
            return Err(format!("{sysctl} is set"));
        }
    }
    Ok(())
}

fn folder(profile: &Profile) -> Result<()> {
    let unusable = |error: &dyn std::fmt::Display| {
        Problem::error(
            format!("profile {:?} cannot be used: {}: {error}", profile.name, profile.dir().display()),
            format!(
                "make {} readable and writable for you, or choose another place with MINIK_HOME",
                profile.dir().display()
            ),
        )
    };
    profile.create().map_err(|error| unusable(&error.root_cause()))?;
    let probe = profile.path(".probe");
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&probe)
        .and_then(|_| std::fs::remove_file(&probe))
        .map_err(|error| unusable(&error))?;
    for file in ["profile.json", "pki/ca.crt", "pki/ca.key", "store.redb"] {
        match std::fs::File::open(profile.path(file)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(unusable(&format!("{file}: {error}")));
            }
            _ => {}
        }
    }
    Ok(())
}

fn disk(profile: &Profile) -> Result<()> {
    let stat = rustix::fs::statvfs(profile.dir()).context("ask for free disk space")?;
    let free = stat.f_bavail * stat.f_frsize;
    if free < DISK_MIN {
        return Err(Problem::error(
            format!("only {} MiB of disk are free in {}", free >> 20, profile.dir().display()),
            "free some space, or choose another place with MINIK_HOME",
        ));
    }
    Ok(())
}

/// Whether the engine can be reached.
pub(crate) fn docker(host: &str) -> Result<()> {
    let path = match host {
        "" => DEFAULT_SOCKET,
        host => match host.strip_prefix("unix://") {
            Some(path) => path,
            // Another machine's engine: the server will say whether it answers.
            None => return Ok(()),
        },
    };
    match UnixStream::connect(path) {
        Ok(_) => Ok(()),
        Err(error) => {
            let hint = match error.kind() {
                ErrorKind::PermissionDenied => {
                    "add yourself to the engine's group (sudo usermod -aG docker $USER) and log in again"
                }
                _ => {
                    "start the Docker engine (sudo systemctl start docker), install it (Debian: sudo apt-get install \
                     docker.io), or run without containers: minik start --runtime simulated"
                }
            };
            Err(Problem::error(format!("Docker is not reachable at {path}: {error}"), hint))
        }
    }
}

fn port(port: u16) -> Result<()> {
    free(port, "the API server", "--api-port")
}

/// Whether a port of the loopback is free for somebody, who may be given another by a setting.
pub(crate) fn free(port: u16, owner: &str, setting: &str) -> Result<()> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) => Err(taken(port, owner, setting, &error)),
    }
}

/// Says that the API server's port cannot be had.
pub(crate) fn port_taken(port: u16, error: &std::io::Error) -> anyhow::Error {
    taken(port, "the API server", "--api-port", error)
}

/// Says that somebody's port cannot be had.
pub(crate) fn taken(port: u16, owner: &str, setting: &str, error: &std::io::Error) -> anyhow::Error {
    Problem::error(
        format!("port {port} cannot be used for {owner}: {error}"),
        format!("see who has it (ss -ltnp 'sport = :{port}'), or choose another with {setting}"),
    )
}

/// A free port for a profile that is not the default one: the first from the given one on.
pub(crate) fn free_port(from: u16) -> Result<u16> {
    let free = (from..from.saturating_add(1000))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.context("find a free port for the API server")
}

/// Adds what to do about a failed start, where that is known.
pub(crate) fn explain(profile: &Profile, error: anyhow::Error) -> anyhow::Error {
    let hint = error.chain().find_map(|cause| match cause.downcast_ref::<storage::Error>() {
        Some(storage::Error::Corrupt { .. }) => Some(format!(
            "nothing was changed; keep a copy of {} if you need it, then start anew: minik delete -p {}",
            profile.path("store.redb").display(),
            profile.name
        )),
        Some(storage::Error::Locked { .. }) => {
            Some("another process has the store open: minik status".to_owned())
        }
        Some(storage::Error::Unavailable { .. }) => {
            Some("check that etcd runs at the addresses given with --etcd-servers".to_owned())
        }
        _ => match cause.downcast_ref::<runtime::Error>() {
            Some(runtime::Error::Unavailable { .. }) => {
                Some("check that the Docker engine runs: docker info".to_owned())
            }
            _ => None,
        },
    });
    match hint {
        Some(hint) => Problem::error(format!("{error:#}"), hint),
        None => error,
    }
}
