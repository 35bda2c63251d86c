//! What clients ask of a server besides objects: explanations, tokens, rights, documents; and kube-rs as a client from
//! outside, over TLS.
//!
//! Needs stock kubectls (`tests/kubectl/fetch`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::{Controller, WatchStreamExt as _, watcher};
use kube::{Api, Client, Config, ResourceExt as _};
use serde_json::{Value, json};
use testkit::eventually;
use tests::DEADLINE;
use tests::kinds::{self, Kind};
use tests::kubectl::{self, Kubectl};
use tests::profile::Said;
use tests::served::Served;

/// Calls of kubectl at a time.
const AT_ONCE: usize = 6;

async fn run(served: &Served, kubectl: &Kubectl, arguments: &[&str]) -> Said {
    served.run(&kubectl.path, arguments).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_explains_every_kind() {
    let served = Served::start(0).await;
    let kinds = kinds::served(&served.cluster.client()).await;
    // The newest reads version 3 of OpenAPI, the oldest version 2 in protobuf; what is between reads as the newest.
    let kubectls = kubectl::all();
    let oldest = kubectls.iter().min_by_key(|one| one.minor).expect("one");
    let newest = kubectls.iter().max_by_key(|one| one.minor).expect("one");
    let served = &served;
    let ask = |kubectl: &Kubectl, kind: &Kind| {
        let (kubectl, kind) = (kubectl.clone(), kind.clone());
        async move {
            let version = format!("--api-version={}", kind.api_version());
            let said = run(served, &kubectl, &["explain", &kind.plural, &version]).await;
            let words = said.stdout.replace(' ', "");
            let told = said.code == 0
                && words.contains(&format!("KIND:{}\n", kind.kind))
                && words.contains("DESCRIPTION:\n")
                && !words.contains("<empty>")
                && words.contains("FIELDS:\n");
            (!told).then(|| format!("1.{} {}: {said:?}", kubectl.minor, kind.argument()))
        }
    };
    let mut calls: Vec<_> = kinds.iter().map(|kind| ask(newest, kind)).collect();
    // Each of these makes the server write the whole document; the objects are the same for all of them.
    let some = ["pods", "deployments", "customresourcedefinitions", "flowschemas", "ingresses"];
    calls.extend(
        kinds.iter().filter(|kind| some.contains(&kind.plural.as_str())).map(|kind| ask(oldest, kind)),
    );
    let wrong: Vec<String> = futures::stream::iter(calls)
        .buffer_unordered(AT_ONCE)
        .filter_map(|wrong| async move { wrong })
        .collect()
        .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let field = run(
        served,
        newest,
        &["explain", "deployment.spec.template.spec.containers.livenessProbe.httpGet.port"],
    )
    .await
    .ok();
    assert!(field.contains("FIELD: port <IntOrString>"), "{field}");
    assert!(field.contains("Name or number of the port to access on the container."), "{field}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_reads_every_document() {
    let served = Served::start(0).await;
    let kinds = kinds::served(&served.cluster.client()).await;
    let kubectls = kubectl::all();
    let mut versions: Vec<String> = kinds.iter().map(Kind::api_version).collect();
    versions.sort();
    versions.dedup();
    let mut paths: Vec<String> = [
        "/",
        "/api",
        "/api/v1",
        "/apis",
        "/openapi/v2",
        "/openapi/v3",
        "/version",
        "/openid/v1/jwks",
        "/.well-known/openid-configuration",
    ]
    .map(str::to_owned)
    .to_vec();
    for version in versions.iter().filter(|version| version.contains('/')) {
        paths.push(format!("/apis/{version}"));
        paths.push(format!("/apis/{}", version.split('/').next().unwrap_or_default()));
        paths.push(format!("/openapi/v3/apis/{version}"));
    }
    paths.push("/openapi/v3/api/v1".to_owned());
    let newest = kubectls.iter().max_by_key(|one| one.minor).expect("one");
    for path in &paths {
        let text = run(&served, newest, &["get", "--raw", path]).await.ok();
        let document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(document.as_object().is_some_and(|map| !map.is_empty()), "{path}");
    }
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(run(&served, newest, &["get", "--raw", path]).await.ok(), "ok", "{path}");
    }
    // Every kind's group and version has a document with its schema.
    let index: Value =
        serde_json::from_str(&run(&served, newest, &["get", "--raw", "/openapi/v3"]).await.ok())
            .expect("JSON");
    for kind in &kinds {
        let name =
            if kind.group.is_empty() { "api/v1".to_owned() } else { format!("apis/{}", kind.api_version()) };
        assert!(index["paths"][&name]["serverRelativeURL"].is_string(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_gets_tokens_and_lists_rights() {
    let served = Served::start(0).await;
    for kubectl in &kubectl::all() {
        let name = format!("robot-{}", kubectl.minor);
        run(&served, kubectl, &["create", "serviceaccount", &name]).await.ok();
        let binding = format!("--serviceaccount=default:{name}");
        run(&served, kubectl, &["create", "rolebinding", &name, "--clusterrole=view", &binding]).await.ok();
        let user = format!("--as=system:serviceaccount:default:{name}");
        let list = run(&served, kubectl, &["auth", "can-i", "--list", &user]).await.ok();
        let row =
            list.lines().find(|line| line.starts_with("configmaps ")).unwrap_or_else(|| panic!("{list}"));
        assert!(row.contains("[get list watch]"), "1.{}: {row}", kubectl.minor);
        let no = run(&served, kubectl, &["auth", "can-i", "delete", "pods", &user]).await;
        assert_eq!((no.stdout.trim(), no.code), ("no", 1));
        // kubectl has the command since 1.24.
        if kubectl.minor < 24 {
            continue;
        }
        let token = run(&served, kubectl, &["create", "token", &name, "--duration=1h"]).await.ok();
        let mut config: Value =
            serde_json::from_str(&std::fs::read_to_string(served.kubeconfig()).expect("a file"))
                .expect("JSON");
        config["users"][0]["user"] = json!({"token": token.trim()});
        let file = served.file("token-config", &config.to_string());
        let with_token = format!("--kubeconfig={file}");
        assert!(
            run(&served, kubectl, &[&with_token, "get", "configmaps"])
                .await
                .ok()
                .contains("kube-root-ca.crt")
        );
        let refused = run(&served, kubectl, &[&with_token, "get", "secrets"]).await;
        assert!(
            refused.stderr.contains(&format!(
                "User \"system:serviceaccount:default:{name}\" cannot list resource \"secrets\""
            )),
            "{refused:?}"
        );
    }
}

/// kubectl 1.33 and newer write what it makes up itself in protobuf; so does client-go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_writes_protobuf() {
    let served = Served::start(0).await;
    let newest = kubectl::all().into_iter().max_by_key(|one| one.minor).expect("one");
    assert!(newest.minor >= 33, "a kubectl that writes protobuf");
    let said = run(&served, &newest, &["create", "deployment", "web", "--image=nginx", "-v=8"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains("application/vnd.kubernetes.protobuf"), "{}", said.stderr);
    for arguments in [
        &["create", "namespace", "proto"][..],
        &["create", "configmap", "proto", "--from-literal=a=b"],
        &["autoscale", "deployment", "web", "--max=3"],
        &["auth", "whoami"],
        &["auth", "can-i", "get", "pods"],
        &["create", "token", "default"],
    ] {
        let said = run(&served, &newest, arguments).await;
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
    }
    let image = run(
        &served,
        &newest,
        &["get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"],
    )
    .await;
    assert_eq!(image.ok(), "nginx");
}

/// A client of its own over TLS, as an operator has it.
async fn outside(served: &Served) -> Client {
    let file = kube::config::Kubeconfig::read_from(served.kubeconfig()).expect("a kubeconfig");
    let options = kube::config::KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(file, &options).await.expect("a configuration");
    Client::try_from(config).expect("a client")
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"n": "0"}})).expect("a config map")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kube_rs_watches_and_reconciles_over_tls() {
    let served = Served::start(0).await;
    let client = outside(&served).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());

    // Both ways to watch: a list and a watch, and a watch that begins with the list.
    for (name, config) in
        [("listed", watcher::Config::default()), ("streamed", watcher::Config::default().streaming_lists())]
    {
        let mut changes = watcher(maps.clone(), config).applied_objects().boxed();
        maps.create(&PostParams::default(), &map(name)).await.expect("created");
        let seen = async {
            while let Some(found) = changes.try_next().await.expect("a watch without errors") {
                if found.name_any() == name {
                    return;
                }
            }
            panic!("the watch ended");
        };
        tokio::time::timeout(DEADLINE, seen).await.expect("in time");
        maps.delete(name, &DeleteParams::default()).await.expect("deleted");
    }

    // An operator: each object gets a label from its controller, by server-side apply.
    struct Work {
        client: Client,
        done: AtomicUsize,
    }
    let work = Arc::new(Work { client: client.clone(), done: AtomicUsize::new(0) });
    let reconcile = |found: Arc<ConfigMap>, work: Arc<Work>| async move {
        work.done.fetch_add(1, Ordering::SeqCst);
        let maps: Api<ConfigMap> = Api::default_namespaced(work.client.clone());
        let labelled = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": found.name_any(), "labels": {"reconciled": "yes"}}});
        maps.patch(&found.name_any(), &PatchParams::apply("operator"), &Patch::Apply(labelled)).await?;
        Ok::<_, kube::Error>(Action::await_change())
    };
    let policy = |_: Arc<ConfigMap>, _: &kube::Error, _: Arc<Work>| Action::requeue(Duration::from_secs(1));
    let controller = Controller::new(maps.clone(), watcher::Config::default());
    let running = tokio::spawn(controller.run(reconcile, policy, work.clone()).for_each(|_| async {}));
    for name in ["one", "two", "three"] {
        maps.create(&PostParams::default(), &map(name)).await.expect("created");
    }
    for name in ["one", "two", "three"] {
        eventually(DEADLINE, async || {
            let found = maps.get(name).await.expect("an answer");
            found.labels().get("reconciled").is_some_and(|value| value == "yes")
        })
        .await;
    }
    // Applying the same again writes nothing, so the controller comes to rest.
    let found = maps.get("one").await.expect("an answer");
    let labelled = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "one", "labels": {"reconciled": "yes"}}});
    let again =
        maps.patch("one", &PatchParams::apply("operator"), &Patch::Apply(labelled)).await.expect("applied");
    assert_eq!(again.resource_version(), found.resource_version());
    assert!(work.done.load(Ordering::SeqCst) >= 3);
    running.abort();
}
