//! Quotas in a whole server: what is charged is what is written, however many write at once.

use crate::server::testing::{call, client, root, start};
use futures::future::join_all;
use http::Method;
use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota};
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

const NAMESPACE: &str = "/api/v1/namespaces/default";

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

#[tokio::test]
async fn what_is_charged_is_what_is_written() {
    let server = start().await;
    let hard = json!({"configmaps": "10"});
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": hard}});
    let path = format!("{NAMESPACE}/resourcequotas");
    assert_eq!(call(&server, root(), Method::POST, &path, &[], quota).await.code, 201);
    let kube = client(&server, root());
    let maps: Api<ConfigMap> = Api::namespaced(kube.clone(), "default");
    let quotas: Api<ResourceQuota> = Api::namespaced(kube, "default");
    let used = async || -> Value {
        let status = quotas.get("q").await.unwrap().status.unwrap_or_default();
        serde_json::to_value(status.used).unwrap()
    };
    maps.create(&PostParams::default(), &map("free")).await.expect("nobody has counted yet");
    let status = json!({"status": {"hard": hard, "used": {"configmaps": "1"}}});
    let headers = [("content-type", "application/merge-patch+json")];
    let path = format!("{path}/q/status");
    assert_eq!(call(&server, root(), Method::PATCH, &path, &headers, status).await.code, 200);

    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    maps.create(&dry_run, &map("dry")).await.expect("it would fit");
    assert_eq!(used().await, json!({"configmaps": "1"}));
    maps.create(&PostParams::default(), &map("free")).await.expect_err("it exists");
    assert_eq!(used().await, json!({"configmaps": "1"}), "what is not written is not charged");

    let create = |i: usize| {
        let maps = maps.clone();
        async move { maps.create(&PostParams::default(), &map(&format!("m{i}"))).await }
    };
    let answers = join_all((0..40).map(create)).await;
    let refused: Vec<String> = answers
        .into_iter()
        .filter_map(|answer| match answer {
            Err(kube::Error::Api(status)) => Some(status.message.clone()),
            Err(other) => panic!("{other}"),
            Ok(_) => None,
        })
        .collect();
    assert_eq!(refused.len(), 31);
    for message in refused {
        let why = "exceeded quota: q, requested: configmaps=1, used: configmaps=10, limited: configmaps=10";
        assert!(message.ends_with(why), "{message}");
    }
    assert_eq!(used().await, json!({"configmaps": "10"}));
}
