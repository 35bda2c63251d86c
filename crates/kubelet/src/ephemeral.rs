//! Ephemeral containers, read as the containers that they are but for what they may not have.
//!
//! **Upstream**: `EphemeralContainerCommon` of `pkg/apis/core`, which is converted in the same way.

use api::k8s_openapi::api::core::v1::{Container, EphemeralContainer, PodSpec};

/// The ephemeral containers of a pod, as containers.
pub(crate) fn containers(spec: &PodSpec) -> impl Iterator<Item = Container> {
    spec.ephemeral_containers.iter().flatten().map(container)
}

/// One ephemeral container as a container: the fields have the same names.
pub(crate) fn container(ephemeral: &EphemeralContainer) -> Container {
    let EphemeralContainer {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy,
        name,
        resources,
        security_context,
        stdin,
        stdin_once,
        termination_message_path,
        termination_message_policy,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
        ..
    } = ephemeral.clone();
    Container {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy,
        name,
        resources,
        security_context,
        stdin,
        stdin_once,
        termination_message_path,
        termination_message_policy,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
        ..Container::default()
    }
}

/// The container whose processes an ephemeral container sees.
pub(crate) fn target<'a>(spec: &'a PodSpec, name: &str) -> Option<&'a str> {
    let all = spec.ephemeral_containers.iter().flatten();
    let found = all.filter(|c| c.name == name).find_map(|c| c.target_container_name.as_deref())?;
    Some(found).filter(|target| !target.is_empty())
}
