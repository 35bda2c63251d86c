//! An operator in sixty lines, with kube-rs: a kind `Greeting`, and a config map for each that says it.
//!
//! ```sh
//! minik start && cargo run -p tests --example operator
//! kubectl apply -f - <<< '{"apiVersion": "example.org/v1", "kind": "Greeting", "metadata": {"name": "hi"}, "spec": {"name": "you"}}'
//! kubectl get greetings,configmaps
//! ```

#![allow(clippy::print_stdout, missing_docs, unreachable_pub, reason = "an example")]

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::core::crd::CustomResourceExt as _;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher;
use kube::{Client, Resource as _, ResourceExt as _};
use kube_derive::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// What is to be said, and to whom.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize)]
#[kube(group = "example.org", version = "v1", kind = "Greeting", namespaced, status = "GreetingStatus")]
#[kube(
    schema = "disabled",
    shortname = "gr",
    printcolumn = r#"{"name":"Said","type":"string","jsonPath":".status.said"}"#
)]
pub struct GreetingSpec {
    #[serde(default)]
    pub greeting: String,
    pub name: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GreetingStatus {
    pub said: String,
}

/// The definition of the kind, with what is asked of its objects.
pub fn definition() -> CustomResourceDefinition {
    let mut definition = Greeting::crd();
    let schema = json!({"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["name"], "properties": {
            "greeting": {"type": "string", "default": "Hello", "maxLength": 100},
            "name": {"type": "string", "maxLength": 100}},
            "x-kubernetes-validations": [{"rule": "self.name != self.greeting", "message": "say something else"}]},
        "status": {"type": "object", "properties": {"said": {"type": "string"}}}}}});
    definition.spec.versions[0].schema = serde_json::from_value(schema).ok();
    definition
}

async fn reconcile(greeting: Arc<Greeting>, client: Arc<Client>) -> Result<Action, kube::Error> {
    let said = format!("{}, {}!", greeting.spec.greeting, greeting.spec.name);
    let (name, namespace) = (greeting.name_any(), greeting.namespace().unwrap_or_default());
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"said": said},
        "metadata": {"name": name, "ownerReferences": Vec::from_iter(greeting.controller_owner_ref(&()))},
    });
    let maps: Api<ConfigMap> = Api::namespaced(Client::clone(&client), &namespace);
    let apply = PatchParams::apply("greeter").force();
    maps.patch(&name, &apply, &Patch::Apply(&map)).await?;
    let greetings: Api<Greeting> = Api::namespaced(Client::clone(&client), &namespace);
    let status = json!({"status": GreetingStatus { said }});
    greetings.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await?;
    Ok(Action::await_change())
}

/// Installs the kind and serves its objects until the future is dropped.
pub async fn run(client: Client) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let (name, apply) = (Greeting::crd_name(), PatchParams::apply("greeter").force());
    definitions.patch(name, &apply, &Patch::Apply(definition())).await?;
    await_condition(definitions, name, conditions::is_crd_established()).await?;

    let greetings: Api<Greeting> = Api::all(client.clone());
    greetings.list(&ListParams::default().limit(1)).await?;
    Controller::new(greetings, watcher::Config::default())
        .owns(Api::<ConfigMap>::all(client.clone()), watcher::Config::default())
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_secs(1)), Arc::new(client))
        .for_each(|done| async move {
            match done {
                Ok((greeting, _)) => println!("said {}", greeting.name),
                Err(error) => println!("error: {error}"),
            }
        })
        .await;
    Ok(())
}

#[tokio::main]
#[allow(dead_code, reason = "its test calls what it does")]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    run(Client::try_default().await?).await
}
