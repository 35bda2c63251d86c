//! Probes, hooks, sidecars, ephemeral containers, resizes and rights in real containers.
//!
//! Needs a Docker engine and the images of `tests/images/build`.

use serde_json::{Value, json};
use tests::docker::{DockerCluster, script, service};

fn main_status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

fn is_ready(pod: &Value) -> bool {
    main_status(pod)["ready"] == true
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_decide_who_is_ready_and_who_starts_anew() {
    let cluster = DockerCluster::start("life-probes").await;
    // Ready by command, until the file goes.
    let by_file = json!({"readinessProbe": {"exec": {"command": ["cat", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}});
    let text =
        "sleep 2; touch /tmp/ready; while [ ! -f /tmp/stop ]; do sleep 0.1; done; rm /tmp/ready; sleep 1000";
    cluster.create(service("exec", text, json!({}), by_file)).await;
    // Killed by its liveness probe, with a grace of its own.
    let dead = json!({"livenessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1,
        "terminationGracePeriodSeconds": 1}});
    cluster
        .create(service("live", "exec sleep 1000", json!({"terminationGracePeriodSeconds": 600}), dead))
        .await;
    // Over HTTP and TCP, behind a startup probe.
    let web = json!({"image": "minik/hello:v1", "command": null, "ports": [{"name": "web", "containerPort": 8080}],
        "startupProbe": {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}});
    cluster.create(service("web", "", json!({}), web)).await;
    let closed = json!({"readinessProbe": {"httpGet": {"path": "/", "port": 81}, "periodSeconds": 1}});
    cluster.create(service("closed", "exec sleep 1000", json!({}), closed)).await;

    let ready = cluster.until("exec", is_ready).await;
    assert_eq!(main_status(&ready)["restartCount"], 0);
    cluster.until("web", is_ready).await;
    cluster.event("live", "Unhealthy", "Liveness probe failed: ").await;
    cluster.event("live", "Killing", "Container main failed liveness probe, will be restarted").await;
    cluster.until("live", |pod| main_status(pod)["restartCount"].as_i64() >= Some(1)).await;
    let said = cluster.event("closed", "Unhealthy", "Readiness probe failed: Get").await;
    assert!(said.contains("connect: connection refused"), "{said}");
    let unready = cluster.until("closed", |pod| pod["status"]["phase"] == "Running").await;
    assert!(!is_ready(&unready));
    let conditions = unready["status"]["conditions"].as_array().expect("conditions");
    let ready = conditions.iter().find(|c| c["type"] == "Ready").expect("there");
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("ContainersNotReady")));
    for pod in ["exec", "live", "web", "closed"] {
        cluster.delete(pod, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_run_after_the_start_and_before_the_stop() {
    let cluster = DockerCluster::start("life-hooks").await;
    let host = cluster.root().join("shared");
    std::fs::create_dir(&host).expect("made");
    let volume = json!({"volumes": [{"name": "s", "hostPath": {"path": host, "type": "Directory"}}],
        "terminationGracePeriodSeconds": 20});
    let text = "trap 'echo term >> /s/log; exit 0' TERM; while true; do sleep 0.1; done";
    let main = json!({
    "volumeMounts": [{"name": "s", "mountPath": "/s"}],
    "lifecycle": {
        "postStart": {"exec": {"command": ["sh", "-c", "echo started >> /s/log"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo stopping >> /s/log"]}},
    }});
    cluster.create(service("p", text, volume, main)).await;
    cluster.until("p", is_ready).await;
    cluster.delete("p", 20).await;
    let log = std::fs::read_to_string(host.join("log")).expect("written");
    assert_eq!(log, "started\nstopping\nterm\n");

    // What was begun is taken back before the container is killed.
    let failing = json!({"volumeMounts": [{"name": "s", "mountPath": "/s"}], "lifecycle": {
        "postStart": {"exec": {"command": ["false"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo undone >> /s/bad"]}}}});
    let volume = json!({"volumes": [{"name": "s", "hostPath": {"path": host, "type": "Directory"}}]});
    let text = "trap 'echo term >> /s/bad; exit 0' TERM; while true; do sleep 0.1; done";
    cluster.create(service("bad", text, volume, failing)).await;
    cluster.event("bad", "FailedPostStartHook", "PostStartHook failed").await;
    cluster.until("bad", |pod| main_status(pod)["restartCount"].as_i64() >= Some(1)).await;
    let log = std::fs::read_to_string(host.join("bad")).expect("written");
    assert!(log.starts_with("undone\nterm\n"), "{log}");
    cluster.delete("bad", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sidecars_start_first_stop_last_and_do_not_keep_a_pod() {
    let cluster = DockerCluster::start("life-sidecars").await;
    let host = cluster.root().join("shared");
    std::fs::create_dir(&host).expect("made");
    let mount = json!([{"name": "s", "mountPath": "/s"}]);
    let spec = json!({
        "volumes": [{"name": "s", "hostPath": {"path": host, "type": "Directory"}}],
        "terminationGracePeriodSeconds": 20,
        "initContainers": [{
            "name": "side", "image": "busybox", "imagePullPolicy": "IfNotPresent", "restartPolicy": "Always",
            "command": ["sh", "-c", "trap 'echo side ends >> /s/log; exit 0' TERM; echo side >> /s/log; touch /s/up; while true; do sleep 0.1; done"],
            "startupProbe": {"exec": {"command": ["test", "-f", "/s/up"]}, "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 60},
            "volumeMounts": mount,
        }],
    });
    let text = "echo main >> /s/log; sleep 1; echo main ends >> /s/log";
    cluster.create(script("p", text, spec, json!({"volumeMounts": mount}))).await;
    let ended = cluster.until("p", |pod| pod["status"]["phase"] == "Succeeded").await;
    assert_eq!(ended["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 0);
    let log = std::fs::read_to_string(host.join("log")).expect("written");
    assert_eq!(log, "side\nmain\nmain ends\nside ends\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_one_container_may_start_all_of_its_pod_anew() {
    let cluster = DockerCluster::start("life-anew").await;
    let mount = json!([{"name": "v", "mountPath": "/v"}]);
    let spec = json!({
        "restartPolicy": "Never", "volumes": [{"name": "v", "emptyDir": {}}],
        "initContainers": [{"name": "first", "image": "busybox", "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", "echo first >> /v/log"], "volumeMounts": mount}],
    });
    let main = json!({"volumeMounts": mount, "restartPolicy": "Never", "restartPolicyRules": [
        {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]});
    let text = "[ -e /v/again ] || { touch /v/again; exit 42; }; cat /v/log; exec sleep 1000";
    let mut pod = script("p", text, spec, main);
    let beside = json!({"name": "beside", "image": "busybox", "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "exec sleep 1000"]});
    pod["spec"]["containers"].as_array_mut().expect("a list").push(beside);
    cluster.create(pod).await;
    let pod = cluster.until("p", |pod| main_status(pod)["restartCount"] == 1 && is_ready(pod)).await;
    let status = &pod["status"];
    assert_eq!(status["containerStatuses"][1]["restartCount"], 1);
    assert_eq!(status["initContainerStatuses"][0]["restartCount"], 1);
    assert_eq!(main_status(&pod)["lastState"]["terminated"]["reason"], "RestartingAllContainers");
    cluster.writes("p", "first\nfirst\n").await;
    cluster.delete("p", 0).await;
    cluster.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_have_the_identity_the_names_and_the_rights_that_they_ask_for() {
    let cluster = DockerCluster::start("life-identity").await;
    cluster
        .create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"K": "from-map"}}))
        .await;
    let spec = json!({
        "hostname": "me", "subdomain": "sub",
        "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["alias"]}],
        "dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"], "searches": ["my.search"], "options": [{"name": "ndots", "value": "3"}]},
        "securityContext": {"supplementalGroups": [777], "runAsNonRoot": true,
            "sysctls": [{"name": "net.ipv4.ip_local_port_range", "value": "20000 20100"}]},
    });
    let main = json!({
        "envFrom": [{"prefix": "X_", "configMapRef": {"name": "map"}}],
        "env": [
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
            {"name": "ALL", "value": "$(X_K)-$(CPU)"}],
        "resources": {"limits": {"cpu": "250m", "memory": "32Mi"}},
        "securityContext": {"runAsUser": 1000, "runAsGroup": 2000, "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}},
    });
    let text = "hostname; id -u; id -g; id -G; echo $ALL $KUBERNETES_SERVICE_PORT; cat /etc/resolv.conf; grep -E 'alias|sub' /etc/hosts; \
        touch /x 2>&1; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; cat /proc/sys/net/ipv4/ip_local_port_range; \
        cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    cluster.create(script("p", text, spec, main)).await;
    let log = cluster.output("p").await;
    for part in [
        "me\n1000\n2000\n2000 777\nfrom-map-250 443\n",
        "nameserver 9.9.9.9",
        "search my.search",
        "options ndots:3",
        "\tme.sub.default.svc.cluster.local\tme\n1.2.3.4\talias\n",
        "Read-only file system",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "20000\t20100",
        "33554432",
    ] {
        assert!(log.contains(part), "{part:?}: {log}");
    }
    let root = json!({"securityContext": {"runAsNonRoot": true}});
    cluster.create(script("root", "true", root, json!({}))).await;
    let waiting = |pod: &Value| main_status(pod)["state"]["waiting"].clone();
    let root = cluster.until("root", move |pod| waiting(pod)["reason"] == "CreateContainerConfigError").await;
    let message = waiting(&root)["message"].as_str().expect("a message").to_owned();
    assert!(
        message.starts_with("container has runAsNonRoot and image will run as root (pod: \"root_default("),
        "{message}"
    );
    let unsafe_sysctl = json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}});
    cluster.create(script("sysctl", "true", unsafe_sysctl, json!({}))).await;
    let refused = cluster.until("sysctl", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(refused["status"]["reason"], "SysctlForbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_pod_takes_another_container_and_other_limits() {
    let cluster = DockerCluster::start("life-resize").await;
    let main = json!({"resources": {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "32Mi"}}});
    cluster.create(service("p", "exec sleep 1000", json!({}), main)).await;
    let before = cluster.until("p", is_ready).await;
    assert_eq!(main_status(&before)["resources"]["limits"]["memory"], "32Mi");

    let debug = json!({"spec": {"ephemeralContainers": [{
        "name": "debug", "image": "busybox", "imagePullPolicy": "IfNotPresent", "targetContainerName": "main",
        "command": ["sh", "-c", "ps | grep -c 'sleep 1000'; exec sleep 1000"], "terminationMessagePolicy": "File"}]}});
    cluster.patch_subresource("p", "ephemeralcontainers", debug).await;
    cluster
        .until("p", |pod| !pod["status"]["ephemeralContainerStatuses"][0]["state"]["running"].is_null())
        .await;

    let bigger = json!({"spec": {"containers": [{"name": "main", "resources": {
        "requests": {"cpu": "150m", "memory": "48Mi"}, "limits": {"cpu": "300m", "memory": "48Mi"}}}]}});
    cluster.patch_subresource("p", "resize", bigger).await;
    let after = cluster.until("p", |pod| main_status(pod)["resources"]["limits"]["memory"] == "48Mi").await;
    let status = main_status(&after);
    assert_eq!((&status["restartCount"], &status["allocatedResources"]["cpu"]), (&json!(0), &json!("150m")));
    assert_eq!(status["containerID"], main_status(&before)["containerID"]);
    let id = status["containerID"].as_str().expect("an id").trim_start_matches("docker://").to_owned();
    let limit = tests::docker::docker(&[
        "inspect",
        "--format",
        "{{.HostConfig.Memory}} {{.HostConfig.CpuQuota}}",
        &id,
    ]);
    assert_eq!(limit.trim(), "50331648 30000");
    cluster.event("p", "ResizeStarted", "Pod resize started: {\"containers\":[{\"name\":\"main\"").await;
    cluster.event("p", "ResizeCompleted", "\"memory\":\"48Mi\"").await;
    cluster.delete("p", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_more_than_was_agreed_has_to_go() {
    let cluster = DockerCluster::start("life-limits").await;
    let spec = json!({"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]});
    let mount = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let fill = "head -c 3000000 /dev/zero > /v/f; exec sleep 1000";
    cluster.create(service("disk", fill, spec, mount)).await;
    let hungry = json!({"resources": {"limits": {"memory": "16Mi"}}});
    cluster.create(script("memory", "head -c 100m /dev/zero | tail", json!({}), hungry)).await;
    let much = json!({"resources": {"requests": {"cpu": "100000"}}});
    cluster.create(script("cpu", "true", json!({"nodeName": cluster.node().await}), much)).await;

    let killed = cluster.until("memory", |pod| pod["status"]["phase"] == "Failed").await;
    let end = &main_status(&killed)["state"]["terminated"];
    assert_eq!((&end["reason"], &end["exitCode"]), (&json!("OOMKilled"), &json!(137)));
    let refused = cluster.until("cpu", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(refused["status"]["reason"], "OutOfcpu");
    let message = refused["status"]["message"].as_str().expect("a message");
    assert!(
        message
            .starts_with("Pod was rejected: Node didn't have enough resource: cpu, requested: 100000000, "),
        "{message}"
    );
    let evicted = cluster.until("disk", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(evicted["status"]["reason"], "Evicted");
    assert_eq!(evicted["status"]["message"], "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ");
    let conditions = evicted["status"]["conditions"].as_array().expect("conditions");
    // It has itself to blame.
    assert!(conditions.iter().all(|c| c["type"] != "DisruptionTarget"), "{conditions:?}");
    let path = format!("/api/v1/nodes/{}/proxy/metrics", cluster.node().await);
    let metrics = tests::raw::text(&cluster.client(), &path).await;
    let told = "kubelet_evictions{eviction_signal=\"emptydirfs.limit\"} 1";
    assert!(metrics.lines().any(|line| line == told), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_may_ask_over_http() {
    let cluster = DockerCluster::start("life-http").await;
    let main = json!({
        "livenessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1},
        "lifecycle": {"preStop": {"httpGet": {"path": "/exit?code=7", "port": 8080}}}});
    let mut pod = service("p", "exec sleep 1000", json!({}), main);
    let web = json!({"name": "web", "image": "minik/hello:v1", "imagePullPolicy": "IfNotPresent",
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}});
    pod["spec"]["containers"].as_array_mut().expect("a list").push(web);
    cluster.create(pod).await;
    let last =
        |pod: &Value| pod["status"]["containerStatuses"][1]["lastState"]["terminated"]["exitCode"].clone();
    cluster.until("p", move |pod| last(pod) == 7).await;
    cluster.delete("p", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_class_names_a_runtime_of_the_engine() {
    let cluster = DockerCluster::start("life-class").await;
    for (class, handler) in [("plain", "runc"), ("odd", "nowhere")] {
        cluster
            .create(json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": class}, "handler": handler}))
            .await;
        cluster.create(script(class, "echo up", json!({"runtimeClassName": class}), json!({}))).await;
    }
    assert_eq!(cluster.output("plain").await, "up\n");
    let said = cluster.event("odd", "FailedCreatePodSandBox", "Failed to create pod sandbox: ").await;
    assert!(said.contains("nowhere"), "{said}");
    cluster.delete("odd", 0).await;
}
