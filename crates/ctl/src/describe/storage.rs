//! The descriptions of claims, of classes of storage, and of nodes as drivers of storage know them.

use serde_json::Value;

use super::workloads::{created, described, head, recorded};
use super::{Describe, items, text};
use crate::duration;
use crate::output::table::format_labels;
use crate::report::Error;

/// A claim's text.
pub(super) async fn claim(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    let mut out = head(object);
    out += &format!("StorageClass:\t{}\n", class_of(object));
    out += &phase(describe, object);
    out += &format!("Volume:\t{}\n", text(spec, "volumeName"));
    out += &described(object);
    out += &format!("Finalizers:\t{}\n", list(&metadata["finalizers"]));
    let bound = !text(spec, "volumeName").is_empty();
    let capacity = if bound { text(&status["capacity"], "storage") } else { "" };
    let modes = if bound { modes(&status["accessModes"]) } else { String::new() };
    out += &format!("Capacity:\t{capacity}\nAccess Modes:\t{modes}\n");
    out += &origin(spec);
    out += &super::column("Used By", &users(describe, metadata).await?);
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

/// The phase of a claim or a volume, or since when it is being deleted.
pub(super) fn phase(describe: &Describe<'_>, object: &Value) -> String {
    match object["metadata"]["deletionTimestamp"].as_str() {
        Some(time) => {
            let age = duration::since(Some(time), describe.context.terminal.now());
            format!("Status:\tTerminating (lasts {age})\n")
        }
        None => format!("Status:\t{}\n", text(&object["status"], "phase")),
    }
}

/// How a claim's volume is used, and what it begins with.
fn origin(spec: &Value) -> String {
    let mut out = String::new();
    if let Some(mode) = spec["volumeMode"].as_str() {
        out += &format!("VolumeMode:\t{mode}\n");
    }
    let source = &spec["dataSource"];
    if source.is_object() {
        out += "DataSource:\n";
        if let Some(group) = source["apiGroup"].as_str() {
            out += &format!("  APIGroup:\t{group}\n");
        }
        out += &format!("  Kind:\t{}\n  Name:\t{}\n", text(source, "kind"), text(source, "name"));
    }
    out
}

/// The claim that a pod's volume brings along, with the indents that kubectl gives it.
pub(super) fn claim_of_volume(template: &Value) -> String {
    let spec = &template["spec"];
    let mut out = format!("    StorageClass:\t{}\n", class_of(template));
    out += &format!("    Volume:\t{}\n", text(spec, "volumeName"));
    for line in described(template).lines() {
        out += &match line.split_once('\t') {
            Some(("", more)) => format!("        \t    {more}\n"),
            Some((title, value)) => format!("    {title}\t    {value}\n"),
            None => format!("    {line}\n"),
        };
    }
    out += "    Capacity:\t\n    Access Modes:\t\n";
    out + &origin(spec).lines().map(|line| format!("    {line}\n")).collect::<String>()
}

/// The pods that use a claim, or have it made for them.
async fn users(describe: &Describe<'_>, claim: &Value) -> Result<Vec<String>, Error> {
    let path = format!("/api/v1/namespaces/{}/pods", text(claim, "namespace"));
    let pages = describe.context.connection().await?.pages(&path, "", "", "500").await?;
    let uses = |pod: &Value| {
        let volumes = items(&pod["spec"], "volumes");
        let owners = items(claim, "ownerReferences");
        volumes.iter().any(|volume| volume["persistentVolumeClaim"]["claimName"] == claim["name"])
            || owners.iter().any(|owner| owner["kind"] == "Pod" && owner["uid"] == pod["metadata"]["uid"])
    };
    let users = pages.iter().flat_map(|page| items(page, "items")).filter(|pod| uses(pod));
    let mut users: Vec<String> = users.map(|pod| text(&pod["metadata"], "name").to_owned()).collect();
    users.sort_unstable();
    Ok(users)
}

/// A storage class' text.
pub(super) async fn class(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let metadata = &object["metadata"];
    let default = &metadata["annotations"]["storageclass.kubernetes.io/is-default-class"];
    let mut out = format!("Name:\t{}\n", text(metadata, "name"));
    out += &format!("IsDefaultClass:\t{}\n", if default == "true" { "Yes" } else { "No" });
    out += &format!("Annotations:\t{}\n", format_labels(&metadata["annotations"]));
    out += &format!("Provisioner:\t{}\n", text(object, "provisioner"));
    out += &format!("Parameters:\t{}\n", format_labels(&object["parameters"]));
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
    if let Some(all) = object["allowedTopologies"].as_array() {
        out += &match all.as_slice() {
            [] => "AllowedTopologies:\t<none>\n".to_owned(),
            all => format!("AllowedTopologies:\t\n{}", terms(all, "matchLabelExpressions", "  ")),
        };
    }
    Ok(out + &recorded(describe, object).await)
}

/// The text of a class of volumes' attributes.
pub(super) async fn attributes_class(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let mut out = format!("Name:\t{}\n", text(&object["metadata"], "name"));
    out += &format!("Annotations:\t{}\n", format_labels(&object["metadata"]["annotations"]));
    out += &format!("DriverName:\t{}\n", text(object, "driverName"));
    out += &format!("Parameters:\t{}\n", format_labels(&object["parameters"]));
    Ok(out + &recorded(describe, object).await)
}

/// The text of what drivers know of a node.
pub(super) async fn node(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let mut out = format!("Name:\t{}\n{}", text(&object["metadata"], "name"), described(object));
    out += &created(describe, object);
    out += "Spec:\n";
    if let Some(drivers) = object["spec"]["drivers"].as_array() {
        out += "  Drivers:\n";
        for driver in drivers {
            out += &format!("    {}:\n      Node ID:\t{}\n", text(driver, "name"), text(driver, "nodeID"));
            if let Some(count) = driver["allocatable"]["count"].as_i64() {
                out += &format!("      Allocatables:\n        Count:\t{count}\n");
            }
            if driver["topologyKeys"].is_array() {
                out += &format!("      Topology Keys:\t{}\n", list(&driver["topologyKeys"]));
            }
        }
    }
    Ok(out + &recorded(describe, object).await)
}

/// `[a b]`
pub(super) fn list(value: &Value) -> String {
    let all: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    format!("[{}]", all.join(" "))
}

/// `RWO,ROX`
pub(super) fn modes(value: &Value) -> String {
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

/// The class of a claim or a volume, by the annotation of old, too.
pub(super) fn class_of(object: &Value) -> &str {
    let annotation = &object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    annotation.as_str().unwrap_or_else(|| text(&object["spec"], "storageClassName"))
}

/// `Term 0: key in [a, b]`, a line each.
pub(super) fn terms(terms: &[Value], field: &str, indent: &str) -> String {
    let one = |(index, term): (usize, &Value)| {
        let lines: Vec<String> = items(term, field).iter().map(requirement).collect();
        match lines.as_slice() {
            [] => format!("{indent}Term {index}:\t<none>\n"),
            lines => format!("{indent}Term {index}:\t{}\n", lines.join(&format!("\n{indent}\t"))),
        }
    };
    terms.iter().enumerate().map(one).collect()
}

fn requirement(one: &Value) -> String {
    let operator = one["operator"].as_str().unwrap_or("in").to_lowercase();
    let values: Vec<&str> = items(one, "values").iter().filter_map(Value::as_str).collect();
    let values = if values.is_empty() { String::new() } else { format!(" [{}]", values.join(", ")) };
    format!("{} {operator}{values}", text(one, "key"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn modes_are_told_in_kubectls_order() {
        assert_eq!(modes(&json!(["ReadWriteMany", "ReadWriteOnce"])), "RWO,RWX");
        assert_eq!(list(&json!(["a", "b"])), "[a b]");
        let both =
            json!([{"key": "a", "operator": "In", "values": ["x", "y"]}, {"key": "b", "operator": "Exists"}]);
        let all = [json!({"of": both}), json!({})];
        assert_eq!(terms(&all, "of", "  "), "  Term 0:\ta in [x, y]\n  \tb exists\n  Term 1:\t<none>\n");
    }
}
