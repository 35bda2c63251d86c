//! The descriptions of claims and storage classes.

use serde_json::Value;

use super::workloads::{described, head, recorded};
use super::{Describe, items, text};
use crate::connection::JSON;
use crate::duration;
use crate::output::json::sorted;
use crate::report::Error;

/// A claim's text.
pub(super) async fn claim(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    let mut out = head(object);
    out += &format!("StorageClass:\t{}\n", text(spec, "storageClassName"));
    out += &match metadata["deletionTimestamp"].as_str() {
        Some(time) => {
            let age = duration::since(Some(time), describe.context.terminal.now());
            format!("Status:\tTerminating (lasts {age})\n")
        }
        None => format!("Status:\t{}\n", text(status, "phase")),
    };
    out += &format!("Volume:\t{}\n", text(spec, "volumeName"));
    out += &described(object);
    out += &format!("Finalizers:\t{}\n", list(&metadata["finalizers"]));
    let bound = !text(spec, "volumeName").is_empty();
    let capacity = if bound { text(&status["capacity"], "storage") } else { "" };
    let modes = if bound { modes(&status["accessModes"]) } else { String::new() };
    out += &format!("Capacity:\t{capacity}\nAccess Modes:\t{modes}\n");
    if !text(spec, "volumeMode").is_empty() {
        out += &format!("VolumeMode:\t{}\n", text(spec, "volumeMode"));
    }
    let source = &spec["dataSource"];
    if source.is_object() {
        out += "DataSource:\n";
        for (title, field) in [("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name")] {
            if !text(source, field).is_empty() {
                out += &format!("  {title}:\t{}\n", text(source, field));
            }
        }
    }
    let users = users(describe, text(metadata, "namespace"), text(metadata, "name")).await?;
    out += &super::column("Used By", &users);
    let conditions = items(status, "conditions");
    if !conditions.is_empty() {
        out += "Conditions:\n  Type\tStatus\tLastProbeTime\tLastTransitionTime\tReason\tMessage\n  ----\t------\t-----------------\t------------------\t------\t-------\n";
        for one in conditions {
            out += &format!(
                "  {} \t{} \t{} \t{} \t{} \t{}\n",
                text(one, "type"),
                text(one, "status"),
                describe.time(&one["lastProbeTime"]),
                describe.time(&one["lastTransitionTime"]),
                text(one, "reason"),
                text(one, "message")
            );
        }
    }
    Ok(out + &recorded(describe, object).await)
}

/// The pods that name a claim.
async fn users(describe: &Describe<'_>, namespace: &str, name: &str) -> Result<Vec<String>, Error> {
    let path = format!("/api/v1/namespaces/{namespace}/pods?limit=500");
    let pods = describe.context.connection().await?.get(&path, JSON).await?;
    let names = |pod: &Value| {
        items(&pod["spec"], "volumes").iter().any(|volume| {
            volume["persistentVolumeClaim"]["claimName"] == name
                || volume["ephemeral"].is_object()
                    && format!("{}-{}", text(&pod["metadata"], "name"), text(volume, "name")) == name
        })
    };
    let users = items(&pods, "items").iter().filter(|pod| names(pod));
    Ok(users.map(|pod| text(&pod["metadata"], "name").to_owned()).collect())
}

/// A storage class' text.
pub(super) async fn class(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let metadata = &object["metadata"];
    let default = &metadata["annotations"]["storageclass.kubernetes.io/is-default-class"];
    let mut out = format!("Name:\t{}\n", text(metadata, "name"));
    out += &format!("IsDefaultClass:\t{}\n", if default == "true" { "Yes" } else { "No" });
    out += &format!("Annotations:\t{}\n", pairs(&metadata["annotations"]));
    out += &format!("Provisioner:\t{}\n", text(object, "provisioner"));
    out += &format!("Parameters:\t{}\n", pairs(&object["parameters"]));
    out += &match object["allowVolumeExpansion"].as_bool() {
        None => "AllowVolumeExpansion:\t<unset>\n".to_owned(),
        Some(allowed) => format!("AllowVolumeExpansion:\t{}\n", if allowed { "True" } else { "False" }),
    };
    let options = items(object, "mountOptions");
    out += &match options {
        [] => "MountOptions:\t<none>\n".to_owned(),
        options => {
            let lines: Vec<&str> = options.iter().filter_map(Value::as_str).collect();
            format!("MountOptions:\n  {}\n", lines.join("\n  "))
        }
    };
    for (title, field) in [("ReclaimPolicy", "reclaimPolicy"), ("VolumeBindingMode", "volumeBindingMode")] {
        if !text(object, field).is_empty() {
            out += &format!("{title}:\t{}\n", text(object, field));
        }
    }
    Ok(out + &recorded(describe, object).await)
}

/// `[a b]`
fn list(value: &Value) -> String {
    let all: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    format!("[{}]", all.join(" "))
}

/// `RWO,ROX`
fn modes(value: &Value) -> String {
    let given = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    let given: Vec<&str> = given.collect();
    let known = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let short = known.iter().filter(|(mode, _)| given.contains(mode)).map(|(_, short)| *short);
    short.collect::<Vec<_>>().join(",")
}

/// `a=b,c=d`
fn pairs(map: &Value) -> String {
    let pairs = map.as_object().map(sorted).unwrap_or_default();
    let pairs: Vec<String> =
        pairs.into_iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or(""))).collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn modes_are_told_in_kubectls_order() {
        assert_eq!(modes(&json!(["ReadWriteMany", "ReadWriteOnce"])), "RWO,RWX");
        assert_eq!(list(&json!(["a", "b"])), "[a b]");
        assert_eq!(
            (pairs(&json!({"b": "2", "a": "1"})), pairs(&Value::Null)),
            ("a=1,b=2".into(), "<none>".into())
        );
    }
}
