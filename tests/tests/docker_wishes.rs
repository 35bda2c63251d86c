//! What pods may ask for beyond the usual, in real containers: variables from files, mounts that are read-only all the way,
//! limits of whole pods, probes over HTTPS; and what their volumes take.
//!
//! Needs a Docker engine and the images of `tests/images/build`.

use serde_json::{Value, json};
use std::sync::Arc;
use tests::docker::{DockerCluster, docker, script, service};
use tests::tls_server::{TlsServer, full};

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
    let ask = async |path: &str| {
        let request = http::Request::get(format!("/api/v1/nodes/{node}/proxy/{path}")).body(Vec::new());
        cluster.client().request_text(request.expect("a request")).await.expect("an answer")
    };
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
