//! Sandboxes on paper: addresses and host ports.

use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;

use super::{Compact, Memory, State, address};
use crate::*;

pub(super) struct Sandbox {
    name: String,
    pub(super) containers: Vec<ContainerId>,
    pub(super) metadata: PodSandboxMetadata,
    state: SandboxState,
    created_at: Timestamp,
    pub(super) ip: Option<IpAddr>,
    namespaces: NamespaceOptions,
    ports: Vec<(Protocol, u16)>,
    labels: Compact,
    annotations: Compact,
}

impl Sandbox {
    pub(super) fn is_ready(&self) -> bool {
        self.state == SandboxState::Ready
    }

    pub(super) fn matches(&self, id: &SandboxId, filter: &PodSandboxFilter) -> bool {
        filter.id.as_ref().is_none_or(|wanted| wanted == id)
            && filter.state.is_none_or(|wanted| wanted == self.state)
            && self.labels.has_all(&filter.labels)
    }

    pub(super) fn summary(&self, id: &SandboxId) -> PodSandbox {
        PodSandbox {
            id: id.clone(),
            metadata: self.metadata.clone(),
            state: self.state,
            created_at: self.created_at,
            labels: self.labels.to_map(),
            annotations: self.annotations.to_map(),
        }
    }

    pub(super) fn status(&self, id: &SandboxId) -> PodSandboxStatus {
        PodSandboxStatus {
            id: id.clone(),
            metadata: self.metadata.clone(),
            state: self.state,
            created_at: self.created_at,
            ips: self.ip.into_iter().collect(),
            namespaces: self.namespaces,
            labels: self.labels.to_map(),
            annotations: self.annotations.to_map(),
        }
    }
}

impl Memory {
    pub(super) fn run_sandbox(&self, config: &PodSandboxConfig) -> Result<SandboxId> {
        let mut state = self.state();
        let PodSandboxMetadata { name, namespace, uid, attempt } = &config.metadata;
        let name = format!("POD_{name}_{namespace}_{uid}_{attempt}");
        if let Some(id) = state.names.get(&name).map(|id| SandboxId::from(id.as_str())) {
            if state.sandboxes.get(&id).is_some_and(|sandbox| sandbox.is_ready()) {
                return Ok(id);
            }
            return Err(Error::AlreadyExists { name, id: id.to_string() });
        }
        let on_node = config.namespaces.network == NamespaceMode::Node;
        let ports: Vec<_> = if on_node {
            Vec::new()
        } else {
            let mapped = config.port_mappings.iter().filter(|mapping| mapping.host_port != 0);
            mapped.map(|mapping| (mapping.protocol, mapping.host_port)).collect()
        };
        if let Some((_, port)) = ports.iter().find(|port| state.used_ports.contains_key(*port)) {
            let message = format!("Bind for 0.0.0.0:{port} failed: port is already allocated");
            return Err(Error::PortInUse { message });
        }
        let ip = if on_node { None } else { Some(self.allocate(&mut state)?) };
        let id = SandboxId::from(self.next_id(&mut state));
        for port in &ports {
            state.used_ports.insert(*port, id.clone());
        }
        let mut labels = config.labels.clone();
        labels.insert(labels::POD_NAME.into(), config.metadata.name.clone());
        labels.insert(labels::POD_NAMESPACE.into(), config.metadata.namespace.clone());
        labels.insert(labels::POD_UID.into(), config.metadata.uid.clone());
        state.names.insert(name.clone(), id.to_string());
        let sandbox = Sandbox {
            name,
            containers: Vec::new(),
            metadata: config.metadata.clone(),
            state: SandboxState::Ready,
            created_at: self.now(),
            ip,
            namespaces: config.namespaces,
            ports,
            labels: Compact::new(&labels),
            annotations: Compact::new(&config.annotations),
        };
        state.sandboxes.insert(id.clone(), Box::new(sandbox));
        self.emit_sandbox(&mut state, &id, RuntimeEventKind::Created);
        self.emit_sandbox(&mut state, &id, RuntimeEventKind::Started);
        Ok(id)
    }

    pub(super) fn finish_sandbox(&self, state: &mut State, id: &SandboxId) -> bool {
        for container in state.all_in(id) {
            self.finish(state, &container, 137, reason::ERROR);
        }
        let Some(sandbox) = state.sandboxes.get_mut(id).filter(|sandbox| sandbox.is_ready()) else {
            return false;
        };
        sandbox.state = SandboxState::NotReady;
        let (ip, ports) = (sandbox.ip.take(), std::mem::take(&mut sandbox.ports));
        if let Some(IpAddr::V4(ip)) = ip {
            state.used_ips.remove(&u32::from(ip));
        }
        for port in ports {
            state.used_ports.remove(&port);
        }
        self.emit_sandbox(state, id, RuntimeEventKind::Stopped);
        true
    }

    pub(super) fn remove_sandbox(&self, id: &SandboxId) {
        let mut state = self.state();
        self.finish_sandbox(&mut state, id);
        for container in state.all_in(id) {
            self.remove(&mut state, &container);
        }
        if state.sandboxes.contains_key(id) {
            self.emit_sandbox(&mut state, id, RuntimeEventKind::Deleted);
            if let Some(gone) = state.sandboxes.remove(id) {
                state.names.remove(&gone.name);
            }
        }
    }

    fn allocate(&self, state: &mut State) -> Result<IpAddr> {
        let (base, length) = self.inner.config.pod_cidr;
        let hosts = 1u32.checked_shl(32 - u32::from(length.min(32))).unwrap_or(u32::MAX);
        let base = Ipv4Addr::from(u32::from(base) & !(hosts.wrapping_sub(1)));
        // The network, the bridge and the broadcast address are not given away.
        let usable = hosts.saturating_sub(3);
        for _ in 0..usable {
            let n = 2 + state.next_ip % usable;
            state.next_ip = state.next_ip.wrapping_add(1);
            let ip = address(base, n);
            if let IpAddr::V4(v4) = ip
                && state.used_ips.insert(u32::from(v4))
            {
                return Ok(ip);
            }
        }
        Err(Error::Other {
            operation: "run pod sandbox",
            message: format!("no IP addresses available in {base}/{length}"),
        })
    }

    fn emit_sandbox(&self, state: &mut State, id: &SandboxId, kind: RuntimeEventKind) {
        let pod_uid = state.sandboxes[id].metadata.uid.clone();
        let time = self.now();
        self.emit(
            state,
            RuntimeEvent { kind, container_id: None, sandbox_id: id.clone(), pod_uid, exit_code: None, time },
        );
    }
}
