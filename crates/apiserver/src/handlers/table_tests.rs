//! Tables of built-in kinds: what is said of the columns, what rows have besides cells, and their order.

use super::tests::Api;
use serde_json::{Value, json};

const TABLE: [(&str, &str); 2] = [
    ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"),
    ("content-type", "application/json"),
];
const PODS: &str = "/api/v1/namespaces/ns/pods";
const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";

async fn create(api: &Api, path: &str, object: Value) {
    let created = api.send("POST", path, &TABLE, object.to_string()).await;
    assert_eq!(created.code, 201, "{}", created.text);
}

/// The columns' names with what begins their descriptions.
async fn columns(api: &Api, path: &str) -> Vec<(String, String)> {
    let table = api.send("GET", path, &TABLE, "").await.json();
    let column = |column: &Value| {
        let of = |field: &str| column[field].as_str().unwrap().to_owned();
        (of("name"), of("description").split_inclusive('.').next().unwrap_or_default().to_owned())
    };
    table["columnDefinitions"].as_array().unwrap().iter().map(column).collect()
}

#[tokio::test]
async fn columns_are_described_as_fields_or_in_words_of_their_own() {
    let api = Api::built_in().await;
    let expected = [
        ("Name", "Name must be unique within a namespace."),
        ("Ready", "The aggregate readiness state of this pod for accepting traffic."),
        ("Status", "The aggregate status of the containers in this pod."),
        (
            "Restarts",
            "The number of times the containers in this pod have been restarted and when the last container in \
             this pod has restarted.",
        ),
        (
            "Age",
            "CreationTimestamp is a timestamp representing the server time when this object was created.",
        ),
        ("IP", "podIP address allocated to the pod."),
        ("Node", "NodeName indicates in which node this pod is scheduled."),
        (
            "Nominated Node",
            "nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be scheduled right away as preemption victims receive their graceful termination periods.",
        ),
        ("Readiness Gates", "If specified, all readiness gates will be evaluated for pod readiness."),
    ];
    let expected: Vec<_> = expected.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    assert_eq!(columns(&api, PODS).await, expected);
    let roles = columns(&api, "/apis/rbac.authorization.k8s.io/v1/clusterroles").await;
    assert_eq!((roles[1].0.as_str(), &roles[1].1), ("Created At", &expected[4].1));
    let queues = columns(&api, "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations").await;
    assert!(
        queues[3].1.starts_with("`queues` is the number of queues for this priority level."),
        "{queues:?}"
    );
}

#[tokio::test]
async fn rows_of_pods_that_have_ended_say_so() {
    let api = Api::built_in().await;
    let namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "ns"}});
    create(&api, "/api/v1/namespaces", namespace).await;
    let merge = [("content-type", "application/merge-patch+json")];
    for phase in ["Failed", "Running", "Succeeded"] {
        let name = phase.to_lowercase();
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name},
            "spec": {"containers": [{"name": "a", "image": "a"}]}});
        create(&api, PODS, pod).await;
        let status = json!({"status": {"phase": phase}}).to_string();
        let patched = api.send("PATCH", &format!("{PODS}/{name}/status"), &merge, status).await;
        assert_eq!(patched.code, 200, "{}", patched.text);
    }
    let table = api.send("GET", PODS, &TABLE, "").await.json();
    let ended = |reason: &str, message: &str| json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]);
    let rows = table["rows"].as_array().unwrap();
    assert_eq!(rows[0]["conditions"], ended("Failed", "The pod failed."));
    assert_eq!(rows[1].get("conditions"), None);
    assert_eq!(rows[2]["conditions"], ended("Succeeded", "The pod has completed successfully."));
}

#[tokio::test]
async fn rows_of_flow_schemas_are_in_the_order_in_which_they_count() {
    let api = Api::built_in().await;
    for (name, precedence) in [("a", 900), ("b", 700), ("c", 900), ("d", 800)] {
        let schema = json!({"kind": "FlowSchema", "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
            "metadata": {"name": name}, "spec": {"matchingPrecedence": precedence,
            "priorityLevelConfiguration": {"name": "global-default"}}});
        create(&api, SCHEMAS, schema).await;
    }
    let table = api.send("GET", SCHEMAS, &TABLE, "").await.json();
    let rows = table["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["cells"][0].as_str().unwrap()).collect();
    assert_eq!(names, ["b", "d", "a", "c"]);
    let of_object: Vec<_> = rows.iter().map(|row| &row["object"]["metadata"]["name"]).collect();
    assert_eq!(of_object, ["b", "d", "a", "c"]);
    let list = api.get(SCHEMAS).await.json();
    assert_eq!(list["items"][0]["metadata"]["name"], "a", "only tables have an order of their own");
}
