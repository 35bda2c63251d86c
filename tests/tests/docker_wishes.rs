//! What pods may ask for beyond the usual, in real containers: variables from files, mounts that are read-only all the way,
//! limits of whole pods, probes over HTTPS and gRPC; and what their volumes take.
//!
//! Needs a Docker engine and the images of `tests/images/build`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tests::docker::{DockerCluster, docker, script, service};
use tests::raw;
use tests::tls_server::{TlsServer, full};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn a_container_takes_variables_from_a_file_that_another_wrote() {
    let cluster = DockerCluster::start("wish-env").await;
    let spec = json!({
        "volumes": [{"name": "v", "emptyDir": {}}],
        "initContainers": [{
            "name": "first", "image": "busybox", "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", "mkdir /v/d; echo \"A='one two'\" > /v/d/env; echo A=bare > /v/bad"],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        }],
    });
    let file = |path: &str, key: &str, optional: bool| {
        json!({"name": key, "valueFrom": {"fileKeyRef": {
        "volumeName": "v", "path": path, "key": key, "optional": optional}}})
    };
    let main = json!({"env": [file("d/env", "A", false), file("d/env", "B", true), {"name": "C", "value": "<$(A)>"}]});
    cluster.create(script("good", "env | grep -E '^[ABC]=' | sort", spec.clone(), main)).await;
    assert_eq!(cluster.output("good").await, "A=one two\nC=<one two>\n");

    for (name, path, key, message) in [
        ("missing", "d/env", "B", "environment variable key \"B\" not found in file "),
        ("bad", "bad", "A", "couldn't parse env file"),
    ] {
        cluster.create(script(name, "true", spec.clone(), json!({"env": [file(path, key, false)]}))).await;
        let waiting = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"].clone();
        let pod =
            cluster.until(name, move |pod| waiting(pod)["reason"] == "CreateContainerConfigError").await;
        let said = waiting(&pod)["message"].as_str().expect("a message").to_owned();
        assert!(said.starts_with(message), "{said}");
        cluster.delete(name, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_is_read_only_with_all_that_is_mounted_in_it() {
    let cluster = DockerCluster::start("wish-readonly").await;
    let host = cluster.root().join("host");
    std::fs::create_dir_all(host.join("below")).expect("made");
    let below = host.join("below");
    let mount = |arguments: &[&str]| {
        let status = std::process::Command::new(arguments[0]).args(&arguments[1..]).status();
        assert!(status.expect("it runs").success(), "{arguments:?}");
    };
    let path = below.to_str().expect("UTF-8");
    mount(&["mount", "-t", "tmpfs", "-o", "nosuid", "none", path]);
    let spec = json!({"volumes": [{"name": "h", "hostPath": {"path": host, "type": "Directory"}}]});
    let main = json!({"volumeMounts": [
        {"name": "h", "mountPath": "/all", "readOnly": true, "recursiveReadOnly": "Enabled"},
        {"name": "h", "mountPath": "/top", "readOnly": true}]});
    let text =
        "touch /all/below/x || echo read-only; touch /top/below/y && echo written; touch /top/z || echo top";
    cluster.create(script("p", text, spec, main)).await;
    let log = cluster.output("p").await;
    for part in ["read-only\n", "written\n", "top\n"] {
        assert!(log.contains(part), "{log}");
    }
    let pod = cluster.until("p", |pod| pod["status"]["phase"] == "Succeeded").await;
    let mounts = &pod["status"]["containerStatuses"][0]["volumeMounts"];
    assert_eq!(
        (&mounts[0]["recursiveReadOnly"], &mounts[1]["recursiveReadOnly"]),
        (&json!("Enabled"), &json!("Disabled"))
    );
    cluster.delete("p", 0).await;
    assert!(below.join("y").exists() && !below.join("x").exists());
    mount(&["umount", path]);
    cluster.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_containers_of_a_pod_share_its_limits() {
    let cluster = DockerCluster::start("wish-limits").await;
    let mut pod = service(
        "p",
        "exec sleep 1000",
        json!({"resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "500m", "memory": "64Mi"}}}),
        json!({}),
    );
    let second = json!({"name": "second", "image": "busybox", "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "exec sleep 1000"], "resources": {"limits": {"memory": "32Mi"}}});
    pod["spec"]["containers"].as_array_mut().expect("a list").push(second);
    cluster.create(pod).await;
    let pod = cluster
        .until("p", |pod| {
            pod["status"]["containerStatuses"][1]["ready"] == true
                && pod["status"]["containerStatuses"][0]["ready"] == true
        })
        .await;
    let format = "{{.HostConfig.CgroupParent}} {{.HostConfig.Memory}} {{.HostConfig.CpuQuota}}";
    let of = |name: &str| {
        let list = pod["status"]["containerStatuses"].as_array().expect("a list");
        let status = list.iter().find(|status| status["name"] == name).expect("there");
        let id = status["containerID"].as_str().expect("an id").trim_start_matches("docker://").to_owned();
        docker(&["inspect", "--format", format, &id]).trim().to_owned()
    };
    let cgroup = of("main").split(' ').next().expect("a path").to_owned();
    assert!(cgroup.starts_with("/minik/") && cgroup.contains("/pod"), "{cgroup}");
    assert_eq!(of("main"), format!("{cgroup} 67108864 50000"), "its pod's limits");
    assert_eq!(of("second"), format!("{cgroup} 33554432 50000"));
    let files = [
        format!("/sys/fs/cgroup/memory{cgroup}/memory.limit_in_bytes"),
        format!("/sys/fs/cgroup{cgroup}/memory.max"),
    ];
    let limit =
        files.iter().find_map(|file| std::fs::read_to_string(file).ok()).expect("the pod has a cgroup");
    assert_eq!(limit.trim(), "67108864");
    assert_eq!(pod["status"]["qosClass"], "Burstable");
    cluster.delete("p", 0).await;
    cluster.clean().await;
    tests::eventually("its cgroup is gone", || {
        match files.iter().find(|file| std::path::Path::new(file).exists()) {
            None => Ok(()),
            Some(file) => Err(file.clone()),
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_cannot_do_is_said_in_upstreams_words() {
    let cluster = DockerCluster::start("wish-refused").await;
    cluster.create(script("users", "true", json!({"hostUsers": false}), json!({}))).await;
    let said = cluster.event("users", "FailedCreatePodSandBox", "hostUsers").await;
    assert_eq!(
        said,
        "Failed to create pod sandbox: can't set `spec.hostUsers: false`, runtime does not support user namespaces"
    );
    let huge = json!({"resources": {"limits": {"hugepages-16Gi": "16Gi", "memory": "16Mi"}, "requests": {"cpu": "1m"}}});
    cluster.create(script("huge", "true", json!({"nodeName": cluster.node().await}), huge)).await;
    let refused = cluster.until("huge", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(refused["status"]["reason"], "OutOfhugepages-16Gi");
    cluster.delete("users", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_ask_over_https_and_trust_anybody() {
    let cluster = DockerCluster::start("wish-https").await;
    let handler = |request: tests::tls_server::Request| -> futures::future::BoxFuture<'static, _> {
        let agent =
            request.headers().get("user-agent").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let ok = request.uri().path() == "/ready" && agent.starts_with("kube-probe/");
        Box::pin(async move {
            let response = http::Response::builder().status(if ok { 204 } else { 500 });
            response.body(full("")).expect("a response")
        })
    };
    let server = TlsServer::start(&["nobody.example"], None, Arc::new(handler)).await;
    let probe = |path: &str| {
        json!({"readinessProbe": {"periodSeconds": 1, "failureThreshold": 1, "httpGet": {
        "scheme": "HTTPS", "host": "127.0.0.1", "port": server.port, "path": path}}})
    };
    cluster.create(service("good", "exec sleep 1000", json!({}), probe("/ready"))).await;
    cluster.create(service("bad", "exec sleep 1000", json!({}), probe("/other"))).await;
    cluster.until("good", |pod| pod["status"]["containerStatuses"][0]["ready"] == true).await;
    cluster.event("bad", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 500").await;
    for pod in ["good", "bad"] {
        cluster.delete(pod, 0).await;
    }
}

/// A server of `grpc.health.v1` in the test's process, for pods in the host's network; its port. Services called `none`
/// are not known, others serve as long as `serving` is true.
async fn health_service(serving: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serving = serving.clone();
            let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
                let serving = serving.clone();
                async move {
                    let known = request.uri().path() == "/grpc.health.v1.Health/Check";
                    let asked = request.into_body().collect().await?.to_bytes();
                    // A frame's head, field 1, its length, the name.
                    let status = if known && !asked.ends_with(b"none") { "0" } else { "5" };
                    let answer = 1 + u8::from(!serving.load(Ordering::SeqCst));
                    let data = Bytes::from(vec![0, 0, 0, 0, 2, 8, answer]);
                    let trailers = HeaderMap::from_iter([(
                        HeaderName::from_static("grpc-status"),
                        HeaderValue::from_static(status),
                    )]);
                    let data = (status == "0").then(|| Frame::data(data));
                    let frames =
                        data.into_iter().chain([Frame::trailers(trailers)]).map(Ok::<_, hyper::Error>);
                    let response = http::Response::builder().header("content-type", "application/grpc");
                    let body = StreamBody::new(futures::stream::iter(frames));
                    Ok::<_, hyper::Error>(response.body(body).expect("a response"))
                }
            });
            tokio::spawn(async move {
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                // A client that goes away is no fault of the test.
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_ask_the_health_service_over_grpc() {
    let cluster = DockerCluster::start("wish-grpc").await;
    let serving = Arc::new(AtomicBool::new(true));
    let port = health_service(serving.clone()).await;
    let probe = |service: &str| json!({"readinessProbe": {"periodSeconds": 1, "failureThreshold": 1, "grpc": {"port": port, "service": service}}});
    let host = json!({"hostNetwork": true});
    cluster.create(service("good", "exec sleep 1000", host.clone(), probe("good"))).await;
    cluster.create(service("bad", "exec sleep 1000", host, probe("none"))).await;
    let is_ready = |pod: &Value| pod["status"]["containerStatuses"][0]["ready"] == true;
    cluster.until("good", is_ready).await;
    cluster.event("bad", "Unhealthy", "Readiness probe failed: ").await;
    serving.store(false, Ordering::SeqCst);
    let said = "Readiness probe failed: service unhealthy (responded with \"NOT_SERVING\")";
    cluster.event("good", "Unhealthy", said).await;
    cluster.until("good", move |pod| !is_ready(pod)).await;
    serving.store(true, Ordering::SeqCst);
    let again = cluster.until("good", is_ready).await;
    assert_eq!(again["status"]["containerStatuses"][0]["restartCount"], 0);
    for pod in ["good", "bad"] {
        cluster.delete(pod, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_the_nodes_folder_is_a_pod() {
    let cluster = DockerCluster::start("wish-static").await;
    let node = cluster.node().await;
    let name = format!("web-{node}");
    let file = cluster.root().join("nodes").join(&node).join("manifests/web.yaml");
    let manifest = |version: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
             containers: [{{name: main, image: \"minik/hello:{version}\"}}]\n"
        )
    };
    std::fs::write(&file, manifest("v1")).expect("written");
    let is_running = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["running"].is_object();
    let id = |pod: &Value| {
        let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().expect("an id");
        id.trim_start_matches("docker://").to_owned()
    };
    let first = cluster.until(&name, is_running).await;
    assert_eq!(first["metadata"]["ownerReferences"][0]["kind"], "Node");
    assert_eq!(docker(&["inspect", "--format", "{{.State.Running}}", &id(&first)]).trim(), "true");
    // Another content is another pod, and without a file there is none.
    std::fs::write(&file, manifest("v2")).expect("written");
    let before = id(&first);
    let second = cluster.until(&name, move |pod| is_running(pod) && id(pod) != before).await;
    std::fs::remove_file(&file).expect("removed");
    testkit::eventually(tests::DEADLINE, || async {
        cluster.pods().get_opt(&name).await.expect("the API answers").is_none()
    })
    .await;
    cluster.clean().await;
    assert_eq!(docker(&["ps", "--all", "--quiet", "--filter", &format!("id={}", id(&second))]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_tell_what_they_take() {
    let cluster = DockerCluster::start("wish-usage").await;
    cluster
        .create(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "claim"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}))
        .await;
    let spec = json!({"volumes": [
        {"name": "scratch", "emptyDir": {}}, {"name": "data", "persistentVolumeClaim": {"claimName": "claim"}}]});
    let main = json!({"volumeMounts": [
        {"name": "scratch", "mountPath": "/scratch"}, {"name": "data", "mountPath": "/data"}]});
    // More than the claim asked for: it is recorded, not enforced.
    let text = "head -c 3000000 /dev/zero > /data/f; head -c 1000000 /dev/zero > /scratch/f; sync; echo up; exec sleep 1000";
    cluster.create(service("p", text, spec, main)).await;
    cluster.writes("p", "up").await;
    let node = cluster.node().await;
    let ask =
        async |path: &str| raw::text(&cluster.client(), &format!("/api/v1/nodes/{node}/proxy/{path}")).await;
    let summary: Value = serde_json::from_str(&ask("stats/summary").await).expect("JSON");
    let pods = summary["pods"].as_array().expect("pods");
    let pod = pods.iter().find(|pod| pod["podRef"]["name"] == "p").expect("the pod");
    let volume = |name: &str| {
        let list = pod["volume"].as_array().expect("volumes");
        list.iter().find(|volume| volume["name"] == name).expect("there").clone()
    };
    let used = |volume: &Value| volume["usedBytes"].as_u64().expect("a number");
    let (scratch, data) = (volume("scratch"), volume("data"));
    assert!((1_000_000..1_100_000).contains(&used(&scratch)), "{scratch}");
    assert!((3_000_000..3_100_000).contains(&used(&data)), "{data}");
    assert_eq!(data["pvcRef"], json!({"name": "claim", "namespace": "default"}));
    assert!(data["capacityBytes"].as_u64() > Some(3_000_000) && scratch["pvcRef"].is_null());
    let metrics = ask("metrics").await;
    let line = "kubelet_volume_stats_used_bytes{namespace=\"default\",persistentvolumeclaim=\"claim\"} ";
    assert!(metrics.contains(line), "{metrics}");
    cluster.delete("p", 0).await;
}
