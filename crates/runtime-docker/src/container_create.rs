//! `create_container`: a container in its sandbox's namespaces.
//!
//! Upstream: dockershim's `docker_container.go`, `security_context.go`.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, HealthConfig, HostConfig, HostConfigLogConfig, Mount as EngineMount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountType,
};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use runtime::{
    ContainerConfig, ContainerId, Error, LogConfig, Mount, MountPropagation, NamespaceMode, PodSandboxConfig,
    Result, SandboxId, SeccompProfile, SecurityContext,
};

use crate::client::DockerRuntime;
use crate::naming::Name;
use crate::sandbox_run::handler;
use crate::{error, labels};

impl DockerRuntime {
    pub(crate) async fn create(
        &self,
        sandbox: &SandboxId,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> Result<ContainerId> {
        let name = Name::of_container(&config.metadata, &sandbox_config.metadata).to_string();
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let recursive_read_only = self.facts().await?.has_recursive_read_only;
        let body = self.container_body(sandbox, config, sandbox_config, recursive_read_only);
        let error = match self.client.create_container(Some(options), body).await {
            Ok(created) => return Ok(created.id.into()),
            Err(error) => error,
        };
        let message = error::message(&error);
        Err(if error::is_status(&error, 409) {
            match error::conflicting_id(&message) {
                Some(id) => Error::AlreadyExists { name, id: id.to_owned() },
                None => Error::Other { operation: "create container", message },
            }
        } else if error::is_status(&error, 404) && message.contains("No such image") {
            Error::ImageNotFound { image: config.image.clone(), message }
        } else if error::is_status(&error, 404) {
            Error::sandbox_not_found(sandbox.as_str())
        } else if error::is_status(&error, 400) {
            Error::Invalid { message }
        } else {
            error::other("create container")(error)
        })
    }

    fn container_body(
        &self,
        sandbox: &SandboxId,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
        recursive_read_only: bool,
    ) -> ContainerCreateBody {
        let container = Some((&config.metadata, sandbox.as_str()));
        let mut labels = labels::build(
            &self.config,
            &sandbox_config.metadata,
            container,
            &config.labels,
            &config.annotations,
        );
        if !config.user_image.is_empty() && config.user_image != config.image {
            labels.insert(labels::USER_IMAGE.to_owned(), config.user_image.clone());
        }
        ContainerCreateBody {
            image: Some(config.image.clone()),
            entrypoint: non_empty(&config.command),
            cmd: non_empty(&config.args),
            working_dir: (!config.working_dir.is_empty()).then(|| config.working_dir.clone()),
            env: Some(environment(config)),
            user: user(&config.security),
            tty: Some(config.tty),
            open_stdin: Some(config.stdin),
            stdin_once: Some(config.stdin_once),
            // Health is the kubelet's probes; an image's own check would only cost.
            healthcheck: Some(HealthConfig {
                test: Some(vec!["NONE".to_owned()]),
                ..HealthConfig::default()
            }),
            labels: Some(labels),
            host_config: Some(self.host_config(sandbox, config, sandbox_config, recursive_read_only)),
            ..ContainerCreateBody::default()
        }
    }

    fn host_config(
        &self,
        sandbox: &SandboxId,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
        recursive_read_only: bool,
    ) -> HostConfig {
        let security = &config.security;
        let in_sandbox = Some(format!("container:{sandbox}"));
        let resources = &config.resources;
        let (bindable, awkward): (Vec<_>, Vec<_>) = config.mounts.iter().partition(|mount| {
            let has_colon = mount.host_path.contains(':') || mount.container_path.contains(':');
            !(has_colon || mount.readonly && recursive_read_only)
        });
        HostConfig {
            network_mode: in_sandbox.clone(),
            ipc_mode: in_sandbox.clone(),
            pid_mode: match (&security.pid_target, security.namespaces.pid) {
                (_, NamespaceMode::Node) => Some("host".to_owned()),
                (_, NamespaceMode::Pod) => in_sandbox,
                (Some(target), NamespaceMode::Container) => Some(format!("container:{target}")),
                (None, NamespaceMode::Container) => None,
            },
            uts_mode: (sandbox_config.namespaces.network == NamespaceMode::Node).then(|| "host".to_owned()),
            binds: (!bindable.is_empty()).then(|| bindable.into_iter().map(bind).collect()),
            mounts: (!awkward.is_empty())
                .then(|| awkward.into_iter().map(|mount| engine_mount(mount, recursive_read_only)).collect()),
            devices: (!config.devices.is_empty()).then(|| {
                let mapping = |device: &runtime::Device| DeviceMapping {
                    path_on_host: Some(device.host_path.clone()),
                    path_in_container: Some(device.container_path.clone()),
                    cgroup_permissions: Some(device.permissions.clone()),
                };
                config.devices.iter().map(mapping).collect()
            }),
            runtime: handler(sandbox_config),
            cgroup_parent: self.cgroup_parent(sandbox_config),
            cpu_shares: resources.cpu_shares.and_then(|n| n.try_into().ok()),
            cpu_quota: resources.cpu_quota,
            cpu_period: resources.cpu_period.and_then(|n| n.try_into().ok()),
            cpuset_cpus: resources.cpuset_cpus.clone(),
            memory: resources.memory_limit,
            memory_swap: resources.memory_swap_limit,
            oom_score_adj: self.oom_score.allowed(resources.oom_score_adj.map(i64::from)),
            pids_limit: resources.pids_limit,
            privileged: Some(security.privileged),
            cap_add: non_empty(&security.add_capabilities),
            cap_drop: non_empty(&security.drop_capabilities),
            group_add: (!security.supplemental_groups.is_empty())
                .then(|| security.supplemental_groups.iter().map(i64::to_string).collect()),
            readonly_rootfs: Some(security.readonly_rootfs),
            security_opt: non_empty(&security_options(security)),
            masked_paths: security.masked_paths.clone(),
            readonly_paths: security.readonly_paths.clone(),
            log_config: Some(log_config(&config.log)),
            ..HostConfig::default()
        }
    }
}

fn non_empty(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// The engine keeps the first of two variables of one name; the last is meant.
fn environment(config: &ContainerConfig) -> Vec<String> {
    let mut at: HashMap<&str, usize> = HashMap::new();
    let mut all: Vec<String> = Vec::with_capacity(config.env.len());
    for variable in &config.env {
        let text = format!("{}={}", variable.name, variable.value);
        match at.get(variable.name.as_str()) {
            Some(&index) => all[index] = text,
            None => {
                at.insert(&variable.name, all.len());
                all.push(text);
            }
        }
    }
    all
}

fn user(security: &SecurityContext) -> Option<String> {
    let user = security.run_as_user.map(|uid| uid.to_string()).or_else(|| security.run_as_username.clone());
    match (user, security.run_as_group) {
        (Some(user), Some(group)) => Some(format!("{user}:{group}")),
        (user, _) => user,
    }
}

fn security_options(security: &SecurityContext) -> Vec<String> {
    let mut options = Vec::new();
    match &security.seccomp {
        SeccompProfile::Unconfined => options.push("seccomp=unconfined".to_owned()),
        SeccompProfile::RuntimeDefault => {}
        SeccompProfile::Localhost(json) => options.push(format!("seccomp={json}")),
    }
    if security.no_new_privs {
        options.push("no-new-privileges".to_owned());
    }
    match security.apparmor_profile.as_str() {
        "" | "runtime/default" => {}
        profile => {
            options.push(format!("apparmor={}", profile.strip_prefix("localhost/").unwrap_or(profile)))
        }
    }
    options.extend(security.selinux_options.iter().map(|option| format!("label={option}")));
    options
}

fn bind(mount: &Mount) -> String {
    let mut text = format!("{}:{}", mount.host_path, mount.container_path);
    let propagation = match mount.propagation {
        MountPropagation::Private => None,
        MountPropagation::HostToContainer => Some("rslave"),
        MountPropagation::Bidirectional => Some("rshared"),
    };
    let flags: Vec<_> = mount.readonly.then_some("ro").into_iter().chain(propagation).collect();
    if !flags.is_empty() {
        text.push(':');
        text.push_str(&flags.join(","));
    }
    text
}

/// For what a bind cannot say: paths with a colon, and, to engines whose default is another, that what is mounted below a
/// read-only mount is as it is on the node.
fn engine_mount(mount: &Mount, recursive_read_only: bool) -> EngineMount {
    let propagation = match mount.propagation {
        MountPropagation::Private => MountBindOptionsPropagationEnum::RPRIVATE,
        MountPropagation::HostToContainer => MountBindOptionsPropagationEnum::RSLAVE,
        MountPropagation::Bidirectional => MountBindOptionsPropagationEnum::RSHARED,
    };
    EngineMount {
        typ: Some(MountType::BIND),
        source: Some(mount.host_path.clone()),
        target: Some(mount.container_path.clone()),
        read_only: Some(mount.readonly),
        bind_options: Some(MountBindOptions {
            propagation: Some(propagation),
            // As a bind does.
            create_mountpoint: recursive_read_only.then_some(true),
            read_only_non_recursive: (mount.readonly && recursive_read_only).then_some(true),
            ..MountBindOptions::default()
        }),
        ..EngineMount::default()
    }
}

fn log_config(log: &LogConfig) -> HostConfigLogConfig {
    let size = log.max_size.unwrap_or(LogConfig::DEFAULT_MAX_SIZE);
    let files = log.max_files.unwrap_or(LogConfig::DEFAULT_MAX_FILES);
    let options = [("max-size", size.to_string()), ("max-file", files.to_string())];
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(options.map(|(key, value)| (key.to_owned(), value)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::EnvVar;

    #[test]
    fn the_last_variable_of_a_name_wins() {
        let env = vec![EnvVar::new("A", "1"), EnvVar::new("B", "2"), EnvVar::new("A", "3=4")];
        assert_eq!(environment(&ContainerConfig { env, ..Default::default() }), ["A=3=4", "B=2"]);
    }

    #[test]
    fn a_group_needs_a_user() {
        let case = |uid, name: Option<&str>, group| {
            user(&SecurityContext {
                run_as_user: uid,
                run_as_username: name.map(str::to_owned),
                run_as_group: group,
                ..Default::default()
            })
        };
        assert_eq!(case(Some(5), Some("x"), Some(6)).as_deref(), Some("5:6"));
        assert_eq!(case(None, Some("x"), None).as_deref(), Some("x"));
        assert_eq!(case(None, None, Some(6)), None);
    }

    #[test]
    fn binds_say_read_only_and_propagation() {
        let mount = |readonly, propagation| Mount {
            container_path: "/c".into(),
            host_path: "/h".into(),
            readonly,
            propagation,
        };
        assert_eq!(bind(&mount(false, MountPropagation::Private)), "/h:/c");
        assert_eq!(bind(&mount(true, MountPropagation::HostToContainer)), "/h:/c:ro,rslave");
    }
}
