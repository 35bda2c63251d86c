//! Examples of workloads and of what belongs to them.

use super::{Example, example};
use serde_json::{Value, json};

fn template(labels: &Value, restart: &str) -> Value {
    json!({"metadata": {"labels": labels}, "spec": {"restartPolicy": restart,
        "containers": [{"name": "c", "image": "nginx:1", "resources": {"limits": {"cpu": "1000m"}}}]}})
}

pub(super) fn all() -> Vec<Example> {
    let mut all = apps();
    all.extend(batch());
    all.extend(core());
    all
}

fn apps() -> Vec<Example> {
    let meta = json!({"name": "example"});
    let labels = json!({"app": "a"});
    let (selector, pods) = (json!({"matchLabels": labels}), template(&labels, "Always"));
    let other = json!({"matchLabels": {"app": "b"}});
    let mismatch = "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`";
    let immutable = "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable";
    vec![
        example("ControllerRevision", json!({"metadata": meta, "revision": 1, "data": {"a": "b"}}))
            .invalid(
                json!({"metadata": meta, "revision": -1}),
                &[
                    "data: Required value: data is mandatory",
                    "revision: Invalid value: -1: must be greater than or equal to 0",
                ],
            )
            .immutable("/data", json!({"a": "c"}), "data: Invalid value: {\"a\":\"c\"}: field is immutable"),
        example(
            "DaemonSet",
            json!({"metadata": meta, "spec": {"selector": selector, "template": pods}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"selector": other, "template": pods,
                "updateStrategy": {"rollingUpdate": {"maxUnavailable": "0%"}}}}),
            &[mismatch, "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"],
        )
        .immutable("/spec/selector", other.clone(), immutable),
        example(
            "Deployment",
            json!({"metadata": meta, "spec": {"selector": selector, "template": pods}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"replicas": -1, "selector": other, "template": pods, "minReadySeconds": 600}}),
            &[
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                mismatch,
                "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds",
            ],
        )
        .invalid(
            json!({"metadata": meta, "spec": {"selector": {}, "template": pods, "strategy": {"rollingUpdate": {
                "maxSurge": "0%", "maxUnavailable": 0}}}}),
            &[
                "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
            ],
        )
        .immutable("/spec/selector", other.clone(), immutable),
        example(
            "ReplicaSet",
            json!({"metadata": meta, "spec": {"selector": selector, "template": pods}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"selector": selector, "template": template(&labels, "Never")}}),
            &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
        )
        .immutable("/spec/selector", other.clone(), immutable),
        example(
            "StatefulSet",
            json!({"metadata": meta, "spec": {"selector": selector, "serviceName": "s", "template": {
                "metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i",
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}}}}]}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"template": pods, "podManagementPolicy": "x"}}),
            &[
                "spec.podManagementPolicy: Invalid value: \"x\": must be 'OrderedReady' or 'Parallel'",
                "spec.selector: Required value",
            ],
        )
        .immutable("/spec/serviceName", json!("x"), "spec: Forbidden: updates to statefulset spec for fields other than"),
    ]
}

fn batch() -> Vec<Example> {
    let meta = json!({"name": "example"});
    let pods = template(&json!({"app": "a"}), "Never");
    let job = json!({"template": pods});
    vec![
        example(
            "CronJob",
            json!({"metadata": meta, "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": job}}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"schedule": "x", "timeZone": "Nowhere/Land", "jobTemplate": {"spec": job}}}),
            &[
                "spec.schedule: Invalid value: \"x\": expected exactly 5 fields, found 1: [x]",
                "spec.timeZone: Invalid value: \"Nowhere/Land\": unknown time zone Nowhere/Land",
            ],
        ),
        example("Job", json!({"metadata": meta, "spec": job}))
            .invalid(
                json!({"metadata": meta, "spec": {"completions": -1, "template": template(&json!({}), "Always")}}),
                &[
                    "spec.completions: Invalid value: -1: must be greater than or equal to 0",
                    "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
                ],
            )
            .immutable("/spec/completions", json!(5), "spec.completions: Invalid value: 5: field is immutable")
            .immutable("/spec/template/spec/containers/0/image", json!("x"), "spec.template: Invalid value: "),
    ]
}

fn core() -> Vec<Example> {
    let meta = json!({"name": "example"});
    let pods = template(&json!({"app": "a"}), "Always");
    vec![
        example("ComponentStatus", json!({"metadata": meta})),
        example(
            "LimitRange",
            json!({"metadata": meta, "spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "0.1"}}]}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"limits": [
                {"type": "Pod", "default": {"cpu": "1"}},
                {"type": "PersistentVolumeClaim", "min": {"storage": "2Gi"}, "max": {"storage": "1Gi"}}]}}),
            &[
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
                "spec.limits[1].min[storage]: Invalid value: \"2Gi\": min value 2Gi is greater than max value 1Gi",
            ],
        ),
        example(
            "PersistentVolume",
            json!({"metadata": meta, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": "/data"}}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"accessModes": ["x"]}}),
            &[
                "spec.accessModes: Unsupported value: \"x\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
                "spec.capacity: Required value",
                "spec: Required value: must specify a volume type",
            ],
        )
        .immutable(
            "/spec/hostPath/path",
            json!("/other"),
            "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation",
        ),
        example(
            "PersistentVolumeClaim",
            json!({"metadata": meta, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
                "resources": {"requests": {"storage": "1024Mi"}}}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {}}),
            &[
                "spec.accessModes: Required value: at least 1 access mode is required",
                "spec.resources[storage]: Required value",
            ],
        )
        .immutable(
            "/spec/storageClassName",
            json!("slow"),
            "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        ),
        example("PodTemplate", json!({"metadata": meta, "template": pods}))
            .invalid(json!({"metadata": meta}), &["template.spec.containers: Required value"]),
        example("ReplicationController", json!({"metadata": meta, "spec": {"template": pods}})).invalid(
            json!({"metadata": meta, "spec": {"selector": {"app": "b"}, "template": pods}}),
            &["spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`"],
        ),
        example(
            "ResourceQuota",
            json!({"metadata": meta, "spec": {"hard": {"pods": "10", "requests.cpu": "2"}, "scopes": ["NotTerminating"]}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"hard": {"x": "1", "pods": "1500m"}}}),
            &[
                "spec.hard[x]: Invalid value: \"x\": must be a standard resource for quota",
                "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
            ],
        )
        .immutable("/spec/scopes", json!(["BestEffort"]), "spec.scopes: Invalid value: [\"BestEffort\"]: field is immutable"),
    ]
}
