//! `run_pod_sandbox`: a pause container that owns the pod's network and IPC.
//!
//! Contract: two calls, create and start. What is left of a failed start is removed.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, PortBinding};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use runtime::{Error, NamespaceMode, PodSandboxConfig, PortMapping, Result, SandboxId};

use crate::client::DockerRuntime;
use crate::naming::Name;
use crate::{error, labels, oom, pod_cgroup};

impl DockerRuntime {
    pub(crate) async fn run_sandbox(&self, config: &PodSandboxConfig) -> Result<SandboxId> {
        self.prepare().await?;
        self.make_pod_cgroup(config).await?;
        let made = self.create_and_start(config).await;
        if let (Err(_), Some(cgroup)) = (&made, self.cgroup_parent(config)) {
            pod_cgroup::remove(&cgroup).await;
        }
        made
    }

    async fn create_and_start(&self, config: &PodSandboxConfig) -> Result<SandboxId> {
        let name = Name::of_sandbox(&config.metadata).to_string();
        let id = match self.create_sandbox(&name, config).await {
            Ok(id) => id,
            Err(error) if error::is_status(&error, 409) => return self.adopt_sandbox(name, &error).await,
            Err(error)
                if error::is_status(&error, 404) && error::message(&error).contains("No such image") =>
            {
                // Somebody removed the image since it was loaded.
                self.load_pause_image().await?;
                self.create_sandbox(&name, config).await.map_err(error::other("create pod sandbox"))?
            }
            Err(error) => return Err(error::other("create pod sandbox")(error)),
        };
        if let Err(error) = self.client.start_container(&id, None).await {
            self.discard(&id).await;
            if !self.oom_score.may_lower() || !oom::is_refusal(&error::message(&error)) {
                return Err(error::start(&id, error));
            }
            tracing::warn!("{}", oom::WARNING);
            self.oom_score.forbid();
            return Box::pin(self.create_and_start(config)).await;
        }
        self.write_resolv_conf(&id, config).await;
        if config.namespaces.network != NamespaceMode::Node {
            self.allow_hairpin(&id).await;
        }
        Ok(id.into())
    }

    async fn create_sandbox(
        &self,
        name: &str,
        config: &PodSandboxConfig,
    ) -> Result<String, bollard::errors::Error> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let created = self.client.create_container(Some(options), self.sandbox_body(config)).await?;
        Ok(created.id)
    }

    fn sandbox_body(&self, config: &PodSandboxConfig) -> ContainerCreateBody {
        let on_node = config.namespaces.network == NamespaceMode::Node;
        let ports: Vec<_> =
            config.port_mappings.iter().filter(|port| port.host_port != 0 && !on_node).collect();
        let or_host = |mode: NamespaceMode, other: Option<&str>| match mode {
            NamespaceMode::Node => Some("host".to_owned()),
            NamespaceMode::Pod | NamespaceMode::Container => other.map(str::to_owned),
        };
        let own_network = self.config.network.as_ref().map(|network| network.name.as_str());
        let dns = config.dns.as_ref();
        let host = HostConfig {
            network_mode: or_host(config.namespaces.network, own_network.or(Some("bridge"))),
            ipc_mode: or_host(config.namespaces.ipc, Some("shareable")),
            pid_mode: or_host(config.namespaces.pid, None),
            port_bindings: (!ports.is_empty()).then(|| bindings(&ports)),
            dns: dns.map(|dns| dns.servers.clone()),
            // An empty list would mean the node's; a dot means none.
            dns_search: dns.map(|dns| match dns.searches.as_slice() {
                [] => vec![".".to_owned()],
                searches => searches.to_vec(),
            }),
            dns_options: dns.map(|dns| dns.options.clone()),
            sysctls: (!config.sysctls.is_empty()).then(|| config.sysctls.clone().into_iter().collect()),
            runtime: handler(config),
            cgroup_parent: self.cgroup_parent(config),
            oom_score_adj: self.oom_score.allowed(Some(oom::SANDBOX_SCORE)),
            security_opt: Some(vec!["seccomp=unconfined".to_owned(), "no-new-privileges".to_owned()]),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..HostConfig::default()
        };
        ContainerCreateBody {
            image: Some(self.pause_image.to_string()),
            hostname: (!on_node && !config.hostname.is_empty()).then(|| config.hostname.clone()),
            exposed_ports: (!ports.is_empty()).then(|| ports.iter().map(|port| key(port)).collect()),
            labels: Some(labels::build(
                &self.config,
                &config.metadata,
                None,
                &config.labels,
                &config.annotations,
            )),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        }
    }

    /// The name is taken: by an earlier, interrupted call, or by a sandbox that has ended.
    async fn adopt_sandbox(&self, name: String, conflict: &bollard::errors::Error) -> Result<SandboxId> {
        let message = error::message(conflict);
        let Some(id) = error::conflicting_id(&message).map(str::to_owned) else {
            return Err(Error::Other { operation: "create pod sandbox", message });
        };
        let found = self.client.inspect_container(&id, None).await.map_err(error::sandbox("inspect", &id))?;
        let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
        if labels.get(labels::PROFILE_LABEL) != Some(&self.config.profile) {
            return Err(Error::AlreadyExists { name, id });
        }
        let state = found.state.unwrap_or_default();
        let never_started = crate::time::parse(state.started_at.as_deref()).is_none();
        if state.running != Some(true) {
            if !never_started {
                return Err(Error::AlreadyExists { name, id });
            }
            self.client.start_container(&id, None).await.map_err(|error| error::start(&id, error))?;
        }
        Ok(id.into())
    }

    /// Removes what is left of a failed start, as far as that works.
    async fn discard(&self, id: &str) {
        if let Err(error) = self.remove_by_force(id).await {
            tracing::warn!(id, %error, "cannot remove a sandbox that did not start");
        }
    }

    /// On the default bridge the engine writes what was asked for. On a network of its own it puts its own DNS server
    /// first, which knows nothing of services; the file is written again, as dockershim did. All containers of the pod
    /// see it.
    async fn write_resolv_conf(&self, id: &str, config: &PodSandboxConfig) {
        let (Some(dns), Some(_)) = (&config.dns, &self.config.network) else { return };
        if config.namespaces.network == NamespaceMode::Node {
            return;
        }
        let mut text = String::new();
        for server in &dns.servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !dns.searches.is_empty() {
            text.push_str(&format!("search {}\n", dns.searches.join(" ")));
        }
        if !dns.options.is_empty() {
            text.push_str(&format!("options {}\n", dns.options.join(" ")));
        }
        let Ok(facts) = self.facts().await else { return };
        let path = facts.root_dir.join("containers").join(id).join("resolv.conf");
        if let Err(error) = tokio::fs::write(&path, text).await {
            tracing::warn!(path = %path.display(), %error, "cannot write the pod's resolv.conf");
        }
    }
}

/// The engine's name of a RuntimeClass's handler; none: its own.
pub(crate) fn handler(config: &PodSandboxConfig) -> Option<String> {
    let handler = config.runtime_handler.as_str();
    (!matches!(handler, "" | "docker" | "default")).then(|| handler.to_owned())
}

fn key(port: &PortMapping) -> String {
    format!("{}/{}", port.container_port, port.protocol.as_str())
}

fn bindings(ports: &[&PortMapping]) -> HashMap<String, Option<Vec<PortBinding>>> {
    let mut map: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in ports {
        map.entry(key(port)).or_default().get_or_insert_default().push(PortBinding {
            host_ip: (!port.host_ip.is_empty()).then(|| port.host_ip.clone()),
            host_port: Some(port.host_port.to_string()),
        });
    }
    map
}
