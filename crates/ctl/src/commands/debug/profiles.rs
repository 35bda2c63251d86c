//! What a debugging profile changes in a pod and its debugging container. Pure.
//!
//! **Upstream.** `kubectl/pkg/cmd/debug/profiles.go` (behaviour).

use serde_json::{Value, json};

/// How a target is debugged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// By a container that joins the pod.
    Ephemeral,
    /// By a copy of the pod.
    Copy,
    /// By a pod on the node.
    Node,
}

/// A named set of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profile {
    Legacy,
    General,
    Baseline,
    Restricted,
    Netadmin,
    Sysadmin,
}

/// What a copy keeps of its original.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Keep {
    pub(super) labels: bool,
    pub(super) annotations: bool,
    pub(super) liveness: bool,
    pub(super) readiness: bool,
    pub(super) startup: bool,
    pub(super) init_containers: bool,
}

impl Profile {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "legacy" => Self::Legacy,
            "general" => Self::General,
            "baseline" => Self::Baseline,
            "restricted" => Self::Restricted,
            "netadmin" => Self::Netadmin,
            "sysadmin" => Self::Sysadmin,
            other => return Err(format!("unknown profile: {other}")),
        })
    }

    /// Changes a pod and the container that debugs.
    pub(super) fn apply(self, pod: &mut Value, container: &str, style: Style, keep: Keep) {
        match (self, style) {
            (Self::Legacy, Style::Copy) => remove(&mut pod["metadata"], "labels"),
            (Self::Legacy, Style::Ephemeral) => {}
            (Self::Legacy, Style::Node) => {
                mount_root(pod, container);
                use_host_namespaces(pod);
            }
            (_, Style::Copy) => strip(pod, keep),
            _ => {}
        }
        if let Some(container) = find(pod, container) {
            self.secure(container, style);
        }
        match (self, style) {
            (Self::General | Self::Sysadmin, Style::Node) => {
                mount_root(pod, container);
                use_host_namespaces(pod);
            }
            (Self::Netadmin, Style::Node) => use_host_namespaces(pod),
            (Self::Legacy, _) => {}
            (_, Style::Copy) if pod["spec"]["shareProcessNamespace"].is_null() => {
                pod["spec"]["shareProcessNamespace"] = true.into();
            }
            _ => {}
        }
    }

    fn secure(self, container: &mut Value, style: Style) {
        match self {
            Self::Legacy => {}
            Self::General if style == Style::Node => remove(container, "securityContext"),
            Self::General => add_capabilities(container, &["SYS_PTRACE"]),
            Self::Baseline => remove(container, "securityContext"),
            Self::Restricted => {
                container["securityContext"] = json!({"runAsNonRoot": true,
                    "capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": false,
                    "seccompProfile": {"type": "RuntimeDefault"}});
            }
            Self::Netadmin => add_capabilities(container, &["NET_ADMIN", "NET_RAW"]),
            Self::Sysadmin => {
                if !container["securityContext"].is_object() {
                    container["securityContext"] = json!({});
                }
                container["securityContext"]["privileged"] = true.into();
            }
        }
    }
}

fn remove(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove(field);
    }
}

/// A container of a pod, of whichever sort.
pub(super) fn find<'a>(pod: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    let spec = pod["spec"].as_object_mut()?;
    let lists = spec
        .iter_mut()
        .filter(|(list, _)| matches!(list.as_str(), "containers" | "initContainers" | "ephemeralContainers"));
    lists.flat_map(|(_, list)| list.as_array_mut().into_iter().flatten()).find(|c| c["name"] == name)
}

fn strip(pod: &mut Value, keep: Keep) {
    for (field, kept) in [("labels", keep.labels), ("annotations", keep.annotations)] {
        if !kept {
            remove(&mut pod["metadata"], field);
        }
    }
    if !keep.init_containers {
        remove(&mut pod["spec"], "initContainers");
    }
    for container in pod["spec"]["containers"].as_array_mut().into_iter().flatten() {
        for (probe, kept) in [
            ("livenessProbe", keep.liveness),
            ("readinessProbe", keep.readiness),
            ("startupProbe", keep.startup),
        ] {
            if !kept {
                remove(container, probe);
            }
        }
    }
}

fn add_capabilities(container: &mut Value, names: &[&str]) {
    if !container["securityContext"]["capabilities"]["add"].is_array() {
        // Assigning makes the objects on the way.
        container["securityContext"]["capabilities"]["add"] = json!([]);
    }
    if let Some(list) = container["securityContext"]["capabilities"]["add"].as_array_mut() {
        list.extend(names.iter().map(|name| Value::from(*name)));
    }
}

fn push(object: &mut Value, list: &str, value: Value) {
    if !object[list].is_array() {
        object[list] = json!([]);
    }
    if let Some(list) = object[list].as_array_mut() {
        list.push(value);
    }
}

fn mount_root(pod: &mut Value, container: &str) {
    push(&mut pod["spec"], "volumes", json!({"name": "host-root", "hostPath": {"path": "/"}}));
    if let Some(container) = find(pod, container) {
        push(container, "volumeMounts", json!({"name": "host-root", "mountPath": "/host"}));
    }
}

fn use_host_namespaces(pod: &mut Value) {
    for namespace in ["hostNetwork", "hostPID", "hostIPC"] {
        pod["spec"][namespace] = true.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({"metadata": {"name": "p", "labels": {"a": "b"}, "annotations": {"c": "d"}}, "spec": {
            "initContainers": [{"name": "i"}], "ephemeralContainers": [{"name": "e"}],
            "containers": [{"name": "d", "livenessProbe": {}, "securityContext": {"runAsUser": 1}}]}})
    }

    #[test]
    fn profiles_grant_what_they_say() {
        let secured = |profile: Profile, style: Style, name: &str| {
            let mut pod = pod();
            profile.apply(&mut pod, name, style, Keep::default());
            find(&mut pod, name).unwrap()["securityContext"].clone()
        };
        for (profile, style, expected) in [
            (Profile::Legacy, Style::Ephemeral, json!(null)),
            (Profile::General, Style::Ephemeral, json!({"capabilities": {"add": ["SYS_PTRACE"]}})),
            (Profile::Netadmin, Style::Ephemeral, json!({"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}})),
            (Profile::Sysadmin, Style::Ephemeral, json!({"privileged": true})),
            (Profile::Baseline, Style::Ephemeral, json!(null)),
            (
                Profile::Restricted,
                Style::Ephemeral,
                json!({"runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
                "allowPrivilegeEscalation": false, "seccompProfile": {"type": "RuntimeDefault"}}),
            ),
        ] {
            assert_eq!(secured(profile, style, "e"), expected, "{profile:?}");
        }
        assert_eq!(secured(Profile::General, Style::Node, "d"), json!(null));
        let kept = secured(Profile::Sysadmin, Style::Copy, "d");
        assert_eq!(kept, json!({"runAsUser": 1, "privileged": true}));
    }

    #[test]
    fn copies_lose_what_would_draw_traffic_or_kill_them() {
        let mut copy = pod();
        Profile::General.apply(&mut copy, "d", Style::Copy, Keep::default());
        assert!(copy["metadata"]["labels"].is_null() && copy["metadata"]["annotations"].is_null());
        assert!(copy["spec"]["initContainers"].is_null());
        assert!(copy["spec"]["containers"][0]["livenessProbe"].is_null());
        assert_eq!(copy["spec"]["shareProcessNamespace"], true);
        let mut kept = pod();
        let keep = Keep { labels: true, liveness: true, init_containers: true, ..Keep::default() };
        Profile::Baseline.apply(&mut kept, "d", Style::Copy, keep);
        assert_eq!(kept["metadata"]["labels"]["a"], "b");
        assert!(kept["spec"]["containers"][0]["livenessProbe"].is_object());
        assert!(kept["spec"]["initContainers"].is_array());
    }

    #[test]
    fn nodes_are_seen_from_within() {
        let mut pod = pod();
        Profile::General.apply(&mut pod, "d", Style::Node, Keep::default());
        assert_eq!(
            (&pod["spec"]["hostPID"], &pod["spec"]["volumes"][0]["hostPath"]["path"]),
            (&json!(true), &json!("/"))
        );
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"], "/host");
        assert!(Profile::parse("other").is_err());
    }
}
