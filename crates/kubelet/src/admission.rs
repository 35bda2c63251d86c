//! Whether this node takes a pod at all.
//!
//! **Contract**: pure. A pod that asks for what this kubelet cannot do is refused with upstream's reason, never run
//! with the wish ignored.
//! **Upstream**: `canAdmitPod` and the lifecycle handlers of `pkg/kubelet`.

use api::k8s_openapi::api::core::v1::{Container, Pod};

/// Why a pod is refused: `status.reason` and `status.message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// `None` if the node takes the pod.
pub(crate) fn admit(pod: &Pod) -> Option<Rejection> {
    let fields = unsupported(pod);
    (!fields.is_empty()).then(|| Rejection {
        reason: "PodFeatureUnsupported",
        message: format!("Pod was rejected: this node does not support {}", fields.join(", ")),
    })
}

/// The fields of a pod that ask for what is not implemented.
fn unsupported(pod: &Pod) -> Vec<String> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let mut fields = Vec::new();
    let mut note = |asked: bool, field: &str| {
        if asked {
            fields.push(field.to_owned());
        }
    };
    note(spec.volumes.iter().flatten().next().is_some(), "spec.volumes");
    note(spec.host_aliases.iter().flatten().next().is_some(), "spec.hostAliases");
    note(spec.dns_config.is_some(), "spec.dnsConfig");
    note(matches!(spec.dns_policy.as_deref(), Some("None")), "spec.dnsPolicy None");
    note(spec.runtime_class_name.is_some(), "spec.runtimeClassName");
    note(spec.resource_claims.iter().flatten().next().is_some(), "spec.resourceClaims");
    note(spec.resources.is_some(), "spec.resources");
    note(spec.host_users == Some(false), "spec.hostUsers");
    note(spec.set_hostname_as_fqdn == Some(true), "spec.setHostnameAsFQDN");
    note(spec.hostname_override.is_some(), "spec.hostnameOverride");
    note(spec.readiness_gates.iter().flatten().next().is_some(), "spec.readinessGates");
    note(spec.image_pull_secrets.iter().flatten().next().is_some(), "spec.imagePullSecrets");
    if let Some(security) = &spec.security_context {
        let at = |field: &str| format!("spec.securityContext.{field}");
        note(security.fs_group.is_some(), &at("fsGroup"));
        note(security.run_as_non_root == Some(true), &at("runAsNonRoot"));
        note(security.seccomp_profile.is_some(), &at("seccompProfile"));
        note(security.app_armor_profile.is_some(), &at("appArmorProfile"));
        note(security.se_linux_options.is_some(), &at("seLinuxOptions"));
        note(security.sysctls.iter().flatten().next().is_some(), &at("sysctls"));
        note(security.supplemental_groups_policy.is_some(), &at("supplementalGroupsPolicy"));
    }
    let init = spec.init_containers.iter().flatten().enumerate();
    for (index, container) in init {
        let path = format!("spec.initContainers[{index}]");
        note(container.restart_policy.is_some(), &format!("{path}.restartPolicy"));
        for field in container_fields(container) {
            note(true, &format!("{path}.{field}"));
        }
    }
    for (index, container) in spec.containers.iter().enumerate() {
        let path = format!("spec.containers[{index}]");
        note(container.restart_policy.is_some(), &format!("{path}.restartPolicy"));
        for field in container_fields(container) {
            note(true, &format!("{path}.{field}"));
        }
    }
    fields
}

fn container_fields(container: &Container) -> Vec<&'static str> {
    let mut fields = Vec::new();
    let mut note = |asked: bool, field: &'static str| {
        if asked {
            fields.push(field);
        }
    };
    note(container.volume_mounts.iter().flatten().next().is_some(), "volumeMounts");
    note(container.volume_devices.iter().flatten().next().is_some(), "volumeDevices");
    note(container.env_from.iter().flatten().next().is_some(), "envFrom");
    let sources = container.env.iter().flatten().filter_map(|e| e.value_from.as_ref());
    note(sources.into_iter().any(|s| s.field_ref.is_none()), "env[].valueFrom");
    note(container.lifecycle.is_some(), "lifecycle");
    note(container.liveness_probe.is_some(), "livenessProbe");
    note(container.readiness_probe.is_some(), "readinessProbe");
    note(container.startup_probe.is_some(), "startupProbe");
    note(container.restart_policy_rules.iter().flatten().next().is_some(), "restartPolicyRules");
    if let Some(security) = &container.security_context {
        note(security.run_as_non_root == Some(true), "securityContext.runAsNonRoot");
        note(security.seccomp_profile.is_some(), "securityContext.seccompProfile");
        note(security.app_armor_profile.is_some(), "securityContext.appArmorProfile");
        note(security.se_linux_options.is_some(), "securityContext.seLinuxOptions");
        note(security.proc_mount.is_some(), "securityContext.procMount");
    }
    if let Some(resources) = &container.resources {
        let names = resources.limits.iter().chain(resources.requests.iter()).flatten();
        let known = ["cpu", "memory", "ephemeral-storage"];
        note(names.into_iter().any(|(name, _)| !known.contains(&name.as_str())), "resources");
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a pod")
    }

    #[test]
    fn names_every_field_it_cannot_honour() {
        let refused = admit(&pod(json!({
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{"name": "a", "livenessProbe": {"tcpSocket": {"port": 1}}}]
        })));
        assert_eq!(
            refused,
            Some(Rejection {
                reason: "PodFeatureUnsupported",
                message: "Pod was rejected: this node does not support spec.volumes, \
                          spec.containers[0].livenessProbe"
                    .to_owned()
            })
        );
    }

    #[test]
    fn takes_a_plain_pod() {
        let plain = pod(json!({
            "securityContext": {}, "dnsPolicy": "ClusterFirst",
            "containers": [{"name": "a", "image": "i", "resources": {"limits": {"cpu": "1"}},
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}]
        }));
        assert_eq!(admit(&plain), None);
    }
}
