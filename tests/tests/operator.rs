//! `examples/operator.rs`: an operator written with kube-rs' `derive(CustomResource)` and `Controller`.

#[path = "../../examples/operator.rs"]
mod operator;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use minik::Cluster;
use operator::{Greeting, GreetingSpec, GreetingStatus};
use serde_json::json;
use testkit::eventually;
use tests::DEADLINE;

async fn greetings(client: &Client) -> Api<Greeting> {
    let greetings: Api<Greeting> = Api::default_namespaced(client.clone());
    eventually(DEADLINE, async || greetings.list(&ListParams::default()).await.is_ok()).await;
    greetings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_of_kube_rs_serves_a_derived_custom_resource() {
    let cluster = Cluster::builder().nodes(0).start().await.expect("it starts");
    let client = cluster.client();
    let running = tokio::spawn(operator::run(client.clone()));
    let greetings = greetings(&client).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let said = async |text: &str| {
        let map = maps.get_opt("hi").await.expect("an answer");
        map.and_then(|map| map.data).is_some_and(|data| data["said"] == text)
    };

    let spec = GreetingSpec { greeting: "Good day".to_owned(), name: "you".to_owned() };
    greetings.create(&PostParams::default(), &Greeting::new("hi", spec)).await.expect("created");
    eventually(DEADLINE, async || said("Good day, you!").await).await;
    eventually(DEADLINE, async || {
        let status: Option<GreetingStatus> = greetings.get_status("hi").await.expect("a greeting").status;
        status.is_some_and(|status| status.said == "Good day, you!")
    })
    .await;

    // The schema's default takes the place of what is taken away, and the controller sees it.
    let patch = Patch::Merge(json!({"spec": {"greeting": null}}));
    greetings.patch("hi", &PatchParams::default(), &patch).await.expect("patched");
    eventually(DEADLINE, async || said("Hello, you!").await).await;
    // What it owns is made again, and goes with its owner.
    maps.delete("hi", &DeleteParams::default()).await.expect("deleted");
    eventually(DEADLINE, async || said("Hello, you!").await).await;
    let patch = Patch::Merge(json!({"spec": {"greeting": "you"}}));
    let refused = greetings.patch("hi", &PatchParams::default(), &patch).await.expect_err("a rule");
    assert!(refused.to_string().contains("say something else"), "{refused}");
    greetings.delete("hi", &DeleteParams::background()).await.expect("deleted");
    eventually(DEADLINE, async || maps.get_opt("hi").await.expect("an answer").is_none()).await;

    running.abort();
    cluster.stop().await;
}
