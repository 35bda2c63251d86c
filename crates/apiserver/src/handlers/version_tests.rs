//! One store in several group-versions, through every verb.

use super::tests::Api;
use futures::StreamExt;
use http_body_util::BodyExt;
use serde_json::{Value, json};

const CORE: &str = "/api/v1/namespaces/ns/events";
const NEW: &str = "/apis/events.k8s.io/v1/namespaces/ns/events";
const V1: &str = "/apis/autoscaling/v1/namespaces/ns/horizontalpodautoscalers";
const V2: &str = "/apis/autoscaling/v2/namespaces/ns/horizontalpodautoscalers";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

fn event(name: &str) -> Value {
    json!({"kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": {"name": name, "namespace": "ns"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "example.com/c",
        "reportingInstance": "i", "action": "Do", "reason": "Done", "note": "well", "type": "Normal",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "ns"}})
}

fn autoscaler(name: &str) -> Value {
    json!({"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v1", "metadata": {"name": name},
        "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 60,
            "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}})
}

#[tokio::test]
async fn an_event_is_one_object_in_two_groups() {
    let api = Api::built_in().await;
    let mut watch = api.raw("GET", &format!("{NEW}?watch=1"), &[], "").await.into_body().into_data_stream();
    let created = api.send("POST", NEW, &JSON, event("a").to_string()).await;
    assert_eq!(created.code, 201, "{}", created.text);
    let created = created.json();
    assert_eq!((&created["apiVersion"], &created["note"]), (&json!("events.k8s.io/v1"), &json!("well")));
    assert_eq!(created["deprecatedSource"], json!({}));
    let seen: Value = serde_json::from_slice(&watch.next().await.unwrap().unwrap()).unwrap();
    assert_eq!(seen, json!({"type": "ADDED", "object": created}));

    let core = api.get(&format!("{CORE}/a")).await.json();
    assert_eq!((&core["kind"], &core["apiVersion"]), (&json!("Event"), &json!("v1")));
    assert_eq!((&core["message"], &core["involvedObject"]["name"]), (&json!("well"), &json!("p")));
    assert_eq!(
        (&core["reportingComponent"], &core["firstTimestamp"]),
        (&json!("example.com/c"), &Value::Null)
    );
    assert_eq!(core["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    assert_eq!(api.get(&format!("{NEW}/a")).await.json(), created);

    for (list, selector, found) in [
        (NEW, "regarding.name=p", 1),
        (NEW, "regarding.name=q", 0),
        (NEW, "reportingController=example.com/c", 1),
        (CORE, "involvedObject.name=p", 1),
        ("/apis/events.k8s.io/v1/events", "metadata.name=a", 1),
    ] {
        let answer = api.get(&format!("{list}?fieldSelector={}", selector.replace('=', "%3D"))).await.json();
        assert_eq!(answer["items"].as_array().unwrap().len(), found, "{selector}");
        assert_eq!(answer["kind"], "EventList");
    }
    let refused = api.get(&format!("{NEW}?fieldSelector=involvedObject.name%3Dp")).await;
    assert_eq!(
        (refused.code, refused.json()["message"].as_str().unwrap()),
        (400, "field label not supported: involvedObject.name")
    );

    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let rows = api.send("GET", &format!("{NEW}?includeObject=Object"), &table, "").await.json();
    assert_eq!(rows["rows"][0]["object"]["note"], "well");
    assert_eq!(rows["columnDefinitions"].as_array().unwrap().len(), 10);
    let protobuf = [("accept", "application/vnd.kubernetes.protobuf")];
    let message = api.raw("GET", &format!("{NEW}/a"), &protobuf, "").await;
    let message = message.into_body().collect().await.unwrap().to_bytes();
    let decoded = api::protobuf::object(&message).unwrap();
    assert_eq!((&decoded["apiVersion"], &decoded["note"]), (&json!("events.k8s.io/v1"), &json!("well")));

    // What is written in one group is seen in the other, and each has its rules.
    let merge = [("content-type", "application/merge-patch+json")];
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}});
    let patched = api.send("PATCH", &format!("{NEW}/a"), &merge, series.to_string()).await;
    assert_eq!(patched.code, 200, "{}", patched.text);
    assert_eq!(api.get(&format!("{CORE}/a")).await.json()["series"]["count"], 2);
    let refused = api.send("PATCH", &format!("{NEW}/a"), &merge, r#"{"note":"other"}"#).await;
    assert_eq!(refused.code, 422);
    assert!(
        refused.text.contains("message: Invalid value: \\\"other\\\": field is immutable"),
        "{}",
        refused.text
    );
    let allowed = api.send("PATCH", &format!("{CORE}/a"), &merge, r#"{"message":"other"}"#).await;
    assert_eq!(allowed.code, 200, "{}", allowed.text);
    assert_eq!(api.get(&format!("{NEW}/a")).await.json()["note"], "other");

    // The other group's form is no form of this one.
    let core = json!({"kind": "Event", "apiVersion": "v1", "metadata": {"name": "b"}});
    assert_eq!(api.send("POST", NEW, &JSON, core.to_string()).await.code, 400);
    let deleted = api.send("DELETE", NEW, &[], "").await;
    assert_eq!((deleted.code, deleted.json()["items"][0]["note"].clone()), (200, json!("other")));
    assert_eq!(api.get(&format!("{CORE}/a")).await.code, 404);
}

#[tokio::test]
async fn an_autoscaler_keeps_in_version_1_what_only_version_2_can_say() {
    let api = Api::built_in().await;
    let created = api.send("POST", V1, &JSON, autoscaler("h").to_string()).await;
    assert_eq!(created.code, 201, "{}", created.text);
    let created = created.json();
    assert_eq!(
        (&created["apiVersion"], &created["spec"]["minReplicas"]),
        (&json!("autoscaling/v1"), &json!(1))
    );
    assert_eq!(created["spec"]["targetCPUUtilizationPercentage"], 60);
    assert_eq!(created["status"], json!({"currentReplicas": 0, "desiredReplicas": 0}));
    let v2 = api.get(&format!("{V2}/h")).await.json();
    assert_eq!(v2["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 60);

    // A second metric by version 2 is an annotation in version 1, and stays when version 1 writes.
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    let merge = [("content-type", "application/merge-patch+json")];
    let metrics = json!({"spec": {"metrics": [v2["spec"]["metrics"][0], {"type": "Resource", "resource": {
        "name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}}]}});
    assert_eq!(api.send("PATCH", &format!("{V2}/h"), &merge, metrics.to_string()).await.code, 200);
    let v1 = api.get(&format!("{V1}/h")).await.json();
    let annotation = &v1["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"];
    assert!(annotation.as_str().unwrap().contains("targetAverageValue"), "{v1}");
    for (headers, body) in [
        (&strategic, json!({"spec": {"targetCPUUtilizationPercentage": 70}}).to_string()),
        (&merge, json!({"spec": {"targetCPUUtilizationPercentage": 70}}).to_string()),
        (
            &[("content-type", "application/json-patch+json")],
            json!([{"op": "replace", "path": "/spec/targetCPUUtilizationPercentage", "value": 70}])
                .to_string(),
        ),
    ] {
        let patched = api.send("PATCH", &format!("{V1}/h"), headers, body).await;
        assert_eq!(patched.code, 200, "{}", patched.text);
    }
    let v2 = api.get(&format!("{V2}/h")).await.json();
    assert_eq!(v2["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
    assert_eq!(v2["spec"]["metrics"][1]["resource"]["target"]["averageValue"], "1Gi");
    assert!(v2["metadata"]["annotations"].is_null(), "{v2}");

    let status =
        json!({"status": {"currentReplicas": 2, "desiredReplicas": 2, "currentCPUUtilizationPercentage": 5}});
    let written = api.send("PATCH", &format!("{V1}/h/status"), &merge, status.to_string()).await;
    assert_eq!(written.code, 200, "{}", written.text);
    let v2 = api.get(&format!("{V2}/h/status")).await.json();
    assert_eq!(v2["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"], 5);
    let mut whole = api.get(&format!("{V1}/h")).await.json();
    whole["spec"]["maxReplicas"] = 9.into();
    assert_eq!(api.send("PUT", &format!("{V1}/h"), &JSON, whole.to_string()).await.code, 200);
    assert_eq!(api.get(&format!("{V2}/h")).await.json()["spec"]["maxReplicas"], 9);
}

#[tokio::test]
async fn owners_are_told_apart_across_versions() {
    let api = Api::built_in().await;
    let apply = [("content-type", "application/apply-patch+yaml")];
    let applied = |path: &str, manager: &str| format!("{path}/h?fieldManager={manager}");
    let first = api.send("PATCH", &applied(V1, "one"), &apply, autoscaler("h").to_string()).await;
    assert_eq!(first.code, 201, "{}", first.text);
    let again = api.send("PATCH", &applied(V1, "one"), &apply, autoscaler("h").to_string()).await.json();
    assert_eq!(again["metadata"]["resourceVersion"], first.json()["metadata"]["resourceVersion"]);

    // Another manager in the other version: the same field, another value.
    let second = json!({"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2", "metadata": {"name": "h"},
        "spec": {"maxReplicas": 4, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}});
    let conflict = api.send("PATCH", &applied(V2, "two"), &apply, second.to_string()).await;
    assert_eq!(conflict.code, 409);
    assert_eq!(
        conflict.json()["message"],
        "Apply failed with 1 conflict: conflict with \"one\": .spec.maxReplicas"
    );
    // And one whose name differs between the versions.
    let metrics = json!({"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2", "metadata": {"name": "h"},
        "spec": {"metrics": [{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 10}}}]}});
    let conflict = api.send("PATCH", &applied(V2, "two"), &apply, metrics.to_string()).await;
    assert_eq!(conflict.code, 409, "{}", conflict.text);
    assert_eq!(
        conflict.json()["message"],
        "Apply failed with 1 conflict: conflict with \"one\": .spec.targetCPUUtilizationPercentage"
    );
    let forced =
        api.send("PATCH", &format!("{}&force=true", applied(V2, "two")), &apply, metrics.to_string()).await;
    assert_eq!(forced.code, 200, "{}", forced.text);
    let entries = forced.json()["metadata"]["managedFields"].clone();
    let of = |manager: &str| {
        let entries = entries.as_array().unwrap();
        entries.iter().find(|e| e["manager"] == manager).cloned().unwrap()
    };
    assert_eq!(
        (&of("one")["apiVersion"], &of("two")["apiVersion"]),
        (&json!("autoscaling/v1"), &json!("autoscaling/v2"))
    );
    assert!(of("one")["fieldsV1"]["f:spec"]["f:targetCPUUtilizationPercentage"].is_null());
    assert!(!of("one")["fieldsV1"]["f:spec"]["f:maxReplicas"].is_null());
    assert!(!of("two")["fieldsV1"]["f:spec"]["f:metrics"].is_null());
}

#[tokio::test]
async fn a_patch_may_not_change_what_an_object_is() {
    let api = Api::built_in().await;
    let map = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "m"}});
    let maps = "/api/v1/namespaces/ns/configmaps";
    assert_eq!(api.send("POST", maps, &JSON, map.to_string()).await.code, 201);
    let merge = "application/merge-patch+json";
    let table = [
        (merge, r#"{"kind":"Secret"}"#, "converting (v1.Secret) to (core.ConfigMap): unknown conversion"),
        (merge, r#"{"kind":"Nothing"}"#, "no kind \"Nothing\" is registered for version \"v1\""),
        (merge, r#"{"apiVersion":"v9"}"#, "no kind \"ConfigMap\" is registered for version \"v9\""),
        ("application/json-patch+json", r#"[{"op":"remove","path":"/kind"}]"#, "Object 'Kind' is missing in"),
    ];
    for (content_type, patch, message) in table {
        let answer = api.send("PATCH", &format!("{maps}/m"), &[("content-type", content_type)], patch).await;
        assert_eq!(answer.code, 422, "{patch}");
        let said = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(said.contains(message), "{said}");
    }
}

#[tokio::test]
async fn amounts_are_compared_by_what_they_mean() {
    let api = Api::built_in().await;
    let limits = |cpu: &str| {
        json!({"kind": "LimitRange", "apiVersion": "v1", "metadata": {"name": "l"},
            "spec": {"limits": [{"type": "Container", "max": {"cpu": cpu, "memory": "1024Mi"}}]}})
        .to_string()
    };
    let (path, apply) =
        ("/api/v1/namespaces/ns/limitranges/l", [("content-type", "application/apply-patch+yaml")]);
    let first = api.send("PATCH", &format!("{path}?fieldManager=a"), &apply, limits("0.5")).await;
    assert_eq!(first.code, 201, "{}", first.text);
    assert_eq!(first.json()["spec"]["limits"][0]["max"], json!({"cpu": "500m", "memory": "1Gi"}));
    let again = api.send("PATCH", &format!("{path}?fieldManager=a"), &apply, limits("0.5")).await;
    assert_eq!(again.json(), first.json());
}

#[tokio::test]
async fn what_is_nested_too_deeply_is_refused() {
    let api = Api::built_in().await;
    let maps = "/api/v1/namespaces/ns/configmaps";
    let revisions = "/apis/apps/v1/namespaces/ns/controllerrevisions";
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let revision = |data: &str| {
        format!(
            r#"{{"kind":"ControllerRevision","apiVersion":"apps/v1","metadata":{{"name":"r"}},"revision":1,"data":{{"a":{data}}}}}"#
        )
    };
    let map = |data: &str| {
        format!(r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"m"}},"data":{data}}}"#)
    };
    for levels in [120, 1_000, 100_000] {
        assert_eq!(api.send("POST", maps, &JSON, map(&deep(levels))).await.code, 400, "{levels}");
        let yaml = [("content-type", "application/yaml")];
        assert_eq!(api.send("POST", maps, &yaml, map(&deep(levels))).await.code, 400, "yaml {levels}");
        assert_eq!(api.send("POST", revisions, &JSON, revision(&deep(levels))).await.code, 400, "{levels}");
    }
    assert_eq!(api.send("POST", revisions, &JSON, revision(&deep(50))).await.code, 201);
    for (content_type, body) in [
        ("application/merge-patch+json", format!(r#"{{"data":{{"b":{{"c":{{"d":{}}}}}}}}}"#, deep(120))),
        (
            "application/strategic-merge-patch+json",
            format!(r#"{{"data":{{"b":{{"c":{{"d":{}}}}}}}}}"#, deep(120)),
        ),
        (
            "application/json-patch+json",
            format!(r#"[{{"op":"add","path":"/data/b","value":{{"c":{{"d":{}}}}}}}]"#, deep(120)),
        ),
        ("application/merge-patch+json", deep(100_000)),
        ("application/json-patch+json", deep(100_000)),
    ] {
        let answer =
            api.send("PATCH", &format!("{revisions}/r"), &[("content-type", content_type)], body).await;
        assert!(matches!(answer.code, 400 | 422), "{content_type}: {}", answer.text);
    }
    let apply = [("content-type", "application/apply-patch+yaml")];
    let answer =
        api.send("PATCH", &format!("{revisions}/r?fieldManager=a"), &apply, revision(&deep(100_000))).await;
    assert_eq!(answer.code, 400, "{}", answer.text);
    assert_eq!(api.get(&format!("{revisions}/r")).await.code, 200);
}

#[tokio::test]
async fn clients_are_warned_of_what_they_should_not_use() {
    let api = Api::built_in().await;
    let warnings = |answer: &super::tests::Answer| -> Vec<String> {
        answer.headers.get_all("warning").iter().map(|v| v.to_str().unwrap().to_owned()).collect()
    };
    let endpoints = "/api/v1/namespaces/ns/endpoints";
    let deprecated =
        ["299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\""];
    let body = r#"{"kind":"Endpoints","apiVersion":"v1","metadata":{"name":"e"}}"#;
    assert_eq!(warnings(&api.send("POST", endpoints, &JSON, body).await), deprecated);
    assert_eq!(warnings(&api.get(endpoints).await), deprecated);
    let jobs = "/apis/batch/v1/namespaces/ns/jobs";
    let job = json!({"kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": "j"}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    for (query, warned) in [("propagationPolicy=Background", false), ("dryRun=All", true), ("", true)] {
        api.send("POST", jobs, &JSON, job.to_string()).await;
        let answer = api.send("DELETE", &format!("{jobs}/j?{query}"), &[], "").await;
        assert_eq!(answer.code, 200, "{}", answer.text);
        assert_eq!(warnings(&answer).len(), usize::from(warned), "{query}");
    }
}
