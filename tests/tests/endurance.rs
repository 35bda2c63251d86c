//! What happens to pods when things die around them, and what is left after a long time.
//!
//! **Contract**: how much is done is bounded; `MINIK_TEST_KILLS` (default 12; the full measure is 100) and
//! `MINIK_TEST_SOAK` (seconds, default 10; the full measure is 600) ask for more, `MINIK_TEST_SEED` for other points in time.
//! Needs a Docker engine, for one test root and `dockerd`, and the images of `tests/images/build`.

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;
use tests::docker::{DockerCluster, docker, service};
use tests::engine::Engine;
use tests::profile::Profile;
use tests::{DEADLINE, eventually};
use tokio::sync::RwLock;
use tokio::time::Instant;

/// Who measures the process is alone in it.
static PROCESS: RwLock<()> = RwLock::const_new(());

/// A number from the environment.
fn measure(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["ready"] == true
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_killed_comes_back_to_all_its_pods() {
    const PODS: usize = 20;
    let _shared = PROCESS.read().await;
    let mut engine = Engine::start(&["busybox"]);
    let cluster = DockerCluster::start_on(&engine.host(), "end-engine").await;
    let name = |index: usize| format!("p{index}");
    for index in 0..PODS {
        cluster.create(service(&name(index), "exec sleep 1000", json!({}), json!({}))).await;
    }
    let mut uids = Vec::new();
    for index in 0..PODS {
        uids.push(cluster.until(&name(index), is_ready).await["metadata"]["uid"].clone());
    }
    assert_eq!(cluster.running().len(), 2 * PODS);

    let node_is = |status: &'static str| {
        let nodes: Api<Node> = Api::all(cluster.client());
        testkit::eventually(2 * DEADLINE, move || {
            let nodes = nodes.clone();
            async move {
                let node = nodes.list(&ListParams::default()).await.expect("a list").items.remove(0);
                let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
                conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == status)
            }
        })
    };
    engine.kill();
    node_is("False").await;
    engine.start_again();
    node_is("True").await;

    for (index, uid) in uids.iter().enumerate() {
        let back = cluster
            .until(&name(index), |pod| {
                is_ready(pod) && pod["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(1)
            })
            .await;
        assert_eq!(&back["metadata"]["uid"], uid, "none is lost");
    }
    // Names begin with the container's role and its pod: k8s_main_p0_default_UID_ATTEMPT.
    let running = cluster.running();
    let roles: HashSet<String> =
        running.iter().map(|name| name.rsplit_once('_').map_or("", |n| n.0).to_owned()).collect();
    assert_eq!((running.len(), roles.len()), (2 * PODS, 2 * PODS), "none is doubled: {running:?}");
    for index in 0..PODS {
        cluster.delete(&name(index), 0).await;
    }
    cluster.clean().await;
}

/// What the engine does with a profile's containers, as it does it.
struct Steps {
    process: Child,
    lines: Receiver<()>,
}

impl Steps {
    fn follow(profile: &Profile) -> Self {
        let mut command = Command::new("docker");
        command.args(["events", "--filter", &format!("label=minik.profile={}", profile.name)]);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("docker runs");
        let out = BufReader::new(process.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|_| sender.send(())));
        Self { process, lines }
    }

    /// Waits for so many steps, but no longer than this.
    fn wait(&self, steps: usize, most: Duration) {
        while self.lines.try_recv().is_ok() {}
        let until = Instant::now() + most;
        for _ in 0..steps {
            let left = until.saturating_duration_since(Instant::now());
            if self.lines.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A pod with something of everything that can be left behind; its claim is `data`.
fn demanding(name: &str) -> Value {
    let mounts = json!([
        {"name": "memory", "mountPath": "/memory"}, {"name": "disk", "mountPath": "/part", "subPath": "part"},
        {"name": "data", "mountPath": "/data"}]);
    let spec = json!({
        "volumes": [
            {"name": "memory", "emptyDir": {"medium": "Memory"}}, {"name": "disk", "emptyDir": {}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        "initContainers": [{"name": "first", "image": "busybox", "imagePullPolicy": "IfNotPresent",
            "command": ["true"], "volumeMounts": mounts}],
    });
    let main =
        json!({"volumeMounts": mounts, "lifecycle": {"preStop": {"exec": {"command": ["sleep", "0.2"]}}}});
    service(name, "trap exit TERM; while :; do sleep 0.1; done", spec, main)
}

#[test]
fn a_server_that_is_killed_at_any_point_leaves_nothing_behind() {
    let _shared = PROCESS.blocking_read();
    let (kills, seed) = (measure("MINIK_TEST_KILLS", 12), measure("MINIK_TEST_SEED", 1));
    let mut random = StdRng::seed_from_u64(seed);
    let profile = Profile::new("end-kill");
    profile.start(&[]).ok();
    let steps = Steps::follow(&profile);
    let create = |object: &Value| {
        let file = profile.home().join("object.json");
        fs::write(&file, object.to_string()).expect("written");
        profile.kctl(&["create", "-f", file.to_str().expect("UTF-8")]).ok();
    };
    create(
        &json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}),
    );
    let mut die = |steps_at_most: usize| {
        let (count, most) = (random.random_range(0..=steps_at_most), random.random_range(1..1500));
        steps.wait(count, Duration::from_millis(most));
        profile.kill();
        profile.start(&[]).ok();
        format!("seed {seed}: after {count} steps or {most} ms")
    };
    let pod_of = |name: &str| {
        serde_json::from_str::<Value>(&profile.kctl(&["get", "pod", name, "-o", "json"]).stdout).ok()
    };
    // Two kills a pod: while it starts and while it ends.
    for round in 0..kills.div_ceil(2) {
        let name = format!("p{round}");
        create(&demanding(&name));
        // A sandbox, two containers: created, attached, started, ended.
        let when = die(12);
        eventually(&format!("{name} is ready ({when})"), || match pod_of(&name) {
            Some(pod) if is_ready(&pod) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let uid = pod_of(&name).expect("it is there")["metadata"]["uid"].as_str().expect("a UID").to_owned();
        let label = format!("label=io.kubernetes.pod.uid={uid}");
        let running = docker(&["ps", "--quiet", "--filter", &label]).lines().count();
        assert_eq!(running, 2, "a sandbox and a container run ({when})");
        profile.kctl(&["delete", "pod", &name, "--wait=false"]).ok();
        let when = die(8);
        eventually(&format!("{name} is gone ({when})"), || match pod_of(&name) {
            None => Ok(()),
            Some(pod) => Err(pod.to_string()),
        });
        eventually(&format!("nothing of {name} is left ({when})"), || {
            let left = docker(&["ps", "--all", "--format", "{{.Names}} {{.Status}}", "--filter", &label]);
            let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
            let mounts: Vec<_> = mounts.lines().filter(|line| line.contains(&uid)).collect();
            let files = profile.dir().join("kubelet").join(&profile.name).join("pods").join(&uid);
            match (left.is_empty(), mounts.is_empty(), files.exists()) {
                (true, true, false) => Ok(()),
                _ => Err(format!("{left}{mounts:?} {}", files.display())),
            }
        });
    }
    profile.kctl(&["delete", "pvc", "data"]).ok();
    eventually("the claim's folder is gone", || {
        match fs::read_dir(profile.dir().join("volumes")).expect("a folder").next() {
            None => Ok(()),
            Some(left) => Err(format!("{left:?}")),
        }
    });
    profile.minik(&["delete"]).ok();
    let networks =
        docker(&["network", "ls", "--format", "{{.Name}}", "--filter", &format!("name={}", profile.name)]);
    assert_eq!((profile.containers(true), networks.as_str()), (vec![], ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_updates_of_a_pod_converge() {
    let _shared = PROCESS.read().await;
    let cluster = DockerCluster::start("end-updates").await;
    let spec = json!({"activeDeadlineSeconds": 100_000, "volumes": [{"name": "down", "downwardAPI": {"items": [
        {"path": "n", "fieldRef": {"fieldPath": "metadata.labels['n']"}}]}}]});
    let main = json!({"volumeMounts": [{"name": "down", "mountPath": "/down"}]});
    let text = "until [ \"$(cat /down/n)\" = 500 ]; do sleep 0.05; done; echo arrived; exec sleep 1000";
    cluster.create(service("p", text, spec, main)).await;
    cluster.until("p", is_ready).await;
    for n in 1..=500 {
        let mut patch = json!({"metadata": {"labels": {"n": n.to_string()}}});
        if n % 5 == 0 {
            patch["spec"] = json!({"activeDeadlineSeconds": 100_000 - n});
        }
        cluster.patch("v1", "Pod", "p", patch).await;
    }
    cluster.writes("p", "arrived").await;
    let pod =
        cluster.until("p", |pod| pod["status"]["observedGeneration"] == pod["metadata"]["generation"]).await;
    assert_eq!(
        (&pod["metadata"]["generation"], &pod["status"]["containerStatuses"][0]["restartCount"]),
        (&json!(101), &json!(0))
    );
    cluster.delete("p", 0).await;
    cluster.clean().await;
}

/// This process's open descriptors and resident memory in MiB, and the networks of a cluster.
fn footprint(cluster: &DockerCluster) -> (usize, u64, usize) {
    let descriptors = fs::read_dir("/proc/self/fd").expect("descriptors").count();
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let kib: u64 = line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number");
    (descriptors, kib / 1024, cluster.networks().len())
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_come_and_go_leave_nothing_behind() {
    let _alone = PROCESS.write().await;
    let lasting = Duration::from_secs(measure("MINIK_TEST_SOAK", 10));
    // The full measure has 100 pods at a time.
    let pods = if lasting > Duration::from_secs(60) { 100 } else { 10 };
    let cluster = DockerCluster::start("end-soak").await;
    let started = Instant::now();
    let mut first = None;
    let mut rounds = 0;
    while rounds < 2 || started.elapsed() < lasting {
        let name = |index: usize| format!("p{rounds}-{index}");
        let spec = || json!({"volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}]});
        let main = || json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
        for index in 0..pods {
            cluster.create(service(&name(index), "exec sleep 1000", spec(), main())).await;
        }
        for index in 0..pods {
            cluster.until(&name(index), is_ready).await;
        }
        let names: Vec<String> = (0..pods).map(name).collect();
        futures::future::join_all(names.iter().map(|name| cluster.delete(name, 0))).await;
        cluster.clean().await;
        rounds += 1;
        first.get_or_insert_with(|| footprint(&cluster));
    }
    let (first, last) = (first.expect("a round"), footprint(&cluster));
    eprintln!("after one round {first:?}, after {rounds} rounds {last:?} (descriptors, MiB, networks)");
    assert!(last.0 <= first.0 + 10, "descriptors: {first:?} {last:?}");
    assert!(last.1 <= first.1 + 24, "memory: {first:?} {last:?}");
    assert_eq!(last.2, first.2, "networks");
}
