//! How many pods a second are decided on, without a cluster around: one line of JSON a measurement.
//!
//! `cargo xtask bench scheduler` runs it and prints a table. Arguments: numbers of nodes, and names of workloads where not
//! all of them are wanted.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use api::k8s_openapi::api::core::v1::{Node, Pod};
use component_base::Rng;
use scheduler::{Configuration, Outcome, Simulation};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A measurement ends after so many pods a node, or after this time.
const PODS_PER_NODE: usize = 2;
const LIMIT: Duration = Duration::from_secs(5);
const ZONES: usize = 3;

/// Upstream's scheduler_perf workloads, by their names there.
const WORKLOADS: [&str; 5] = [
    "SchedulingBasic",
    "TopologySpreading",
    "SchedulingPodAntiAffinity",
    "SchedulingPodAffinity",
    "Preemption",
];

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let named: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument.parse::<usize>().is_err()).collect();
    let wanted = |workload: &&str| named.is_empty() || named.iter().any(|name| name == workload);
    for workload in WORKLOADS.into_iter().filter(wanted) {
        for nodes in &sizes {
            let (pods, elapsed) = measure(workload, *nodes);
            let line =
                json!({"workload": workload, "nodes": nodes, "pods": pods, "seconds": elapsed.as_secs_f64()});
            println!("{line}");
        }
    }
}

fn measure(workload: &str, nodes: usize) -> (usize, Duration) {
    let all = (0..nodes).map(node);
    let mut simulation = Simulation::new(&Configuration::default(), all, Rng::seeded(1));
    if workload == "Preemption" {
        // Four pods of low priority fill each node.
        for index in 0..nodes * 4 {
            let low = pod(&format!("low-{index}"), json!({"priority": 0}), "1000m");
            let outcome = simulation.schedule(low);
            assert!(matches!(outcome, Outcome::Scheduled(_)), "{outcome:?}");
        }
    }
    let wanted = match workload {
        "Preemption" => nodes,
        // One a node is all there can be.
        "SchedulingPodAntiAffinity" => nodes,
        _ => nodes * PODS_PER_NODE,
    };
    let pods: Vec<Pod> = (0..wanted).map(|index| of(workload, index)).collect();
    let start = Instant::now();
    let mut done = 0;
    for pod in pods {
        let outcome = simulation.schedule(pod);
        assert!(!matches!(outcome, Outcome::Unschedulable(_)), "{outcome:?}");
        done += 1;
        if start.elapsed() > LIMIT {
            break;
        }
    }
    (done, start.elapsed())
}

fn node(index: usize) -> Node {
    let name = format!("node-{index}");
    object(json!({
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("zone-{}", index % ZONES)}},
        "status": {"allocatable": {"cpu": "4", "memory": "32Gi", "pods": "110"}},
    }))
}

fn of(workload: &str, index: usize) -> Pod {
    let name = format!("pod-{index}");
    let selector = json!({"matchLabels": {"app": "measured"}});
    let term = |key: &str| json!([{"labelSelector": selector, "topologyKey": key}]);
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let spec = match workload {
        "TopologySpreading" => json!({"topologySpreadConstraints": [{"maxSkew": 5,
            "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}]}),
        "SchedulingPodAntiAffinity" => {
            json!({"affinity": {"podAntiAffinity": {required: term("kubernetes.io/hostname")}}})
        }
        "SchedulingPodAffinity" => {
            json!({"affinity": {"podAffinity": {required: term("topology.kubernetes.io/zone")}}})
        }
        "Preemption" => return pod(&name, json!({"priority": 10}), "3000m"),
        _ => json!({}),
    };
    pod(&name, spec, "100m")
}

fn pod(name: &str, mut spec: Value, cpu: &str) -> Pod {
    spec["containers"] =
        json!([{"name": "c", "image": "pause", "resources": {"requests": {"cpu": cpu, "memory": "100Mi"}}}]);
    object(json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "measured"}}, "spec": spec,
    }))
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}
