//! Volumes in real containers: what is in them, whose they are, that they follow their objects and go with their pods.
//!
//! Needs a Docker engine and the images of `tests/images/build`.

use k8s_openapi::api::authentication::v1::TokenReview;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};
use tests::docker::{DockerCluster, docker, script};

/// A mount of the volume of this name at `/NAME`.
fn mounts(names: &[&str]) -> Value {
    let list: Vec<Value> =
        names.iter().map(|name| json!({"name": name, "mountPath": format!("/{name}")})).collect();
    json!({"volumeMounts": list})
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_become_files_and_follow_their_objects() {
    let cluster = DockerCluster::start("vol-objects").await;
    cluster
        .create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"},
            "data": {"a": "one", "b": "two"}}))
        .await;
    cluster
        .create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sec"},
            "stringData": {"password": "hidden"}}))
        .await;
    let volumes = json!({"volumes": [
        {"name": "map", "configMap": {"name": "map", "defaultMode": 0o640}},
        {"name": "some", "configMap": {"name": "map", "items": [{"key": "b", "path": "deep/er", "mode": 0o400}]}},
        {"name": "none", "configMap": {"name": "missing", "optional": true}},
        {"name": "sec", "secret": {"secretName": "sec"}},
        {"name": "down", "downwardAPI": {"items": [
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu"}}]}},
    ]});
    let text = "cat /map/a /some/deep/er /sec/password /down/labels /down/cpu; echo; ls /none; \
        stat -L -c %a /map/a /some/deep/er; stat -f -c %T /sec; \
        while [ $(cat /map/a) = one ]; do :; done; cat /map/a; ls /map; \
        while ! grep -q new /down/labels; do :; done; echo labelled";
    let mut main = mounts(&["map", "some", "none", "sec", "down"]);
    main["resources"] = json!({"limits": {"cpu": "1500m"}});
    cluster.create(script("p", text, volumes, main)).await;
    cluster.writes("p", "onetwohidden").await;
    cluster.patch("v1", "ConfigMap", "map", json!({"data": {"a": "changed", "b": null, "c": "three"}})).await;
    cluster.writes("p", "changed").await;
    cluster.patch("v1", "Pod", "p", json!({"metadata": {"labels": {"new": "label"}}})).await;
    let log = cluster.output("p").await;
    assert_eq!(log, "onetwohiddenapp=\"p\"2\n640\n400\ntmpfs\nchangeda\nc\nlabelled\n");
    cluster.delete("p", 1).await;
    cluster.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projected_volume_has_a_token_that_the_api_takes() {
    let cluster = DockerCluster::start("vol-projected").await;
    cluster
        .create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": "CA"}}))
        .await;
    let volumes = json!({"volumes": [{"name": "api", "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]}}]});
    let text = "ls /api; cat /api/ca.crt /api/namespace; echo; cat /api/token";
    cluster.create(script("p", text, volumes, mounts(&["api"]))).await;
    let log = cluster.output("p").await;
    assert!(log.starts_with("ca.crt\nnamespace\ntoken\nCAdefault\n"), "{log}");
    let token = log.lines().last().expect("a token").to_owned();
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "metadata": {"name": "r"}, "spec": {"token": token}});
    let reviews: kube::Api<TokenReview> = kube::Api::all(cluster.client());
    let review = serde_json::from_value(review).expect("a review");
    let answer = reviews.create(&Default::default(), &review).await.expect("an answer");
    let answer = serde_json::to_value(answer.status).expect("JSON");
    assert_eq!(answer["authenticated"], true, "{answer}");
    assert_eq!(answer["user"]["username"], "system:serviceaccount:default:default");
    assert_eq!(answer["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_holds_a_pod_up_until_it_is_there() {
    let cluster = DockerCluster::start("vol-missing").await;
    let volumes = json!({"volumes": [{"name": "later", "configMap": {"name": "later"}}]});
    cluster.create(script("p", "cat /later/k", volumes, mounts(&["later"]))).await;
    let said = cluster.event("p", "FailedMount", "later").await;
    assert_eq!(said, "MountVolume.SetUp failed for volume \"later\" : configmap \"later\" not found");
    let pod = cluster.until("p", |pod| !pod["status"]["containerStatuses"].is_null()).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "ContainerCreating");
    cluster
        .create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "later"}, "data": {"k": "here"}}))
        .await;
    assert_eq!(cluster.output("p").await, "here");
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_dirs_are_shared_by_containers_on_disk_and_in_memory() {
    let cluster = DockerCluster::start("vol-empty").await;
    cluster
        .create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"a": "one"}}))
        .await;
    let spec = json!({
        "securityContext": {"fsGroup": 1234},
        "volumes": [{"name": "disk", "emptyDir": {}}, {"name": "mem", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "map", "configMap": {"name": "map", "defaultMode": 0o400}}],
        "initContainers": [{
            "name": "first", "image": "busybox", "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", "echo shared > /disk/f; echo too > /mem/f"],
            "volumeMounts": [{"name": "disk", "mountPath": "/disk"}, {"name": "mem", "mountPath": "/mem"}],
        }],
    });
    // Where what fails says so between the lines of the other stream is chance.
    let text = "exec 2>/dev/null; cat /disk/f /mem/f; stat -c '%a %g' /disk /mem /map; stat -L -c '%a %g' /map/a; stat -f -c %T /mem; id -G; echo x > /disk/mine && stat -c %g /disk/mine; \
        head -c 2000000 /dev/zero > /mem/full || echo full; echo no > /ro/f || echo read-only";
    let mut main = mounts(&["disk", "mem", "map"]);
    let list = main["volumeMounts"].as_array_mut().expect("a list");
    list.push(json!({"name": "disk", "mountPath": "/ro", "readOnly": true}));
    main["securityContext"] = json!({"runAsUser": 1000, "runAsGroup": 1000});
    cluster.create(script("p", text, spec, main)).await;
    let log = cluster.output("p").await;
    for part in [
        "shared\ntoo\n2777 1234\n2777 1234\n2777 1234\n440 1234\ntmpfs\n",
        "1000 1234\n1234\n",
        "full\n",
        "read-only\n",
    ] {
        assert!(log.contains(part), "{part:?}: {log}");
    }
    // Volumes go when nobody can use them any more, the containers stay for their logs.
    tests::eventually("its mounts are gone", || {
        let mounts = cluster.mounts();
        if mounts.is_empty() { Ok(()) } else { Err(format!("{mounts:?}")) }
    });
    assert_eq!(cluster.containers().len(), 3);
    cluster.delete("p", 1).await;
    cluster.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host_paths_and_claims_are_folders_of_the_node() {
    let cluster = DockerCluster::start("vol-host").await;
    let host = cluster.root().join("host");
    std::fs::create_dir(&host).expect("made");
    std::fs::write(host.join("f"), "of the node").expect("written");
    let path = host.to_str().expect("UTF-8");
    cluster
        .create(json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"}, "spec": {
            "capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": path}}}))
        .await;
    cluster
        .create(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "claim"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": "pv",
            "resources": {"requests": {"storage": "1Mi"}}}}))
        .await;
    let spec = json!({"volumes": [
        {"name": "host", "hostPath": {"path": path, "type": "Directory"}},
        {"name": "new", "hostPath": {"path": host.join("new"), "type": "DirectoryOrCreate"}},
    ]});
    cluster.create(script("p", "cat /host/f; echo made > /new/f", spec, mounts(&["host", "new"]))).await;
    assert_eq!(cluster.output("p").await, "of the node");
    assert_eq!(std::fs::read_to_string(host.join("new/f")).expect("written"), "made\n");

    let wrong =
        json!({"volumes": [{"name": "host", "hostPath": {"path": host.join("f"), "type": "Directory"}}]});
    cluster.create(script("wrong", "true", wrong, mounts(&["host"]))).await;
    cluster.event("wrong", "FailedMount", "hostPath type check failed").await;
    cluster.delete("wrong", 1).await;

    // Nothing deletes what belongs to the node.
    cluster.delete("p", 1).await;
    assert!(host.join("new/f").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_volumes_are_mounted_where_they_are_asked_for() {
    let cluster = DockerCluster::start("vol-sub").await;
    cluster
        .create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"k": "first"}}))
        .await;
    let spec = json!({"volumes": [
        {"name": "map", "configMap": {"name": "map"}}, {"name": "work", "emptyDir": {}}]});
    let main = json!({
    "env": [{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    "volumeMounts": [
        {"name": "map", "mountPath": "/etc/app.conf", "subPath": "k"},
        {"name": "map", "mountPath": "/live"},
        {"name": "work", "mountPath": "/own", "subPathExpr": "$(NAME)/data"},
        {"name": "work", "mountPath": "/all"},
    ]});
    let text = "cat /etc/app.conf; echo; echo x > /own/f; ls /all/p/data; \
        while [ $(cat /live/k) = first ]; do :; done; cat /etc/app.conf";
    cluster.create(script("p", text, spec, main)).await;
    cluster.writes("p", "first\nf\n").await;
    cluster.patch("v1", "ConfigMap", "map", json!({"data": {"k": "second"}})).await;
    assert_eq!(cluster.output("p").await, "first\nf\nfirst", "a subPath is not updated");
    cluster.delete("p", 1).await;
    cluster.clean().await;

    let spec = json!({"volumes": [{"name": "work", "emptyDir": {}}]});
    let main = json!({
        "env": [{"name": "P", "value": "/tmp"}],
        "volumeMounts": [{"name": "work", "mountPath": "/x", "subPathExpr": "$(P)"}]});
    cluster.create(script("bad", "true", spec, main)).await;
    let state = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"].clone();
    let bad = cluster.until("bad", move |pod| state(pod)["reason"] == "CreateContainerConfigError").await;
    assert_eq!(state(&bad)["message"], "error SubPath `/tmp` must not be an absolute path");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_of_any_more_is_cleared_away() {
    let mut cluster = DockerCluster::start("vol-orphans").await;
    let spec = json!({"volumes": [{"name": "mem", "emptyDir": {"medium": "Memory"}}, {"name": "work", "emptyDir": {}}]});
    let main = json!({"volumeMounts": [
        {"name": "mem", "mountPath": "/mem"}, {"name": "work", "mountPath": "/part", "subPath": "part"}]});
    cluster.create(script("p", "echo up; exec sleep 1000", spec, main)).await;
    cluster.writes("p", "up").await;
    assert!(cluster.mounts().len() >= 2 && cluster.containers().len() == 2);
    cluster.forget_everything().await;
    cluster.clean().await;
}

/// What a container mounts is seen outside only by privileged containers, which not every machine can run: here the mount
/// is the node's.
#[tokio::test(flavor = "multi_thread")]
async fn mounts_of_the_node_are_passed_on_to_whom_they_are_meant_for() {
    let cluster = DockerCluster::start("vol-propagation").await;
    let spec = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
    let main = json!({"volumeMounts": [
        {"name": "v", "mountPath": "/v", "mountPropagation": "HostToContainer"},
        {"name": "v", "mountPath": "/private"}]});
    let text = "mkdir /v/m; echo up; until cat /v/m/f 2>/dev/null; do sleep 0.1; done; stat -f -c %T /v/m; ls /private/m";
    cluster.create(script("p", text, spec, main)).await;
    cluster.writes("p", "up").await;
    let mounts = cluster.mounts();
    let volume = mounts.iter().find(|mount| mount.ends_with("empty-dir/v")).expect("it is shared");
    let inside = format!("{volume}/m");
    let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "none", &inside]).status();
    assert!(mounted.expect("mount runs").success());
    std::fs::write(format!("{inside}/f"), "mounted\n").expect("written");
    assert_eq!(cluster.output("p").await, "up\nmounted\ntmpfs\n");
    cluster.delete("p", 1).await;
    cluster.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_of_a_stateful_set_outlives_its_pods() {
    let cluster = DockerCluster::start("vol-set").await;
    let text = "hostname >> /data/starts; cat /data/starts; exec sleep 1000";
    let pod = script("unused", text, json!({"restartPolicy": "Always"}), mounts(&["data"]));
    cluster
        .create(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "set"}, "spec": {
            "replicas": 2, "serviceName": "set", "selector": {"matchLabels": {"app": "set"}},
            "template": {"metadata": {"labels": {"app": "set"}}, "spec": pod["spec"]},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}]}}))
        .await;
    cluster.writes("set-1", "set-1\n").await;
    let old =
        cluster.until("set-0", |pod| pod["status"]["phase"] == "Running").await["metadata"]["uid"].clone();
    cluster.pods().delete("set-0", &Default::default()).await.expect("the API deletes it");
    cluster
        .until("set-0", move |pod| pod["metadata"]["uid"] != old && pod["status"]["phase"] == "Running")
        .await;
    cluster.writes("set-0", "set-0\nset-0\n").await;
    assert_eq!(cluster.log("set-1").await, "set-1\n", "every pod has a volume of its own");

    let folders = || std::fs::read_dir(cluster.root().join("volumes")).expect("a folder").count();
    assert_eq!(folders(), 2);
    cluster.patch("apps/v1", "StatefulSet", "set", json!({"spec": {"replicas": 0}})).await;
    let claims: kube::Api<PersistentVolumeClaim> = kube::Api::default_namespaced(cluster.client());
    // It stays as long as the pod that uses it.
    claims.delete("data-set-1", &Default::default()).await.expect("the API deletes it");
    tests::eventually("one folder is gone", || match folders() {
        1 => Ok(()),
        other => Err(format!("{other} are there")),
    });
    assert!(claims.get_opt("data-set-0").await.expect("the API answers").is_some());
}

/// A file of this machine as a block device.
struct Loop(String);

impl Loop {
    fn of(file: &std::path::Path) -> Self {
        let output = std::process::Command::new("losetup").args(["--find", "--show"]).arg(file).output();
        let said = tests::profile::Said::of(output.expect("losetup runs")).ok();
        Self(said.trim().to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = std::process::Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_may_be_a_device() {
    let cluster = DockerCluster::start("vol-block").await;
    let file = cluster.root().join("disk");
    std::fs::write(&file, [b"on the device".as_slice(), &[0; 1 << 20]].concat()).expect("written");
    let device = Loop::of(&file);
    let node = cluster.node().await;
    cluster
        .create(
            json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"}, "spec": {
            "capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "manual",
            "volumeMode": "Block", "persistentVolumeReclaimPolicy": "Retain", "local": {"path": device.0},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}}}}),
        )
        .await;
    cluster
        .create(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "disk"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "manual", "volumeMode": "Block",
            "resources": {"requests": {"storage": "1Mi"}}}}))
        .await;
    let spec = json!({"volumes": [{"name": "disk", "persistentVolumeClaim": {"claimName": "disk"}}]});
    let main = json!({"volumeDevices": [{"name": "disk", "devicePath": "/dev/xvda"}]});
    cluster.create(script("p", "head -c 13 /dev/xvda; printf changed > /dev/xvda", spec.clone(), main)).await;
    assert_eq!(cluster.output("p").await, "on the device");
    tests::eventually("it was written to", || {
        let start = docker(&["run", "--rm", "--device", &device.0, "busybox", "head", "-c", "7", &device.0]);
        if start == "changed" { Ok(()) } else { Err(start) }
    });

    cluster.create(script("wrong", "true", spec, mounts(&["disk"]))).await;
    let state = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"].clone();
    let wrong = cluster.until("wrong", move |pod| state(pod)["reason"] == "CreateContainerConfigError").await;
    assert_eq!(
        state(&wrong)["message"],
        "volume disk has volumeMode Block, but is specified in volumeMounts"
    );
    cluster.delete("wrong", 0).await;
    cluster.delete("p", 0).await;
}
