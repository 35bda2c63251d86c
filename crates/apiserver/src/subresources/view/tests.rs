//! Views in every form, through a whole server.

use crate::server::testing::{call, root, start};
use http::Method;
use serde_json::{Value, json};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

#[tokio::test]
async fn a_view_is_had_as_a_table_and_as_metadata_too() {
    let server = start().await;
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 3,
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let created = call(&server, root(), Method::POST, DEPLOYMENTS, &[], deployment).await;
    assert_eq!(created.code, 201, "{}", created.text);
    let get = async |path: &str, accept: &str| {
        let headers = [("accept", accept)];
        let answer = call(&server, root(), Method::GET, path, &headers, Value::Null).await;
        assert_eq!(answer.code, 200, "{}", answer.text);
        answer.json()
    };
    let scale = format!("{DEPLOYMENTS}/d/scale");
    let as_table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table = get(&scale, as_table).await;
    let names: Vec<&Value> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|column| &column["name"]).collect();
    assert_eq!(names, ["Name", "Desired", "Available", "Age"]);
    assert_eq!(
        table["columnDefinitions"][1]["description"],
        "replicas is the desired number of instances for the scaled object."
    );
    let cells = table["rows"][0]["cells"].as_array().expect("cells");
    // The last is the age.
    assert_eq!((cells.len(), &cells[..3]), (4, [json!("d"), json!(3), json!(0)].as_slice()));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let whole = get(&format!("{scale}?includeObject=Object"), as_table).await;
    assert_eq!(whole["rows"][0]["object"]["kind"], "Scale");
    let metadata = get(&scale, "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").await;
    assert_eq!(
        (&metadata["kind"], &metadata["metadata"]["name"]),
        (&json!("PartialObjectMetadata"), &json!("d"))
    );
}

#[tokio::test]
async fn a_view_that_is_the_object_has_the_objects_table() {
    let server = start().await;
    let account = json!({"metadata": {"name": "default"}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(call(&server, root(), Method::POST, accounts, &[], account).await.code, 201);
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(call(&server, root(), Method::POST, pods, &[], pod).await.code, 201);
    let headers = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = |path: String| {
        let server = &server;
        async move {
            let mut table = call(server, root(), Method::GET, &path, &headers, Value::Null).await.json();
            // The age: time goes on from one request to the next.
            table["rows"][0]["cells"][4].take();
            table
        }
    };
    let of_the_pod = table(format!("{pods}/p")).await;
    assert_eq!(of_the_pod["rows"][0]["cells"][1], "0/1");
    assert_eq!(table(format!("{pods}/p/resize")).await, of_the_pod);
    assert_eq!(table(format!("{pods}/p/ephemeralcontainers")).await, of_the_pod);
}
