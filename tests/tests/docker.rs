//! The real `minik` and `kctl` with real containers in Docker.
//!
//! Needs a Docker engine and the images of `tests/images/build`.

use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tests::profile::{Profile, Said};
use tests::{eventually, root};

/// The STATUS column that `get pods` shows.
fn status(profile: &Profile, pod: &str) -> String {
    let said = profile.kctl(&["get", "pod", pod, "--no-headers"]).stdout;
    said.split_whitespace().nth(2).unwrap_or_default().to_owned()
}

#[track_caller]
fn shows(profile: &Profile, pod: &str, expected: &[&str]) {
    eventually(&format!("pod {pod} shows {expected:?}"), || {
        let status = status(profile, pod);
        if expected.contains(&status.as_str()) { Ok(()) } else { Err(status) }
    });
}

fn apply(profile: &Profile, manifest: &str) {
    let file = profile.home().join("manifest.yaml");
    std::fs::write(&file, manifest).expect("written");
    profile.kctl(&["create", "-f", file.to_str().expect("a path")]).ok();
}

fn one_container(name: &str, policy: &str, image: &str, script: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:\n  restartPolicy: {policy}\n  \
         terminationGracePeriodSeconds: 1\n  containers:\n  - name: main\n    image: {image}\n    \
         imagePullPolicy: IfNotPresent\n    command: [sh, -c, {script:?}]\n"
    )
}

/// Waits until there is an event of a pod with this text.
#[track_caller]
fn tells(profile: &Profile, pod: &str, text: &str) {
    let selector = format!("involvedObject.name={pod}");
    eventually(&format!("an event of {pod} tells {text:?}"), || {
        let events = profile.kctl(&["get", "events", "--field-selector", &selector]).ok();
        if events.contains(text) { Ok(()) } else { Err(events) }
    });
}

/// The folder of links to a pod's logs; none for a user who may not make them.
fn log_links(profile: &Profile, pod: &str) -> Option<PathBuf> {
    let is_root = std::fs::metadata("/proc/self").expect("a process").uid() == 0;
    let uid = profile.kctl(&["get", "pod", pod, "-o", "jsonpath={.metadata.uid}"]).ok();
    is_root.then(|| Path::new("/var/log/pods").join(format!("default_{pod}_{uid}")))
}

#[test]
fn the_first_pod_runs_logs_and_goes() {
    let profile = Profile::new("first");
    let said = profile.start(&[]).ok();
    assert!(said.contains("Node Ready"), "{said}");
    assert!(profile.start(&[]).ok().contains("already running"));
    assert!(profile.minik(&["status"]).ok().contains("apiserver: Running"));

    let example = root().join("examples/pod.yaml");
    assert_eq!(
        profile.kctl(&["create", "-f", example.to_str().expect("a path")]).ok(),
        "pod/hello created\n"
    );
    shows(&profile, "hello", &["Running"]);
    eventually("its log", || {
        let log = profile.kctl(&["logs", "hello"]).ok();
        if log.is_empty() { Err("empty".to_owned()) } else { Ok(()) }
    });
    let links = log_links(&profile, "hello");
    if let Some(links) = &links {
        let file = links.join("hello/0.log");
        let log = std::fs::read_to_string(&file).expect("the engine's file");
        assert!(log.contains("\"stream\":\"stdout\""), "{log}");
    }
    let described = profile.kctl(&["describe", "pod", "hello"]).ok();
    assert!(described.contains("Status:           Running"), "{described}");
    tells(&profile, "hello", "Container started");

    // A pause container owns the network, the other joins it; both carry dockershim's names.
    let containers = profile.containers(false);
    assert_eq!(containers.len(), 2, "{containers:?}");
    assert!(containers.iter().any(|c| c.contains(" k8s_POD_hello_default_")), "{containers:?}");

    let deleted = profile.kctl(&["delete", "pod", "hello"]).ok();
    assert_eq!(deleted, "pod \"hello\" deleted from default namespace\n");
    assert_eq!(profile.containers(true), Vec::<String>::new());
    if let Some(links) = links {
        assert!(!links.exists(), "{}", links.display());
    }

    assert!(profile.minik(&["stop"]).ok().contains("is stopped"));
    assert_eq!(profile.minik(&["status"]).code, 1);
    profile.start(&[]).ok();
    let current = profile.kctl(&["config", "current-context"]).ok();
    assert_eq!(current.trim(), profile.name);
    profile.minik(&["delete"]).ok();
    assert!(!profile.dir().exists());
    let kubeconfig = std::fs::read_to_string(profile.kubeconfig()).expect("it stays");
    assert!(!kubeconfig.contains(&profile.name), "{kubeconfig}");
}

#[test]
fn pods_that_end_or_cannot_start_show_it_as_kubernetes_does() {
    let profile = Profile::new("ends");
    profile.start(&[]).ok();
    for (name, policy, image, script) in [
        ("completed", "Never", "busybox", "exit 0"),
        ("failed", "Never", "busybox", "echo last words >/dev/termination-log; exit 3"),
        ("crashing", "Always", "busybox", "exit 3"),
        ("missing", "Always", "minik/no-such-image:none", "true"),
    ] {
        apply(&profile, &one_container(name, policy, image, script));
    }
    shows(&profile, "completed", &["Completed"]);
    shows(&profile, "failed", &["Error"]);
    shows(&profile, "crashing", &["CrashLoopBackOff"]);
    shows(&profile, "missing", &["ErrImagePull", "RegistryUnavailable", "ImagePullBackOff"]);
    shows(&profile, "missing", &["ImagePullBackOff"]);
    tells(&profile, "crashing", "Back-off restarting failed container main");
    tells(&profile, "missing", "Failed to pull image");
    tells(&profile, "missing", "Back-off pulling image");
    let failed: Value =
        serde_json::from_str(&profile.kctl(&["get", "pod", "failed", "-o", "json"]).ok()).expect("JSON");
    let end = &failed["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&end["exitCode"], &end["message"]), (&3.into(), &"last words\n".into()));
}

#[test]
fn a_crash_of_the_server_leaves_pods_as_they_are() {
    const PODS: usize = 20;
    let profile = Profile::new("crash");
    profile.start(&[]).ok();
    let manifests: Vec<String> = (0..PODS)
        .map(|n| one_container(&format!("p{n}"), "Always", "busybox", "exec sleep 100000"))
        .collect();
    apply(&profile, &manifests.join("---\n"));
    let running = || -> Vec<Value> {
        let list: Value =
            serde_json::from_str(&profile.kctl(&["get", "pods", "-o", "json"]).ok()).expect("JSON");
        let pods = list["items"].as_array().expect("items").iter();
        let ready = |pod: &&Value| pod["status"]["containerStatuses"][0]["ready"] == true;
        pods.filter(ready).map(|pod| pod["status"]["containerStatuses"].clone()).collect()
    };
    eventually("all pods run", || {
        let count = running().len();
        if count == PODS { Ok(()) } else { Err(format!("{count} are ready")) }
    });
    let (pods, containers) = (running(), profile.containers(false));
    profile.kill();
    profile.start(&[]).ok();
    assert_eq!(profile.containers(false), containers);
    // The new kubelet knows its pods once its server tells the logs.
    profile.kctl(&["logs", "p0"]).ok();
    assert_eq!(running(), pods, "ids, start times and restart counts");
    // Pods that are deleted while nobody looks go with the next start.
    profile.kctl(&["delete", "pods", "--all", "--wait=false"]).ok();
    profile.kill();
    profile.start(&[]).ok();
    eventually("all containers are gone", || {
        let left = profile.containers(true);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[test]
fn several_containers_share_a_pods_network() {
    let profile = Profile::new("shared");
    profile.start(&[]).ok();
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: two}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
         restartPolicy: Never\n  initContainers:\n  - {name: first, image: busybox, imagePullPolicy: IfNotPresent, \
         command: [sh, -c, echo prepared]}\n  containers:\n  - {name: web, image: 'minik/hello:v1', imagePullPolicy: \
         IfNotPresent}\n  - name: client\n    image: busybox\n    imagePullPolicy: IfNotPresent\n    env: [{name: \
         WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]\n    command: [sh, -c, 'until wget -qO- \
         http://127.0.0.1:8080/; do :; done; echo I am $WHO']\n";
    apply(&profile, manifest);
    eventually("the client has its answer", || {
        let log = profile.kctl(&["logs", "two", "-c", "client"]).stdout;
        let right = log.contains("Running on: two | v=1") && log.contains("I am two");
        if right { Ok(()) } else { Err(log) }
    });
    assert_eq!(profile.kctl(&["logs", "two", "-c", "first"]).ok(), "prepared\n");
}

#[test]
fn profiles_run_side_by_side() {
    let (one, two) = (Profile::new("one"), Profile::new("two"));
    one.start(&[]).ok();
    two.start(&[]).ok();
    for profile in [&one, &two] {
        apply(profile, &one_container("same", "Always", "busybox", "exec sleep 100000"));
        shows(profile, "same", &["Running"]);
    }
    one.minik(&["delete"]).ok();
    assert_eq!(one.containers(true), Vec::<String>::new());
    assert_eq!(status(&two, "same"), "Running");
}

/// What a followed log shows after the pod's end is all of it.
#[test]
fn a_followed_log_ends_with_its_container() {
    let profile = Profile::new("follow");
    profile.start(&[]).ok();
    apply(
        &profile,
        &one_container("counting", "Never", "busybox", "for n in 1 2 3 4 5; do echo $n; sleep 0.2; done"),
    );
    eventually("it has started", || {
        let said = profile.kctl(&["logs", "counting"]);
        if said.code == 0 { Ok(()) } else { Err(said.stderr) }
    });
    let output = profile
        .command("timeout".as_ref())
        .args(["30", tests::binary("kctl").to_str().expect("a path"), "logs", "-f", "counting"])
        .output()
        .expect("it runs");
    assert_eq!(Said::of(output).ok(), "1\n2\n3\n4\n5\n");
    let tail = profile.kctl(&["logs", "counting", "--tail=2"]).ok();
    assert_eq!(tail, "4\n5\n");
}

#[test]
fn every_example_can_be_applied() {
    let profile = Profile::new("examples");
    profile.start(&[]).ok();
    let mut files: Vec<_> = std::fs::read_dir(root().join("examples"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    // A namespace comes before what lives in it.
    files.sort_by_key(|path| (!path.ends_with("namespace.yaml"), path.clone()));
    for file in &files {
        profile.kctl(&["create", "-f", file.to_str().expect("a path")]).ok();
    }
    eventually("every pod has got as far as it can", || {
        let pods = profile.kctl(&["get", "pods", "-A", "--no-headers"]).ok();
        let settled = |line: &str| {
            let status = line.split_whitespace().nth(3).unwrap_or_default();
            matches!(status, "Running" | "Completed" | "Error" | "CrashLoopBackOff")
        };
        if pods.lines().all(settled) { Ok(()) } else { Err(pods) }
    });
}

#[test]
fn a_stopped_node_takes_its_containers_along_and_brings_them_back() {
    let profile = Profile::new("half");
    profile.start(&["--nodes", "2"]).ok();
    let second = format!("{}-m02", profile.name);
    let on = |name: &str, node: &str| {
        let pod = one_container(name, "Always", "busybox", "exec sleep 100000");
        pod.replace("spec:\n", &format!("spec:\n  nodeName: {node}\n"))
    };
    apply(&profile, &[on("stays", &profile.name), on("goes", &second)].join("---\n"));
    for pod in ["stays", "goes"] {
        shows(&profile, pod, &["Running"]);
    }
    let of = |pod: &str| -> Vec<String> {
        let all = profile.containers(false).into_iter();
        all.filter(|line| line.contains(&format!("_{pod}_default_"))).collect()
    };
    let stays = of("stays");
    assert_eq!((stays.len(), of("goes").len()), (2, 2));
    profile.minik(&["node", "stop", "m02"]).ok();
    assert_eq!((of("stays"), of("goes").len()), (stays.clone(), 0));
    profile.minik(&["node", "start", "m02"]).ok();
    eventually("the pod runs again", || {
        let pod = profile.kctl(&["get", "pod", "goes", "--no-headers"]).ok();
        match pod.contains("1/1") && of("goes").len() == 2 {
            true => Ok(()),
            false => Err(pod),
        }
    });
    let restarts = "jsonpath={.status.containerStatuses[0].restartCount}";
    assert_eq!(profile.kctl(&["get", "pod", "goes", "-o", restarts]).ok(), "1");
    assert_eq!(of("stays"), stays);
}
