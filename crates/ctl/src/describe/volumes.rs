//! A pod's volumes.

use serde_json::Value;

use super::{items, text};

/// `Volumes:`
pub(super) fn section(pod: &Value) -> String {
    let all = items(&pod["spec"], "volumes");
    if all.is_empty() {
        return "Volumes:\t<none>\n".to_owned();
    }
    let mut out = "Volumes:\n".to_owned();
    for volume in all {
        out += &format!("  {}:\n", text(volume, "name"));
        out += &source(volume);
    }
    out
}

fn line(label: &str, value: &str) -> String {
    format!("    {label}:\t{value}\n")
}

fn source(volume: &Value) -> String {
    let Some((kind, source)) = volume.as_object().and_then(|map| map.iter().find(|(key, _)| *key != "name"))
    else {
        return line("<unknown>", "").replace(":\t", "");
    };
    let flag = |field: &str| source[field].as_bool().unwrap_or(false).to_string();
    match kind.as_str() {
        "emptyDir" => {
            let size = text(source, "sizeLimit");
            line("Type", "EmptyDir (a temporary directory that shares a pod's lifetime)")
                + &line("Medium", text(source, "medium"))
                + &line("SizeLimit", if size.is_empty() { "<unset>" } else { size })
        }
        "hostPath" => {
            line("Type", "HostPath (bare host directory volume)")
                + &line("Path", text(source, "path"))
                + &line("HostPathType", text(source, "type"))
        }
        "configMap" => {
            line("Type", "ConfigMap (a volume populated by a ConfigMap)")
                + &line("Name", text(source, "name"))
                + &line("Optional", &flag("optional"))
        }
        "secret" => {
            line("Type", "Secret (a volume populated by a Secret)")
                + &line("SecretName", text(source, "secretName"))
                + &line("Optional", &flag("optional"))
        }
        "persistentVolumeClaim" => {
            line(
                "Type",
                "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
            ) + &line("ClaimName", text(source, "claimName"))
                + &line("ReadOnly", &flag("readOnly"))
        }
        "projected" => projected(source),
        "downwardAPI" => {
            let mut out = line("Type", "DownwardAPI (a volume populated by information about the pod)")
                + "    Items:\n";
            for item in items(source, "items") {
                if item["fieldRef"].is_object() {
                    out += &format!(
                        "      {} -> {}\n",
                        text(&item["fieldRef"], "fieldPath"),
                        text(item, "path")
                    );
                }
                if item["resourceFieldRef"].is_object() {
                    out += &format!(
                        "      {} -> {}\n",
                        text(&item["resourceFieldRef"], "resource"),
                        text(item, "path")
                    );
                }
            }
            out
        }
        "nfs" => {
            line("Type", "NFS (an NFS mount that lasts the lifetime of a pod)")
                + &line("Server", text(source, "server"))
                + &line("Path", text(source, "path"))
                + &line("ReadOnly", &flag("readOnly"))
        }
        "ephemeral" => line(
            "Type",
            "EphemeralVolume (an inline specification for a volume that gets created and deleted with the pod)",
        ),
        "image" => {
            line("Type", "Image (a container image or OCI artifact)")
                + &line("Reference", text(source, "reference"))
                + &line("PullPolicy", text(source, "pullPolicy"))
        }
        "csi" => {
            line("Type", "CSI (a Container Storage Interface (CSI) volume source)")
                + &line("Driver", text(source, "driver"))
                + &line("FSType", text(source, "fsType"))
                + &line("ReadOnly", &flag("readOnly"))
        }
        _ => "    <unknown>\n".to_owned(),
    }
}

fn projected(source: &Value) -> String {
    let mut out = line("Type", "Projected (a volume that contains injected data from multiple sources)");
    for one in items(source, "sources") {
        if let Some(secret) = one.get("secret") {
            out += &line("SecretName", text(secret, "name"));
            out += &line("Optional", &secret["optional"].as_bool().unwrap_or(false).to_string());
        } else if one.get("downwardAPI").is_some() {
            out += &line("DownwardAPI", "true");
        } else if let Some(map) = one.get("configMap") {
            out += &line("ConfigMapName", text(map, "name"));
            out += &line("Optional", &map["optional"].as_bool().unwrap_or(false).to_string());
        } else if let Some(token) = one.get("serviceAccountToken") {
            out += &line(
                "TokenExpirationSeconds",
                &token["expirationSeconds"].as_i64().unwrap_or(0).to_string(),
            );
        }
    }
    out
}
