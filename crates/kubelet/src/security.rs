//! A container's rights, from its own security context and its pod's.
//!
//! **Contract**: pure, but for a seccomp profile's file.
//! **Upstream**: `pkg/kubelet/kuberuntime/security_context.go`, `pkg/securitycontext`, `pkg/kubelet/sysctl`.

use crate::container_config::namespaces;
use api::k8s_openapi::api::core::v1::{AppArmorProfile, Container, Pod, PodSpec, SELinuxOptions};
use runtime::{Image, SeccompProfile, SecurityContext};
use std::path::Path;

/// Sysctls that a pod may set; each belongs to a namespace of its own.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];
/// Where the kernel says whether it enforces AppArmor.
const APPARMOR: &str = "/sys/module/apparmor/parameters/enabled";
/// The former way to ask for a profile, by container.
const APPARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The rights of a container. `profiles` is the folder of the node's seccomp profiles.
pub(crate) fn context(
    pod: &Pod,
    container: &Container,
    profiles: Option<&Path>,
) -> Result<SecurityContext, String> {
    let spec = pod.spec.clone().unwrap_or_default();
    let of_pod = spec.security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let capabilities = own.capabilities.unwrap_or_default();
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let seccomp = own.seccomp_profile.or(of_pod.seccomp_profile);
    let apparmor = apparmor(pod, container);
    let privileged = own.privileged == Some(true);
    Ok(SecurityContext {
        run_as_user: own.run_as_user.or(of_pod.run_as_user),
        run_as_group: own.run_as_group.or(of_pod.run_as_group),
        supplemental_groups: of_pod
            .supplemental_groups
            .into_iter()
            .flatten()
            .chain(of_pod.fs_group)
            .collect(),
        privileged,
        add_capabilities: capabilities.add.unwrap_or_default(),
        drop_capabilities: capabilities.drop.unwrap_or_default(),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or_default(),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        seccomp: match seccomp {
            Some(profile) if !privileged => match profile.type_.as_str() {
                "RuntimeDefault" => SeccompProfile::RuntimeDefault,
                "Localhost" => localhost(profiles, profile.localhost_profile.as_deref().unwrap_or_default())?,
                _ => SeccompProfile::Unconfined,
            },
            _ => SeccompProfile::Unconfined,
        },
        apparmor_profile: match apparmor {
            Some(profile) => match profile.type_.as_str() {
                "RuntimeDefault" => "runtime/default".to_owned(),
                "Localhost" => format!("localhost/{}", profile.localhost_profile.unwrap_or_default()),
                _ => "unconfined".to_owned(),
            },
            None => String::new(),
        },
        selinux_options: selinux(own.se_linux_options.or(of_pod.se_linux_options).as_ref()),
        masked_paths: unmasked.then(Vec::new),
        readonly_paths: unmasked.then(Vec::new),
        namespaces: namespaces(&spec),
        ..Default::default()
    })
}

fn localhost(profiles: Option<&Path>, name: &str) -> Result<SeccompProfile, String> {
    let path = profiles.map(|folder| folder.join(name)).unwrap_or_default();
    let text = std::fs::read_to_string(&path);
    let text = text.map_err(|error| format!("cannot load seccomp profile {:?}: {error}", path.display()))?;
    Ok(SeccompProfile::Localhost(text))
}

fn selinux(options: Option<&SELinuxOptions>) -> Vec<String> {
    let Some(options) = options else { return Vec::new() };
    let named = [
        ("user", &options.user),
        ("role", &options.role),
        ("type", &options.type_),
        ("level", &options.level),
    ];
    let set = named.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    set.filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name}:{value}")).collect()
}

/// Whether a container must not run as root.
pub(crate) fn wants_non_root(pod: &Pod, container: &Container) -> bool {
    let of_pod = pod.spec.as_ref().and_then(|s| s.security_context.as_ref()).and_then(|s| s.run_as_non_root);
    container.security_context.as_ref().and_then(|s| s.run_as_non_root).or(of_pod) == Some(true)
}

/// That a container must not run as root, but would or might. The text is upstream's.
pub(crate) fn non_root_violation(pod: &Pod, container: &Container, image: Option<&Image>) -> Option<String> {
    if !wants_non_root(pod, container) {
        return None;
    }
    let of_pod = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let own = container.security_context.as_ref();
    let tail = format!("(pod: {:?}, container: {})", crate::sync_pod::full_name(pod), container.name);
    match own.and_then(|s| s.run_as_user).or_else(|| of_pod.and_then(|s| s.run_as_user)) {
        Some(0) => return Some(format!("container's runAsUser breaks non-root policy {tail}")),
        Some(_) => return None,
        None => {}
    }
    match image.map(|image| (image.uid, image.username.as_deref().unwrap_or_default())) {
        Some((Some(0), _) | (None, "")) => {
            Some(format!("container has runAsNonRoot and image will run as root {tail}"))
        }
        Some((None, name)) => Some(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is \
             non-root {tail}"
        )),
        _ => None,
    }
}

/// The first sysctl that this pod may not set.
pub(crate) fn forbidden_sysctl(spec: &PodSpec) -> Option<String> {
    let all = spec.security_context.iter().flat_map(|s| s.sysctls.iter().flatten());
    for sysctl in all {
        let name = sysctl.name.replace('/', ".");
        if !SAFE_SYSCTLS.contains(&name.as_str()) {
            return Some(format!("forbidden sysctl: {name:?} not allowlisted"));
        }
        let shared = if name.starts_with("net.") {
            (spec.host_network == Some(true)).then_some("Net")
        } else {
            (spec.host_ipc == Some(true)).then_some("IPC")
        };
        if let Some(namespace) = shared {
            return Some(format!("forbidden sysctl: {name:?} not allowed with host {namespace} enabled"));
        }
    }
    None
}

/// Whether a container of the pod asks for an AppArmor profile that this kernel would not enforce.
pub(crate) fn wants_missing_apparmor(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let wanted = containers
        .any(|container| apparmor(pod, container).is_some_and(|profile| profile.type_ != "Unconfined"));
    wanted && !std::fs::read_to_string(APPARMOR).is_ok_and(|text| text.starts_with('Y'))
}

/// The AppArmor profile that a container asks for. In the API annotations have become fields; in files they have not.
fn apparmor(pod: &Pod, container: &Container) -> Option<AppArmorProfile> {
    let own = container.security_context.as_ref().and_then(|context| context.app_armor_profile.clone());
    let annotated = || {
        let value =
            pod.metadata.annotations.as_ref()?.get(&format!("{APPARMOR_ANNOTATION}{}", container.name))?;
        let (type_, localhost_profile) = match value.as_str() {
            "unconfined" => ("Unconfined", None),
            "runtime/default" => ("RuntimeDefault", None),
            other => ("Localhost", Some(other.strip_prefix("localhost/")?.to_owned())),
        };
        Some(AppArmorProfile { type_: type_.to_owned(), localhost_profile })
    };
    own.or_else(annotated).or_else(|| pod.spec.as_ref()?.security_context.as_ref()?.app_armor_profile.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(security: Value, container: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"securityContext": security, "containers": [{"name": "c", "securityContext": container}]}
        }))
        .expect("a pod")
    }

    #[test]
    fn the_container_wins_over_its_pod() {
        let pod = pod(
            json!({"runAsUser": 1, "fsGroup": 7, "supplementalGroups": [5], "seccompProfile": {"type": "RuntimeDefault"}}),
            json!({"runAsUser": 2, "procMount": "Unmasked", "capabilities": {"drop": ["ALL"]}}),
        );
        let spec = pod.spec.as_ref().expect("a spec");
        let got = context(&pod, &spec.containers[0], None).expect("a context");
        assert_eq!((got.run_as_user, got.supplemental_groups), (Some(2), vec![5, 7]));
        assert_eq!(got.seccomp, SeccompProfile::RuntimeDefault);
        assert_eq!((got.masked_paths, got.drop_capabilities), (Some(vec![]), vec!["ALL".to_owned()]));
    }

    #[test]
    fn a_profile_is_the_containers_own_or_that_of_its_annotation_or_of_its_pod() {
        let profile = |kind: &str| json!({"appArmorProfile": {"type": kind}});
        for (of_pod, own, annotation, expected) in [
            (json!({}), json!({}), None, ""),
            (profile("Unconfined"), json!({}), None, "unconfined"),
            (profile("Unconfined"), json!({}), Some("runtime/default"), "runtime/default"),
            (profile("Unconfined"), profile("RuntimeDefault"), Some("localhost/p"), "runtime/default"),
            (json!({}), json!({}), Some("localhost/p"), "localhost/p"),
        ] {
            let mut pod = pod(of_pod, own);
            let name = pod.spec.as_ref().expect("a spec").containers[0].name.clone();
            pod.metadata.annotations =
                annotation.map(|value| [(format!("{APPARMOR_ANNOTATION}{name}"), value.to_owned())].into());
            let container = &pod.spec.as_ref().expect("a spec").containers[0];
            let got = context(&pod, container, None).expect("a context");
            assert_eq!(got.apparmor_profile, expected, "{annotation:?}");
        }
    }

    #[test]
    fn root_is_found_out() {
        let image = |uid: Option<i64>, name: Option<&str>| Image {
            id: "i".into(),
            repo_tags: vec![],
            repo_digests: vec![],
            size: 0,
            uid,
            username: name.map(str::to_owned),
        };
        for (security, container, image, begins) in [
            (json!({}), json!({}), image(Some(0), None), None),
            (json!({"runAsNonRoot": true}), json!({"runAsNonRoot": false}), image(Some(0), None), None),
            (json!({"runAsNonRoot": true}), json!({}), image(Some(5), None), None),
            (json!({"runAsNonRoot": true, "runAsUser": 5}), json!({}), image(Some(0), None), None),
            (
                json!({"runAsNonRoot": true}),
                json!({"runAsUser": 0}),
                image(Some(5), None),
                Some("container's runAsUser breaks"),
            ),
            (
                json!({"runAsNonRoot": true}),
                json!({}),
                image(None, None),
                Some(
                    "container has runAsNonRoot and image will run as root (pod: \"p_ns(u)\", container: c)",
                ),
            ),
            (
                json!({"runAsNonRoot": true}),
                json!({}),
                image(None, Some("www")),
                Some("container has runAsNonRoot and image has non-numeric user (www)"),
            ),
        ] {
            let pod = pod(security.clone(), container);
            let own = &pod.spec.as_ref().expect("a spec").containers[0];
            let said = non_root_violation(&pod, own, Some(&image));
            match begins {
                Some(begins) => assert!(said.as_deref().is_some_and(|s| s.starts_with(begins)), "{said:?}"),
                None => assert_eq!(said, None, "{security}"),
            }
        }
    }

    #[test]
    fn only_safe_sysctls_are_set() {
        let case = |name: &str, host: bool| {
            let pod = pod(json!({"sysctls": [{"name": name, "value": "1"}]}), json!({}));
            let mut spec = pod.spec.expect("a spec");
            spec.host_network = Some(host);
            forbidden_sysctl(&spec)
        };
        assert_eq!(case("kernel.shm_rmid_forced", false), None);
        assert_eq!(
            case("kernel.msgmax", false).as_deref(),
            Some("forbidden sysctl: \"kernel.msgmax\" not allowlisted")
        );
        assert_eq!(
            case("net.ipv4.tcp_syncookies", true).as_deref(),
            Some("forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host Net enabled")
        );
    }
}
