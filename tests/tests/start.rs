//! What `minik start` says when it cannot: exit code 1, the cause, and the next command.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use tests::profile::Profile;

/// The command failed with these words and a hint.
#[track_caller]
fn fails(said: tests::profile::Said, words: &str) {
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains(words), "{said:?}");
    assert!(said.stderr.starts_with("error: ") && said.stderr.contains("\nhint: "), "{said:?}");
}

const SIMULATED: &[&str] = &["--runtime", "simulated"];

#[test]
fn without_docker() {
    let profile = Profile::new("nodocker");
    let mut command = profile.command(&tests::binary("minik"));
    command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock").args(["-p", &profile.name, "start"]);
    fails(tests::profile::Said::of(command.output().expect("it runs")), "Docker is not reachable");
}

#[test]
fn with_the_port_taken() {
    let profile = Profile::new("port");
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, profile.port)).expect("a port");
    fails(profile.start(SIMULATED), "cannot be used for the API server");
}

#[test]
fn with_addresses_that_it_cannot_have() {
    let profile = Profile::new("families");
    for family in ["dual", "ipv6"] {
        fails(
            profile.start(&["--runtime", "simulated", "--ip-family", family]),
            "pods on paper have no addresses",
        );
    }
    for (family, range, why) in [
        ("ipv6", "10.97.0.0/16", "have addresses of IPv4"),
        ("ipv4", "fd00:10:97::/112", "have addresses of IPv6"),
        ("ipv4", "10.97.0.0/16,fd00:10:97::/112", "have addresses of IPv4 and IPv6"),
    ] {
        fails(profile.start(&["--ip-family", family, "--service-cluster-ip-range", range]), why);
    }
    profile.start(SIMULATED).ok();
    profile.minik(&["stop"]).ok();
    let both = ["--ip-family", "dual"];
    fails(profile.start(&both), "have their addresses already");
}

#[test]
fn with_a_profile_that_cannot_be_used() {
    let profile = Profile::new("unreadable");
    // Root may read everything, but nobody can make a folder below a file.
    fs::create_dir_all(profile.dir().parent().expect("a folder")).expect("made");
    fs::write(profile.dir(), "").expect("written");
    fails(profile.start(SIMULATED), "cannot be used");
    fs::remove_file(profile.dir()).expect("removed");
}

#[test]
fn with_a_corrupt_store() {
    let profile = Profile::new("corrupt");
    profile.start(SIMULATED).ok();
    profile.minik(&["stop"]).ok();
    let store = profile.dir().join("store.redb");
    let rubbish = b"this is not a database".repeat(1000);
    fs::write(&store, &rubbish).expect("written");
    fails(profile.start(SIMULATED), "is corrupt");
    assert_eq!(fs::read(&store).expect("read"), rubbish, "nothing was overwritten");
}

#[test]
fn with_other_settings_while_it_runs() {
    let profile = Profile::new("settings");
    profile.start(SIMULATED).ok();
    fails(profile.start(&["--simulated-nodes", "3"]), "is running with other settings");
}

#[test]
fn with_a_kubeconfig_that_is_none() {
    let profile = Profile::new("kubeconfig");
    fs::write(profile.kubeconfig(), "- this\n- is a list\n").expect("written");
    fails(profile.start(SIMULATED), "kubeconfig");
    assert_eq!(fs::read_to_string(profile.kubeconfig()).expect("read"), "- this\n- is a list\n");
    fs::remove_file(profile.kubeconfig()).expect("removed");
}

#[test]
fn the_state_survives_a_crash_and_a_stop() {
    let profile = Profile::new("state");
    profile.start(SIMULATED).ok();
    profile.kctl(&["wait", "--for=create", "configmap/kube-root-ca.crt", "--timeout=60s"]).ok();
    let manifest = profile.home().join("maps.yaml");
    let maps: Vec<String> = (0..100)
        .map(|n| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m{n}}}\ndata: {{n: '{n}'}}\n"))
        .collect();
    fs::write(&manifest, maps.join("---\n")).expect("written");
    profile.kctl(&["create", "-f", manifest.to_str().expect("a path")]).ok();
    let count = || profile.kctl(&["get", "configmaps", "--no-headers"]).ok().lines().count();
    assert_eq!(count(), 101);
    profile.kill();
    profile.start(&[]).ok();
    assert_eq!(count(), 101);
    profile.minik(&["stop"]).ok();
    profile.start(&[]).ok();
    assert_eq!(count(), 101);
}

#[test]
fn with_etcd_of_its_own() {
    let profile = Profile::new("etcd");
    profile.start(&["--runtime", "simulated", "--store", "etcd"]).ok();
    profile.kctl(&["get", "nodes"]).ok();
    profile.kill();
    profile.start(&[]).ok();
    assert!(profile.kctl(&["get", "namespaces"]).ok().contains("kube-system"));
}

/// The events of a start.
fn events(said: &str) -> Vec<serde_json::Value> {
    said.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
}

#[test]
fn memory_forgets_and_json_tells() {
    let profile = Profile::new("memory");
    let said = profile.start(&["--runtime", "simulated", "--store", "memory", "-o", "json"]).ok();
    let events = events(&said);
    assert_eq!(events[0]["type"], "io.minik.info");
    let result = events.last().expect("a result");
    assert_eq!(result["type"], "io.minik.result");
    assert_eq!(result["data"]["profile"], profile.name.as_str());
    let refused = profile.start(&["--store", "embedded", "-o", "json"]);
    let error = &self::events(&refused.stdout)[0];
    assert_eq!((refused.code, &error["type"]), (1, &"io.minik.error".into()));
    let told = error["data"]["message"].as_str().expect("a message");
    assert!(refused.stderr.contains(told) && error["data"]["advice"].is_string(), "{refused:?}");
    let status = profile.minik(&["status", "-o", "json"]).ok();
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["nodes"][0]["ready"], true);
}

#[test]
fn waits_for_what_it_is_told_to() {
    let profile = Profile::new("wait");
    let said = profile.start(&["--wait=node_ready,coffee"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.contains("unknown component \"coffee\": give some of apiserver, "), "{said:?}");
    let said = profile.start(&["--runtime", "simulated", "--wait=all", "-o", "json"]).ok();
    // No waiting here: all of it is there.
    profile.kctl(&["run", "one", "--image=busybox"]).ok();
    let pods = profile.kctl(&["get", "pods", "-n", "kube-system", "--no-headers"]).ok();
    assert!(pods.lines().count() >= 4 && pods.lines().all(|pod| pod.contains("1/1")), "{pods}");
    let events = events(&said);
    let steps: Vec<&str> = events
        .iter()
        .filter(|event| event["type"] == "io.minik.step")
        .filter_map(|step| step["data"]["name"].as_str())
        .collect();
    for step in
        ["Node Ready", "System pods Ready", "Default service account", "Control plane Running", "Kubelets"]
    {
        assert_eq!(steps.iter().filter(|one| **one == step).count(), 1, "{steps:?}");
    }
    let again = profile.start(&["--wait=all"]).ok();
    assert!(again.contains("is already running"), "{again}");
    fails(profile.start(&["--wait=node_ready", "--wait-timeout=0s"]), "node_ready not ready after 0ns");
}
