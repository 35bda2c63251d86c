//! Whether this node takes a pod at all.
//!
//! **Contract**: pure. A pod that asks for what this kubelet cannot do is refused with upstream's reason, never run
//! with the wish ignored.
//! **Upstream**: `canAdmitPod` and the lifecycle handlers of `pkg/kubelet`.

use crate::{security, volumes};
use api::k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume, VolumeMount, VolumeProjection};

/// Why a pod is refused: `status.reason` and `status.message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// `None` if the node takes the pod.
pub(crate) fn admit(pod: &Pod) -> Option<Rejection> {
    if let Some(rejection) = pod.spec.as_ref().and_then(forbidden) {
        return Some(rejection);
    }
    let fields = unsupported(pod);
    (!fields.is_empty()).then(|| Rejection {
        reason: "PodFeatureUnsupported",
        message: format!("Pod was rejected: this node does not support {}", fields.join(", ")),
    })
}

/// What this machine does not allow, with upstream's reasons.
fn forbidden(spec: &PodSpec) -> Option<Rejection> {
    if let Some(message) = security::forbidden_sysctl(spec) {
        return Some(Rejection { reason: "SysctlForbidden", message });
    }
    let security = spec.security_context.as_ref();
    if security.and_then(|s| s.supplemental_groups_policy.as_deref()) == Some("Strict") {
        let message = "SupplementalGroupsPolicy=Strict is not supported in this node".to_owned();
        return Some(Rejection { reason: "SupplementalGroupsPolicyNotSupported", message });
    }
    security::wants_missing_apparmor(spec).then(|| Rejection {
        reason: "AppArmor",
        message: "Cannot enforce AppArmor: AppArmor is not enabled on the host".to_owned(),
    })
}

/// The part of a volume that asks for what is not implemented.
fn unsupported_volume(volume: &Volume) -> Option<String> {
    let source = |source: &VolumeProjection| match source {
        VolumeProjection { cluster_trust_bundle: Some(_), .. } => Some("clusterTrustBundle"),
        VolumeProjection { pod_certificate: Some(_), .. } => Some("podCertificate"),
        _ => None,
    };
    let projected = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
    if let Some(kind) = projected.filter_map(source).next() {
        return Some(format!("projected.{kind}"));
    }
    if volumes::is_supported(volume) {
        return None;
    }
    // Whatever it is called: it is the only field but the name.
    let fields = serde_json::to_value(volume).unwrap_or_default();
    let mut names = fields.as_object().into_iter().flatten().map(|(name, _)| name.clone());
    Some(names.find(|name| name != "name").unwrap_or_default())
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
    for volume in spec.volumes.iter().flatten() {
        if let Some(kind) = unsupported_volume(volume) {
            note(true, &format!("spec.volumes[{}].{kind}", volume.name));
        }
    }
    note(spec.runtime_class_name.is_some(), "spec.runtimeClassName");
    note(spec.resource_claims.iter().flatten().next().is_some(), "spec.resourceClaims");
    note(spec.resources.is_some(), "spec.resources");
    note(spec.host_users == Some(false), "spec.hostUsers");
    note(spec.image_pull_secrets.iter().flatten().next().is_some(), "spec.imagePullSecrets");
    let init = spec.init_containers.iter().flatten().enumerate();
    for (index, container) in init {
        let path = format!("spec.initContainers[{index}]");
        for field in container_fields(container) {
            note(true, &format!("{path}.{field}"));
        }
    }
    for (index, container) in spec.containers.iter().enumerate() {
        let path = format!("spec.containers[{index}]");
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
    note(container.volume_devices.iter().flatten().next().is_some(), "volumeDevices");
    let sources = container.env.iter().flatten().filter_map(|e| e.value_from.as_ref());
    let rules = container.restart_policy_rules.iter().flatten();
    note(rules.into_iter().any(|rule| rule.action != "Restart"), "restartPolicyRules[].action");
    note(sources.into_iter().any(|s| s.file_key_ref.is_some()), "env[].valueFrom.fileKeyRef");
    let mounts = container.volume_mounts.iter().flatten();
    let recursive = |m: &VolumeMount| m.recursive_read_only.as_deref() == Some("Enabled");
    note(mounts.into_iter().any(recursive), "volumeMounts[].recursiveReadOnly");
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
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "n", "nfs": {"server": "s", "path": "/"}}],
            "containers": [{"name": "a", "volumeDevices": [{"name": "v", "devicePath": "/d"}]}]
        })));
        assert_eq!(
            refused,
            Some(Rejection {
                reason: "PodFeatureUnsupported",
                message: "Pod was rejected: this node does not support spec.volumes[n].nfs, \
                          spec.containers[0].volumeDevices"
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
