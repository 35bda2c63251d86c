//! The rules that `restricted` adds: pods say that they need no rights.
//!
//! **Upstream**: `policy/check_*.go` of `k8s.io/pod-security-admission`; names, versions, lists and texts are upstream's.

use super::baseline;
use super::checks::{Pod, Rule, Violation, containers, name, plural, quoted};
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) const RULES: &[Rule] = &[
    Rule { id: "allowPrivilegeEscalation", versions: &[(8, escalation), (25, escalation_25)], replaces: "" },
    Rule {
        id: "capabilities_restricted",
        versions: &[(22, capabilities), (25, capabilities_25)],
        replaces: "capabilities_baseline",
    },
    Rule { id: "procMount_restricted", versions: &[(35, baseline::proc_mount)], replaces: "procMount" },
    Rule { id: "restrictedVolumes", versions: &[(0, volumes)], replaces: "hostPathVolumes" },
    Rule { id: "runAsNonRoot", versions: &[(0, non_root), (35, non_root_35)], replaces: "" },
    Rule { id: "runAsUser", versions: &[(23, run_as_user), (35, run_as_user_35)], replaces: "" },
    Rule {
        id: "seccompProfile_restricted",
        versions: &[(19, seccomp), (25, seccomp_25)],
        replaces: "seccompProfile_baseline",
    },
];

fn escalation(pod: &Pod<'_>) -> Option<Violation> {
    let bad = pod.bad(|container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    if bad.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&bad));
    Violation::new("allowPrivilegeEscalation != false", detail)
}

fn escalation_25(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { escalation(pod) }
}

fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let keeping = pod.bad(|container| {
        let dropped = container["securityContext"]["capabilities"]["drop"].as_array();
        !dropped.is_some_and(|dropped| dropped.iter().any(|capability| capability == "ALL"))
    });
    let (bad, added) = baseline::adding(pod, |capability| capability == "NET_BIND_SERVICE");
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details
            .push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeping)));
    }
    if !bad.is_empty() {
        details.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            containers(&bad),
            quoted(&added)
        ));
    }
    if details.is_empty() { None } else { Violation::new("unrestricted capabilities", details.join("; ")) }
}

fn capabilities_25(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { capabilities(pod) }
}

const ALLOWED_VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
const KNOWN_VOLUMES: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

fn volumes(pod: &Pod<'_>) -> Option<Violation> {
    let is =
        |volume: &Value, kinds: &[&'static str]| kinds.iter().copied().find(|kind| !volume[*kind].is_null());
    let bad: Vec<&Value> = pod.volumes().filter(|volume| is(volume, &ALLOWED_VOLUMES).is_none()).collect();
    if bad.is_empty() {
        return None;
    }
    let types: BTreeSet<&str> =
        bad.iter().map(|volume| is(volume, &KNOWN_VOLUMES).unwrap_or("unknown")).collect();
    let detail = format!(
        "{} {} {} {} {}",
        plural(bad.len(), "volume", "volumes"),
        quoted(bad.iter().map(|volume| name(volume))),
        plural(bad.len(), "uses", "use"),
        plural(types.len(), "restricted volume type", "restricted volume types"),
        quoted(&types)
    );
    Violation::new("restricted volume types", detail)
}

fn non_root(pod: &Pod<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    if let Some(setters) = pod.setters(|context| context["runAsNonRoot"] == false) {
        return Violation::new(REASON, format!("{setters} must not set securityContext.runAsNonRoot=false"));
    }
    let bad = unless_pod(pod, |context| !context["runAsNonRoot"].is_null());
    if bad.is_empty() {
        return None;
    }
    let detail = format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&bad));
    Violation::new(REASON, detail)
}

/// Containers that leave unsaid what the pod as a whole does not say either.
fn unless_pod<'a>(pod: &Pod<'a>, is_said: impl Fn(&Value) -> bool) -> Vec<&'a str> {
    if is_said(&pod.spec["securityContext"]) {
        return Vec::new();
    }
    pod.bad(|container| !is_said(&container["securityContext"]))
}

fn non_root_35(pod: &Pod<'_>) -> Option<Violation> {
    if pod.has_user_namespace() { None } else { non_root(pod) }
}

fn run_as_user(pod: &Pod<'_>) -> Option<Violation> {
    let setters = pod.setters(|context| context["runAsUser"] == 0)?;
    Violation::new("runAsUser=0", format!("{setters} must not set runAsUser=0"))
}

fn run_as_user_35(pod: &Pod<'_>) -> Option<Violation> {
    if pod.has_user_namespace() { None } else { run_as_user(pod) }
}

fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    if let Some(violation) = baseline::seccomp(pod) {
        return Some(violation);
    }
    let bad = unless_pod(pod, |context| context["seccompProfile"].is_object());
    if bad.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        containers(&bad)
    );
    Violation::new("seccompProfile", detail)
}

fn seccomp_25(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { seccomp(pod) }
}
