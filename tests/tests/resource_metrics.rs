//! What nodes and pods use: as `kubectl top` shows it, and as autoscalers act on it.
//!
//! Needs stock kubectls (`tests/kubectl/fetch`), a Docker engine and the images of `tests/images/build`.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::{Value, json};
use testkit::{eventually, eventually_some};
use tests::docker::{DockerCluster, script};
use tests::kubectl;
use tests::served::Served;
use tests::{pod_reaches, workloads};

/// A deployment of one pod that uses so many thousandths of a processor, and requests 100, in each of two containers.
fn busy(name: &str, millis: u32) -> Value {
    let mut template = workloads::template(name, "app");
    template["metadata"]["annotations"] = json!({
        "simulated.minik.dev/cpu-millis": millis.to_string(),
        "simulated.minik.dev/memory-bytes": (64 << 20).to_string(),
    });
    let main = &mut template["spec"]["containers"][0];
    main["resources"] = json!({"requests": {"cpu": "100m", "memory": "32Mi"}});
    let mut side = main.clone();
    side["name"] = "side".into();
    template["spec"]["containers"].as_array_mut().expect("containers").push(side);
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template},
    })
}

fn scaler(name: &str, metric: Value) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 1, "maxReplicas": 4, "metrics": [metric],
        },
    })
}

#[tokio::test(start_paused = true)]
async fn autoscalers_follow_what_pods_use() {
    let cluster = workloads::cluster(2).await;
    let utilization = |percent: u32| json!({"type": "Utilization", "averageUtilization": percent});
    let resource =
        |name: &str, target: Value| json!({"type": "Resource", "resource": {"name": name, "target": target}});
    // Each pod uses twice 150m of twice 100m, and twice 64Mi.
    for (name, metric, replicas) in [
        ("grows", resource("cpu", utilization(50)), 3),
        ("most", resource("cpu", utilization(20)), 4),
        ("stays", resource("cpu", utilization(150)), 1),
        ("memory", resource("memory", json!({"type": "AverageValue", "averageValue": "64Mi"})), 2),
        (
            "container",
            json!({"type": "ContainerResource", "containerResource": {
                "name": "cpu", "container": "side", "target": utilization(75),
            }}),
            2,
        ),
    ] {
        workloads::create::<Deployment>(&cluster, busy(name, 150)).await;
        workloads::create::<HorizontalPodAutoscaler>(&cluster, scaler(name, metric)).await;
        let scalers: Api<HorizontalPodAutoscaler> = Api::default_namespaced(cluster.client());
        let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
        // It goes on from a size that its metric asked for, so the first is the one that the figures make.
        let status = eventually_some(workloads::DEADLINE, async || {
            let scaler = serde_json::to_value(scalers.get(name).await.expect("it is there")).expect("JSON");
            let active = scaler["status"]["conditions"]
                .as_array()?
                .iter()
                .any(|condition| condition["type"] == "ScalingActive" && condition["status"] == "True");
            let known = scaler["status"]["currentMetrics"][0].is_object();
            (active && known).then(|| scaler["status"].clone())
        })
        .await;
        assert_eq!(status["desiredReplicas"], replicas, "{name}: {status}");
        eventually(workloads::DEADLINE, async || {
            let spec = deployments.get(name).await.expect("it is there").spec;
            spec.and_then(|spec| spec.replicas) >= Some(replicas)
        })
        .await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_top_shows_nodes_pods_and_containers() {
    let served = Served::start(2).await;
    served.cluster.nodes_ready(2, tests::DEADLINE).await.expect("ready");
    workloads::ready(&served.cluster, 2).await;
    workloads::create::<Deployment>(&served.cluster, busy("calm", 20)).await;
    workloads::create::<Deployment>(&served.cluster, busy("busy", 250)).await;
    for app in ["calm", "busy"] {
        let pods = workloads::selected::<Pod>;
        let name = eventually_some(tests::DEADLINE, async || {
            pods(&served.cluster, app).await.first().and_then(|pod| pod.metadata.name.clone())
        })
        .await;
        pod_reaches(&served.cluster.client(), &name, "Running").await;
    }
    for kubectl in kubectl::all().into_iter().filter(|kubectl| kubectl.minor >= 32) {
        let top = async |arguments: &[&str]| {
            let said = served.run(&kubectl.path, &[&["top"], arguments].concat()).await;
            said.ok()
                .lines()
                .map(|line| line.split_whitespace().map(str::to_owned).collect())
                .collect::<Vec<Vec<String>>>()
        };
        // A container that has just started is known a moment later.
        let rows = eventually_some(tests::DEADLINE, async || {
            let said = served.run(&kubectl.path, &["top", "pod", "--no-headers"]).await;
            (said.stdout.lines().count() == 2).then_some(())
        });
        rows.await;
        let pods = top(&["pod", "--sort-by=cpu"]).await;
        assert_eq!(pods[0], ["NAME", "CPU(cores)", "MEMORY(bytes)"]);
        assert!(pods[1][0].starts_with("busy-") && pods[2][0].starts_with("calm-"), "{pods:?}");
        let millis: u32 = pods[1][1].trim_end_matches('m').parse().expect("millicores");
        assert!((450..=550).contains(&millis), "{pods:?}");
        assert_eq!(pods[1][2], "128Mi");
        let containers = top(&["pod", "--containers", "-A", "-l", "app=calm", "--sort-by=memory"]).await;
        assert_eq!(containers[0], ["NAMESPACE", "POD", "NAME", "CPU(cores)", "MEMORY(bytes)"]);
        let mut names: Vec<&str> = containers[1..].iter().map(|row| row[2].as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["main", "side"]);
        let nodes = top(&["node"]).await;
        assert_eq!(nodes[0], ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]);
        assert_eq!(nodes.len(), 3);
        let table = served.run(&kubectl.path, &["get", "pods.metrics.k8s.io"]).await.ok();
        assert!(table.starts_with("NAME") && table.contains("WINDOW"), "{table}");
        let services = served.run(&kubectl.path, &["get", "apiservice", "v1beta1.metrics.k8s.io"]).await.ok();
        assert!(services.contains("Local") && services.contains("True"), "{services}");
        let missing = served.run(&kubectl.path, &["top", "pod", "nobody"]).await;
        assert!(missing.stderr.contains("\"nobody\" not found"), "{missing:?}");
    }
    served.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_computes_makes_its_deployment_grow() {
    let cluster = DockerCluster::start("metrics").await;
    let pod = script("spin", "while :; do :; done", json!({}), json!({}));
    let mut container = pod["spec"]["containers"][0].clone();
    container["resources"] = json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "200m"}});
    cluster
        .create(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "spin"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "spin"}}, "template": {
                "metadata": {"labels": {"app": "spin"}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
            }},
        }))
        .await;
    let target = json!({"type": "Utilization", "averageUtilization": 100});
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
    let mut scaler = scaler("spin", metric);
    scaler["spec"]["maxReplicas"] = 2.into();
    cluster.create(scaler).await;
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    eventually(tests::DEADLINE * 2, async || {
        let spec = deployments.get("spin").await.expect("it is there").spec;
        spec.and_then(|spec| spec.replicas) == Some(2)
    })
    .await;
}
