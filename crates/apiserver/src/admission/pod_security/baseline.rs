//! The rules of `baseline`: nothing that is known to give a pod more rights than it should have.
//!
//! **Upstream**: `policy/check_*.go` of `k8s.io/pod-security-admission`; names, versions, lists and texts are upstream's.

use super::checks::{Pod, Rule, Violation, containers, listed, name, plural, quoted};
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) const RULES: &[Rule] = &[
    Rule { id: "appArmorProfile", versions: &[(0, app_armor)], replaces: "" },
    Rule { id: "capabilities_baseline", versions: &[(0, capabilities)], replaces: "" },
    Rule { id: "hostNamespaces", versions: &[(0, host_namespaces)], replaces: "" },
    Rule { id: "hostPathVolumes", versions: &[(0, host_paths)], replaces: "" },
    Rule { id: "hostPorts", versions: &[(0, host_ports)], replaces: "" },
    Rule { id: "hostProbesAndHostLifecycle", versions: &[(34, probe_hosts)], replaces: "" },
    Rule { id: "privileged", versions: &[(0, privileged)], replaces: "" },
    Rule { id: "procMount", versions: &[(0, proc_mount), (35, proc_mount_35)], replaces: "" },
    Rule { id: "seLinuxOptions", versions: &[(0, selinux), (31, selinux_31)], replaces: "" },
    Rule {
        id: "seccompProfile_baseline",
        versions: &[(0, seccomp_annotations), (19, seccomp)],
        replaces: "",
    },
    Rule {
        id: "sysctls",
        versions: &[(0, sysctls), (27, sysctls_27), (29, sysctls_29), (32, sysctls_32)],
        replaces: "",
    },
    Rule { id: "windowsHostProcess", versions: &[(0, host_process)], replaces: "" },
];

fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let mut types = BTreeSet::new();
    let setters = pod.setters(|context| {
        let kind = context["appArmorProfile"]["type"].as_str();
        let bad = kind.filter(|kind| !matches!(*kind, "RuntimeDefault" | "Localhost"));
        types.extend(bad.map(str::to_owned));
        bad.is_some()
    });
    let allowed = |v: &str| v.is_empty() || v == "runtime/default" || v.starts_with("localhost/");
    let annotated: BTreeSet<String> = pod
        .annotations
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .filter(|(key, value)| key.starts_with(ANNOTATION) && !allowed(value))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    let annotations =
        (!annotated.is_empty()).then(|| plural(annotated.len(), "annotation", "annotations").to_owned());
    let setters: Vec<String> = setters.into_iter().chain(annotations).collect();
    if setters.is_empty() {
        return None;
    }
    let values: Vec<String> = types.into_iter().chain(annotated).collect();
    let reason = plural(values.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles");
    let detail =
        format!("{} must not set AppArmor profile type to {}", setters.join(" and "), quoted(&values));
    Violation::new(reason, detail)
}

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let (bad, added) = adding(pod, |capability| CAPABILITIES.contains(&capability));
    if bad.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not include {} in securityContext.capabilities.add",
        containers(&bad),
        quoted(&added)
    );
    Violation::new("non-default capabilities", detail)
}

/// Containers that add other capabilities than the allowed ones, and which.
pub(super) fn adding<'a>(pod: &Pod<'a>, allowed: impl Fn(&str) -> bool) -> (Vec<&'a str>, BTreeSet<String>) {
    let mut forbidden = BTreeSet::new();
    let bad = pod.bad(|container| {
        let added = container["securityContext"]["capabilities"]["add"].as_array().into_iter().flatten();
        let before =
            added.filter_map(Value::as_str).filter(|c| !allowed(c)).map(|c| forbidden.insert(c.to_owned()));
        before.count() > 0
    });
    (bad, forbidden)
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| pod.spec[field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    if shared.is_empty() { None } else { Violation::new("host namespaces", shared.join(", ")) }
}

fn host_paths(pod: &Pod<'_>) -> Option<Violation> {
    let bad: Vec<&str> = pod.volumes().filter(|v| !v["hostPath"].is_null()).map(name).collect();
    if bad.is_empty() {
        return None;
    }
    let detail = format!("{} {}", plural(bad.len(), "volume", "volumes"), quoted(&bad));
    Violation::new("hostPath volumes", detail)
}

fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
    let mut ports = BTreeSet::new();
    let bad = pod.bad(|container| {
        let claimed = container["ports"].as_array().into_iter().flatten();
        let claimed = claimed.filter_map(|port| port["hostPort"].as_i64()).filter(|port| *port != 0);
        claimed.map(|port| ports.insert(port.to_string())).count() > 0
    });
    if bad.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {}",
        containers(&bad),
        plural(bad.len(), "uses", "use"),
        plural(ports.len(), "hostPort", "hostPorts"),
        listed(&ports)
    );
    Violation::new("hostPort", detail)
}

fn probe_hosts(pod: &Pod<'_>) -> Option<Violation> {
    let mut hosts = BTreeSet::new();
    let bad: BTreeSet<&str> = pod
        .bad(|container| {
            let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|field| &container[field]);
            let hooks = ["postStart", "preStop"].map(|field| &container["lifecycle"][field]);
            let asked = probes.into_iter().chain(hooks).flat_map(|handler| {
                ["httpGet", "tcpSocket"].into_iter().filter_map(|how| handler[how]["host"].as_str())
            });
            asked.filter(|host| !host.is_empty()).map(|host| hosts.insert(host.to_owned())).count() > 0
        })
        .into_iter()
        .collect();
    if bad.is_empty() {
        return None;
    }
    let bad: Vec<&str> = bad.into_iter().collect();
    let detail = format!(
        "{} {} {} {}",
        containers(&bad),
        plural(bad.len(), "uses", "use"),
        plural(hosts.len(), "probe or lifecycle host", "probe or lifecycle hosts"),
        quoted(&hosts)
    );
    Violation::new("probe or lifecycle host", detail)
}

fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let bad = pod.bad(|container| container["securityContext"]["privileged"] == true);
    if bad.is_empty() {
        return None;
    }
    Violation::new("privileged", format!("{} must not set securityContext.privileged=true", containers(&bad)))
}

pub(super) fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    let mut types = BTreeSet::new();
    let bad = pod.bad(|container| {
        let kind = container["securityContext"]["procMount"].as_str().filter(|kind| *kind != "Default");
        types.extend(kind.map(str::to_owned));
        kind.is_some()
    });
    if bad.is_empty() {
        return None;
    }
    let detail = format!("{} must not set securityContext.procMount to {}", containers(&bad), quoted(&types));
    Violation::new("procMount", detail)
}

fn proc_mount_35(pod: &Pod<'_>) -> Option<Violation> {
    if pod.has_user_namespace() { None } else { proc_mount(pod) }
}

fn selinux(pod: &Pod<'_>) -> Option<Violation> {
    selinux_options(pod, &["", "container_t", "container_init_t", "container_kvm_t"])
}

fn selinux_31(pod: &Pod<'_>) -> Option<Violation> {
    selinux_options(pod, &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"])
}

fn selinux_options(pod: &Pod<'_>, allowed: &[&str]) -> Option<Violation> {
    let (mut types, mut users, mut roles) = (BTreeSet::new(), false, false);
    let setters = pod.setters(|context| {
        let text = |field: &str| context["seLinuxOptions"][field].as_str().unwrap_or_default();
        let (bad_type, user, role) =
            (!allowed.contains(&text("type")), !text("user").is_empty(), !text("role").is_empty());
        if bad_type {
            types.insert(text("type").to_owned());
        }
        users |= user;
        roles |= role;
        bad_type || user || role
    })?;
    let mut data = Vec::new();
    if !types.is_empty() {
        data.push(format!("{} {}", plural(types.len(), "type", "types"), quoted(&types)));
    }
    data.extend(users.then(|| "user may not be set".to_owned()));
    data.extend(roles.then(|| "role may not be set".to_owned()));
    let detail = format!("{setters} set forbidden securityContext.seLinuxOptions: {}", data.join("; "));
    Violation::new("seLinuxOptions", detail)
}

fn seccomp_annotations(pod: &Pod<'_>) -> Option<Violation> {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let allowed = |v: &str| matches!(v, "runtime/default" | "docker/default") || v.starts_with("localhost/");
    let keys =
        std::iter::once(POD.to_owned()).chain(pod.containers().map(|c| format!("{CONTAINER}{}", name(c))));
    let forbidden: BTreeSet<String> = keys
        .filter_map(|key| Some((pod.annotations[&key].as_str().filter(|v| !allowed(v))?, key)))
        .map(|(value, key)| format!("{key}={value:?}"))
        .collect();
    if forbidden.is_empty() {
        return None;
    }
    let what = plural(forbidden.len(), "annotation", "annotations");
    Violation::new("seccompProfile", format!("forbidden {what} {}", listed(&forbidden)))
}

pub(super) fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    let mut types = BTreeSet::new();
    let setters = pod.setters(|context| {
        let profile = &context["seccompProfile"];
        let kind = profile["type"].as_str().unwrap_or_default();
        let bad = profile.is_object() && !matches!(kind, "Localhost" | "RuntimeDefault");
        if bad {
            types.insert(kind.to_owned());
        }
        bad
    })?;
    let detail = format!("{setters} must not set securityContext.seccompProfile.type to {}", quoted(&types));
    Violation::new("seccompProfile", detail)
}

const SYSCTLS: [&str; 5] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
];
const SYSCTLS_27: [&str; 1] = ["net.ipv4.ip_local_reserved_ports"];
const SYSCTLS_29: [&str; 4] = [
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
];
const SYSCTLS_32: [&str; 2] = ["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"];

fn sysctls(pod: &Pod<'_>) -> Option<Violation> {
    sysctls_but(pod, &[&SYSCTLS])
}

fn sysctls_27(pod: &Pod<'_>) -> Option<Violation> {
    sysctls_but(pod, &[&SYSCTLS, &SYSCTLS_27])
}

fn sysctls_29(pod: &Pod<'_>) -> Option<Violation> {
    sysctls_but(pod, &[&SYSCTLS, &SYSCTLS_27, &SYSCTLS_29])
}

fn sysctls_32(pod: &Pod<'_>) -> Option<Violation> {
    sysctls_but(pod, &[&SYSCTLS, &SYSCTLS_27, &SYSCTLS_29, &SYSCTLS_32])
}

fn sysctls_but(pod: &Pod<'_>, allowed: &[&[&str]]) -> Option<Violation> {
    let set = pod.spec["securityContext"]["sysctls"].as_array().into_iter().flatten().map(name);
    let forbidden: Vec<&str> = set.filter(|name| !allowed.iter().any(|list| list.contains(name))).collect();
    if forbidden.is_empty() { None } else { Violation::new("forbidden sysctls", forbidden.join(", ")) }
}

fn host_process(pod: &Pod<'_>) -> Option<Violation> {
    let setters = pod.setters(|context| context["windowsOptions"]["hostProcess"] == true)?;
    let detail = format!("{setters} must not set securityContext.windowsOptions.hostProcess=true");
    Violation::new("hostProcess", detail)
}
