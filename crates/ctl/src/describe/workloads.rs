//! The descriptions of what runs pods for good: deployments, replica sets, replication controllers, stateful and daemon sets.

use serde_json::Value;

use super::{Describe, annotations, events, items, labels, pod_template, text};
use crate::connection::{JSON, with_query};
use crate::output::plain;
use crate::output::table::format_labels;
use crate::report::Error;
use crate::streams::pods::selector;

/// A deployment's text.
pub(super) async fn deployment(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let count = |value: &Value| value.as_i64().unwrap_or(0);
    let mut out = head(object);
    out += &created(describe, object);
    out += &described(object);
    out += &format!("Selector:\t{}\n", selected(object));
    out += &format!(
        "Replicas:\t{} desired | {} updated | {} total | {} available | {} unavailable\n",
        count(&spec["replicas"]),
        count(&status["updatedReplicas"]),
        count(&status["replicas"]),
        count(&status["availableReplicas"]),
        count(&status["unavailableReplicas"])
    );
    out += &format!("StrategyType:\t{}\n", text(&spec["strategy"], "type"));
    out += &format!("MinReadySeconds:\t{}\n", count(&spec["minReadySeconds"]));
    let rolling = &spec["strategy"]["rollingUpdate"];
    if rolling.is_object() {
        let [most, surge] = ["maxUnavailable", "maxSurge"].map(|field| plain(&rolling[field]));
        out += &format!("RollingUpdateStrategy:\t{most} max unavailable, {surge} max surge\n");
    }
    out += &pod_template::text(describe, &spec["template"]);
    out += &conditions(status);
    if let Ok((old, new)) = replica_sets(describe, object).await {
        out += &format!("OldReplicaSets:\t{}\nNewReplicaSet:\t{}\n", shown(&old), shown(&new));
    }
    Ok(out + &recorded(describe, object).await)
}

/// The text of a replica set or a replication controller.
pub(super) async fn replicas(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let count = |value: &Value| value.as_i64().unwrap_or(0);
    let mut out = head(object);
    out += &format!("Selector:\t{}\n", selected(object));
    out += &described(object);
    out += &controlled(object);
    out += &format!(
        "Replicas:\t{} current / {} desired\n",
        count(&object["status"]["replicas"]),
        count(&object["spec"]["replicas"])
    );
    out += &pods_status(describe, object).await;
    out += &pod_template::text(describe, &object["spec"]["template"]);
    out += &conditions(&object["status"]);
    Ok(out + &recorded(describe, object).await)
}

/// A stateful set's text.
pub(super) async fn stateful_set(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let mut out = head(object);
    out += &created(describe, object);
    out += &format!("Selector:\t{}\n", selected(object));
    out += &described(object);
    out += &format!(
        "Replicas:\t{} desired | {} total\n",
        spec["replicas"].as_i64().unwrap_or(0),
        status["replicas"].as_i64().unwrap_or(0)
    );
    out += &format!("Update Strategy:\t{}\n", text(&spec["updateStrategy"], "type"));
    let rolling = &spec["updateStrategy"]["rollingUpdate"];
    if let Some(partition) = rolling["partition"].as_i64() {
        out += &format!("  Partition:\t{partition}\n");
        if !rolling["maxUnavailable"].is_null() {
            out += &format!("  MaxUnavailable:\t{}\n", plain(&rolling["maxUnavailable"]));
        }
    }
    out += &pods_status(describe, object).await;
    out += &pod_template::text(describe, &spec["template"]);
    out += &claims(items(spec, "volumeClaimTemplates"));
    Ok(out + &recorded(describe, object).await)
}

/// A daemon set's text.
pub(super) async fn daemon_set(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let status = &object["status"];
    let mut out = head(object);
    out += &format!("Selector:\t{}\n", selected(object));
    let nodes = &object["spec"]["template"]["spec"]["nodeSelector"];
    out += &format!("Node-Selector:\t{}\n", format_labels(nodes));
    out += &described(object);
    for (title, field) in [
        ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
        ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
        ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
        ("Number of Nodes Misscheduled", "numberMisscheduled"),
    ] {
        out += &format!("{title}: {}\n", status[field].as_i64().unwrap_or(0));
    }
    out += &pods_status(describe, object).await;
    out += &pod_template::text(describe, &object["spec"]["template"]);
    Ok(out + &recorded(describe, object).await)
}

/// `Name:` and `Namespace:`
pub(super) fn head(object: &Value) -> String {
    let metadata = &object["metadata"];
    format!("Name:\t{}\nNamespace:\t{}\n", text(metadata, "name"), text(metadata, "namespace"))
}

/// `Labels:` and `Annotations:`
pub(super) fn described(object: &Value) -> String {
    labels("Labels", &object["metadata"]["labels"]) + &annotations(&object["metadata"]["annotations"])
}

/// `Controlled By:`, where somebody does.
pub(super) fn controlled(object: &Value) -> String {
    let owners = items(&object["metadata"], "ownerReferences");
    let owner = owners.iter().find(|owner| owner["controller"] == true);
    owner.map_or(String::new(), |owner| {
        format!("Controlled By:\t{}/{}\n", text(owner, "kind"), text(owner, "name"))
    })
}

/// The events of the object.
pub(super) async fn recorded(describe: &Describe<'_>, object: &Value) -> String {
    events::section(describe, object, &[text(&object["metadata"], "uid")]).await
}

/// The object's selector, sorted, as the columns of tables show it.
pub(super) fn selected(object: &Value) -> String {
    let selector = &object["spec"]["selector"];
    if object["kind"] == "ReplicationController" {
        return format_labels(selector);
    }
    crate::output::table::format_selector(selector)
}

/// `CreationTimestamp:`
pub(super) fn created(describe: &Describe<'_>, object: &Value) -> String {
    format!("CreationTimestamp:\t{}\n", describe.time(&object["metadata"]["creationTimestamp"]))
}

fn conditions(status: &Value) -> String {
    let all = items(status, "conditions");
    if all.is_empty() {
        return String::new();
    }
    let mut out = "Conditions:\n  Type\tStatus\tReason\n  ----\t------\t------\n".to_owned();
    for one in all {
        out += &format!("  {} \t{}\t{}\n", text(one, "type"), text(one, "status"), text(one, "reason"));
    }
    out
}

/// The pods that an owner has, by phase.
async fn pods_status(describe: &Describe<'_>, owner: &Value) -> String {
    let pods = match selector(owner) {
        Ok(labels) => list(describe, owner, "/api/v1", "pods", &labels).await,
        Err(error) => Err(crate::report::message(error)),
    };
    let pods = match pods {
        Ok(pods) => pods,
        Err(error) => return format!("Pods Status:\terror in fetching pods: {error}\n"),
    };
    let uid = &owner["metadata"]["uid"];
    let own: Vec<&Value> = pods.iter().filter(|pod| is_controlled_by(pod, uid)).collect();
    let [running, waiting, succeeded, failed] = ["Running", "Pending", "Succeeded", "Failed"]
        .map(|phase| own.iter().filter(|pod| pod["status"]["phase"] == phase).count());
    format!("Pods Status:\t{running} Running / {waiting} Waiting / {succeeded} Succeeded / {failed} Failed\n")
}

fn is_controlled_by(object: &Value, uid: &Value) -> bool {
    items(&object["metadata"], "ownerReferences")
        .iter()
        .any(|owner| owner["controller"] == true && owner["uid"] == *uid)
}

async fn list(
    describe: &Describe<'_>,
    owner: &Value,
    group: &str,
    resource: &str,
    labels: &str,
) -> Result<Vec<Value>, Error> {
    let namespace = text(&owner["metadata"], "namespace");
    let path = with_query(
        &format!("{group}/namespaces/{namespace}/{resource}"),
        &[("labelSelector", labels.to_owned()), ("limit", "500".to_owned())],
    );
    let list = describe.context.connection().await?.get(&path, JSON).await?;
    Ok(items(&list, "items").to_vec())
}

/// The old replica sets of a deployment, and the one of its present template.
async fn replica_sets(
    describe: &Describe<'_>,
    deployment: &Value,
) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let labels = selector(deployment).map_err(crate::report::message)?;
    let mut all = list(describe, deployment, "/apis/apps/v1", "replicasets", &labels).await?;
    all.retain(|set| is_controlled_by(set, &deployment["metadata"]["uid"]));
    all.sort_by_key(|set| {
        let metadata = &set["metadata"];
        (text(metadata, "creationTimestamp").to_owned(), text(metadata, "name").to_owned())
    });
    let template = |object: &Value| {
        let mut template = object["spec"]["template"].clone();
        if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
            labels.shift_remove("pod-template-hash");
        }
        template
    };
    let wanted = template(deployment);
    let Some(new) = all.iter().position(|set| template(set) == wanted) else { return Ok((all, Vec::new())) };
    let new = all.remove(new);
    Ok((all, vec![new]))
}

fn shown(sets: &[Value]) -> String {
    let one = |set: &Value| {
        format!(
            "{} ({}/{} replicas created)",
            text(&set["metadata"], "name"),
            set["status"]["replicas"].as_i64().unwrap_or(0),
            set["spec"]["replicas"].as_i64().unwrap_or(0)
        )
    };
    match sets {
        [] => "<none>".to_owned(),
        sets => sets.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

fn claims(templates: &[Value]) -> String {
    if templates.is_empty() {
        return "Volume Claims:\t<none>\n".to_owned();
    }
    let mut out = "Volume Claims:\n".to_owned();
    for claim in templates {
        let (metadata, spec) = (&claim["metadata"], &claim["spec"]);
        out += &format!("  Name:\t{}\n", text(metadata, "name"));
        out += &format!("  StorageClass:\t{}\n", text(spec, "storageClassName"));
        out += &labels("  Labels", &metadata["labels"]);
        out += &labels("  Annotations", &metadata["annotations"]);
        let capacity = spec["resources"]["requests"]["storage"].as_str().unwrap_or("<default>");
        out += &format!("  Capacity:\t{capacity}\n");
        let modes: Vec<&str> = items(spec, "accessModes").iter().filter_map(Value::as_str).collect();
        out += &format!("  Access Modes:\t[{}]\n", modes.join(" "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sets_are_told_with_their_replicas() {
        let set = |name: &str, has: i64, wants: i64| json!({"metadata": {"name": name}, "spec": {"replicas": wants}, "status": {"replicas": has}});
        for (sets, said) in [
            (vec![], "<none>"),
            (vec![set("a", 0, 0)], "a (0/0 replicas created)"),
            (vec![set("a", 1, 2), set("b", 3, 3)], "a (1/2 replicas created), b (3/3 replicas created)"),
        ] {
            assert_eq!(shown(&sets), said);
        }
    }

    #[test]
    fn a_claims_template_says_what_it_asks_for() {
        let claim = json!({
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "resources": {"requests": {"storage": "1Gi"}}},
        });
        assert_eq!(
            claims(&[claim]),
            "Volume Claims:\n  Name:\tdata\n  StorageClass:\t\n  Labels:\t<none>\n  Annotations:\t<none>\n  Capacity:\t1Gi\n  Access Modes:\t[ReadWriteOnce ReadOnlyMany]\n"
        );
        assert_eq!(claims(&[]), "Volume Claims:\t<none>\n");
    }
}
