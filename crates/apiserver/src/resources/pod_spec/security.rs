//! What a pod may ask for of rights: users, profiles, kernel parameters, namespaces of the node.
//!
//! **Upstream**: `validatePodSpecSecurityContext`, `ValidateSecurityContext`, `validateHostUsers`.

use crate::resources::check;
use crate::resources::edit::{items, text};
use api::field::{Error, ErrorList, Path};
use api::names;
use serde_json::Value;

const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
/// `PATH_MAX` of Linux, without the byte that ends a path.
pub(super) const APPARMOR_NAME_MAX: usize = 4095;
/// Kernel parameters of the IPC namespace, besides those below `fs.mqueue.`; those of the network are below `net.`.
const IPC_SYSCTLS: [&str; 10] = [
    "kernel.msg",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];

/// All errors of a pod's security context and of what it shares with its node.
pub(super) fn check_pod(errors: &mut ErrorList, spec_path: &Path, spec: &Value) {
    let (path, context) = (spec_path.child("securityContext"), &spec["securityContext"]);
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        check_id(errors, &path.child(field), &context[field]);
    }
    for (i, group) in items(context, "supplementalGroups").iter().enumerate() {
        check_id(errors, &path.child("supplementalGroups").index(i), group);
    }
    if spec["hostPID"] == true && spec["shareProcessNamespace"] == true {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(Error::invalid(&path.child("shareProcessNamespace"), true, detail));
    }
    check_sysctls(errors, &path.child("sysctls"), spec);
    for (field, values) in [
        ("fsGroupChangePolicy", &["Always", "OnRootMismatch"][..]),
        ("supplementalGroupsPolicy", &["Merge", "Strict"]),
        ("seLinuxChangePolicy", &["MountOption", "Recursive"]),
    ] {
        one_of(errors, &path.child(field), &context[field], values);
    }
    check_seccomp(errors, &path.child("seccompProfile"), &context["seccompProfile"]);
    check_apparmor(errors, &path.child("appArmorProfile"), &context["appArmorProfile"]);
    if spec["hostUsers"] == false {
        check_user_namespace(errors, spec_path, spec);
    }
}

/// A pod with users of its own shares nothing with its node that tells users apart.
fn check_user_namespace(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let detail = "when `hostUsers` is false";
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec[field] == true {
            errors.push(Error::forbidden(&path.child(shown), detail));
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (i, container) in items(spec, list).iter().enumerate() {
            if !items(container, "volumeDevices").is_empty() {
                errors.push(Error::forbidden(&path.child(list).index(i).child("volumeDevices"), detail));
            }
        }
    }
}

/// All errors of a container's security context.
pub(super) fn check_container(errors: &mut ErrorList, path: &Path, context: &Value, spec: &Value) {
    for field in ["runAsUser", "runAsGroup"] {
        check_id(errors, &path.child(field), &context[field]);
    }
    one_of(errors, &path.child("procMount"), &context["procMount"], &["Default", "Unmasked"]);
    if context["procMount"] == "Unmasked" && spec["hostUsers"] != false {
        let detail = "`hostUsers` must be false to use `Unmasked`";
        errors.push(Error::invalid(&path.child("procMount"), "Unmasked", detail));
    }
    check_seccomp(errors, &path.child("seccompProfile"), &context["seccompProfile"]);
    if context["allowPrivilegeEscalation"] == false {
        if context["privileged"] == true {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(Error::invalid(path, context.clone(), detail));
        }
        let admin = items(&context["capabilities"], "add").iter().any(|c| c == "CAP_SYS_ADMIN");
        if admin {
            let detail =
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(Error::invalid(path, context.clone(), detail));
        }
    }
    check_apparmor(errors, &path.child("appArmorProfile"), &context["appArmorProfile"]);
}

/// A user or group id.
fn check_id(errors: &mut ErrorList, path: &Path, id: &Value) {
    if let Some(number) = id.as_i64() {
        check::invalid(errors, path, id, names::between(number, 0, i64::from(i32::MAX)));
    }
}

/// A string that must be one of these if it is there at all; an empty one is there.
fn one_of(errors: &mut ErrorList, path: &Path, value: &Value, supported: &[&str]) {
    if let Some(text) = value.as_str().filter(|text| !supported.contains(text)) {
        errors.push(Error::not_supported(path, text, supported));
    }
}

fn check_sysctls(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let sysctls = items(&spec["securityContext"], "sysctls");
    for (i, sysctl) in sysctls.iter().enumerate() {
        let path = path.index(i).child("name");
        let name = &sysctl["name"];
        check::required(errors, &path, name);
        if name.as_str().is_some_and(|name| !name.is_empty() && !is_sysctl(name)) {
            errors.push(Error::invalid(&path, name.clone(), SYSCTL_DETAIL));
        } else if sysctls[..i].iter().any(|other| other["name"] == *name) {
            errors.push(Error::duplicate(&path, name.clone()));
        }
        let normal = text(sysctl, "name").replace('/', ".");
        let of_ipc = IPC_SYSCTLS.contains(&normal.as_str()) || normal.starts_with("fs.mqueue.");
        if spec["hostNetwork"] == true && normal.starts_with("net.") {
            let detail = "may not be specified when 'hostNetwork' is true";
            errors.push(Error::invalid(&path, name.clone(), detail));
        } else if spec["hostIPC"] == true && of_ipc {
            errors.push(Error::invalid(&path, name.clone(), "may not be specified when 'hostIPC' is true"));
        }
    }
}

/// **Upstream**: `SysctlMaxLength`, `SysctlContainSlashFmt`.
const SYSCTL_DETAIL: &str = "must have at most 253 characters and match regex \
    ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

/// Whether a kernel parameter may be called so.
fn is_sysctl(name: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let is_end = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.len() <= 253
        && name.split(['.', '/']).all(|part| {
            part.bytes().all(is_inner) && is_end(part.bytes().next()) && is_end(part.bytes().next_back())
        })
}

fn check_seccomp(errors: &mut ErrorList, path: &Path, profile: &Value) {
    if profile.is_null() {
        return;
    }
    check_profile_type(errors, &path.child("type"), profile, "seccompProfile");
    let (path, file) = (path.child("localhostProfile"), &profile["localhostProfile"]);
    match (profile["type"] == "Localhost", file.as_str()) {
        (true, None) => {
            errors.push(Error::required(&path, "must be set when seccomp type is Localhost"));
        }
        (true, Some(file)) => super::volume::check_relative(errors, &path, file),
        (false, Some(_)) => {
            let detail = "can only be set when seccomp type is Localhost";
            errors.push(Error::invalid(&path, profile.clone(), detail));
        }
        (false, None) => {}
    }
}

fn check_apparmor(errors: &mut ErrorList, path: &Path, profile: &Value) {
    if profile.is_null() {
        return;
    }
    check_profile_type(errors, &path.child("type"), profile, "appArmorProfile");
    let (path, name) = (path.child("localhostProfile"), profile["localhostProfile"].as_str());
    match text(profile, "type") {
        "Localhost" => {
            let name = name.unwrap_or_default();
            if name.trim() != name {
                errors.push(Error::invalid(&path, name, "must not be padded with whitespace"));
            } else if name.is_empty() {
                errors.push(Error::required(&path, "must be set when AppArmor type is Localhost"));
            }
            if name.len() > APPARMOR_NAME_MAX {
                errors.push(Error::too_long(&path, APPARMOR_NAME_MAX));
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if let Some(name) = name {
                let detail = "can only be set when AppArmor type is Localhost";
                errors.push(Error::invalid(&path, name, detail));
            }
        }
        _ => {}
    }
}

fn check_profile_type(errors: &mut ErrorList, path: &Path, profile: &Value, what: &str) {
    match text(profile, "type") {
        "" => errors.push(Error::required(path, &format!("type is required when {what} is set"))),
        kind if PROFILES.contains(&kind) => {}
        kind => errors.push(Error::not_supported(path, kind, PROFILES)),
    }
}
