//! What end-to-end tests share: profiles of the real binaries, stock clients, and clusters in the test's process.
//!
//! **Contract**: a test that needs Docker, etcd or a stock kubectl fails clearly where there is none; none is skipped.
//! Whatever a test starts ends with it, also when it fails.
//! **Not here**: the tests (`tests/tests`), the images (`tests/images`).

pub mod docker;
pub mod engine;
pub mod faults;
pub mod kinds;
pub mod kubectl;
pub mod profile;
pub mod raw;
pub mod registry;
pub mod served;
pub mod tls_server;
pub mod workloads;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::eventually_some;
use tokio::time::Instant;

/// How long anything may take on a slow and busy machine before a test gives up.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The repository's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("tests lie in the repository").to_owned()
}

/// A binary of the workspace, built beside this test.
///
/// # Panics
/// If it was not built: `cargo build -p minik -p ctl`.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test knows itself");
    let folder = test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: cargo build -p minik -p ctl", path.display());
    path
}

/// A pod of one container, as JSON.
pub fn pod(name: &str, image: &str, command: &[&str]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": command}]
        }
    })
}

/// Waits until the controllers have made what they make in the namespace `default`: the account of its pods, for which a
/// pod itself waits a second only, and the certificate.
///
/// # Panics
/// If they have not in time, or the API does not answer.
pub async fn settled(client: &Client) {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    testkit::eventually(DEADLINE, async || {
        found(&accounts, "default").await.is_some() && found(&maps, "kube-root-ca.crt").await.is_some()
    })
    .await;
}

/// An object, if there is one. A server with a fiftieth of a machine may ask to come again (504): not yet.
///
/// # Panics
/// If the API answers with another error.
pub async fn found<K: client::Watched>(objects: &Api<K>, name: &str) -> Option<K> {
    match objects.get_opt(name).await {
        Ok(found) => found,
        Err(kube::Error::Api(status)) if status.code == 504 => None,
        Err(error) => panic!("the API does not answer: {error}"),
    }
}

/// Creates a pod given as JSON in its namespace `default`, once that takes pods.
///
/// # Panics
/// If the API refuses it.
pub async fn create_pod(client: &Client, pod: Value) -> Pod {
    settled(client).await;
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &pod).await.expect("the API takes it")
}

/// Waits until a pod is in a phase.
///
/// # Panics
/// If it is not in time.
#[track_caller]
pub fn pod_reaches(client: &Client, name: &str, phase: &str) -> impl Future<Output = Pod> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let (name, phase) = (name.to_owned(), phase.to_owned());
    eventually_some(DEADLINE, move || {
        let (pods, name, phase) = (pods.clone(), name.clone(), phase.clone());
        async move {
            let pod = found(&pods, &name).await?;
            (api::pod::phase(&pod) == phase).then_some(pod)
        }
    })
}

/// Deletes a pod without waiting for its end.
///
/// # Panics
/// If the API refuses it.
pub async fn delete_pod(client: &Client, name: &str, grace: u32) {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let parameters = DeleteParams { grace_period_seconds: Some(grace), ..DeleteParams::default() };
    pods.delete(name, &parameters).await.expect("the API deletes it");
}

/// Asks again and again, by running a program, until the answer is right.
///
/// # Panics
/// If it is not in time, with the last answer.
#[track_caller]
pub fn eventually(what: &str, mut ask: impl FnMut() -> Result<(), String>) {
    let until = Instant::now() + DEADLINE;
    while let Err(last) = ask() {
        assert!(Instant::now() < until, "{what}: {last}");
    }
}
