//! The table of Pods: how a pod's state is put into one word.
//!
//! **Upstream**: `printPod`.

use crate::registry::{Cell, Column};
use crate::resources::cells;
use crate::resources::edit::{items, text};
use api::meta;
use jiff::Timestamp;
use serde_json::{Value, json};

/// What is said of restarts.
const RESTARTS: &str = "The number of times the containers in this pod have been restarted and when the \
    last container in this pod has restarted.";
pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("Ready", "string").text("The aggregate readiness state of this pod for accepting traffic."),
    Column::new("Status", "string").text("The aggregate status of the containers in this pod."),
    Column::new("Restarts", "string").text(RESTARTS),
    cells::AGE,
    Column::wide("IP", "string").field("status.podIP"),
    Column::wide("Node", "string").field("spec.nodeName"),
    Column::wide("Nominated Node", "string").field("status.nominatedNodeName"),
    Column::wide("Readiness Gates", "string").field("spec.readinessGates"),
];

/// That a pod will not run again.
pub(super) fn conditions(object: &Value) -> Vec<Value> {
    let (reason, message) = match text(&object["status"], "phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return Vec::new(),
    };
    vec![json!({"type": "Completed", "status": "True", "reason": reason, "message": message})]
}

/// Restarts of some containers, and when the last of them was.
#[derive(Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, container: &Value) {
        self.count += container["restartCount"].as_i64().unwrap_or(0);
        let finished = api::time::from_value(&container["lastState"]["terminated"]["finishedAt"]);
        self.last = self.last.max(finished);
    }

    fn cell(&self, now: Timestamp) -> Cell {
        match self.last {
            Some(last) if self.count != 0 => {
                format!("{} ({} ago)", self.count, api::duration::age(last, now)).into()
            }
            _ => self.count.to_string().into(),
        }
    }
}

/// What the row says of the containers.
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: Restarts,
}

fn exit_text(terminated: &Value) -> String {
    match terminated["signal"].as_i64().unwrap_or(0) {
        0 => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
        signal => format!("Signal:{signal}"),
    }
}

fn has_condition(status: &Value, kind: &str) -> bool {
    items(status, "conditions").iter().any(|c| c["type"] == kind && c["status"] == "True")
}

fn summarize(pod: &Value) -> Summary {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let phase = text(status, "phase");
    let mut summary = Summary {
        reason: if text(status, "reason").is_empty() { phase } else { text(status, "reason") }.to_owned(),
        ready: 0,
        total: items(spec, "containers").len(),
        restarts: Restarts::default(),
    };
    if items(status, "conditions")
        .iter()
        .any(|c| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated")
    {
        summary.reason = "SchedulingGated".to_owned();
    }
    let sidecar_restarts = match init_containers(&mut summary, spec, status) {
        Initialization::Going(_) if !has_condition(status, "Initialized") => return finish(summary, pod),
        Initialization::Going(restarts) | Initialization::Done(restarts) => restarts,
    };
    summary.restarts = sidecar_restarts;
    main_containers(&mut summary, status);
    finish(summary, pod)
}

/// How far initialisation is, and how often sidecars restarted.
enum Initialization {
    Going(Restarts),
    Done(Restarts),
}

fn init_containers(summary: &mut Summary, spec: &Value, status: &Value) -> Initialization {
    let specs = items(spec, "initContainers");
    let is_sidecar =
        |name: &Value| specs.iter().any(|c| c["name"] == *name && c["restartPolicy"] == "Always");
    summary.total += specs.iter().filter(|c| c["restartPolicy"] == "Always").count();
    let mut sidecars = Restarts::default();
    for (i, container) in items(status, "initContainerStatuses").iter().enumerate() {
        let sidecar = is_sidecar(&container["name"]);
        summary.restarts.add(container);
        if sidecar {
            sidecars.add(container);
        }
        let (terminated, waiting) = (&container["state"]["terminated"], &container["state"]["waiting"]);
        if terminated.is_object() && terminated["exitCode"].as_i64().unwrap_or(0) == 0 {
            continue;
        }
        if sidecar && container["started"] == true {
            summary.ready += usize::from(container["ready"] == true);
            continue;
        }
        summary.reason = if terminated.is_object() {
            match text(terminated, "reason") {
                "" => format!("Init:{}", exit_text(terminated)),
                reason => format!("Init:{reason}"),
            }
        } else if !matches!(text(waiting, "reason"), "" | "PodInitializing") {
            format!("Init:{}", text(waiting, "reason"))
        } else {
            format!("Init:{i}/{}", specs.len())
        };
        return Initialization::Going(sidecars);
    }
    Initialization::Done(sidecars)
}

fn main_containers(summary: &mut Summary, status: &Value) {
    let mut running = false;
    for container in items(status, "containerStatuses").iter().rev() {
        summary.restarts.add(container);
        let (terminated, waiting) = (&container["state"]["terminated"], &container["state"]["waiting"]);
        if !text(waiting, "reason").is_empty() {
            summary.reason = text(waiting, "reason").to_owned();
        } else if terminated.is_object() {
            summary.reason = match text(terminated, "reason") {
                "" => exit_text(terminated),
                reason => reason.to_owned(),
            };
        } else if container["ready"] == true && container["state"]["running"].is_object() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && running {
        summary.reason = if has_condition(status, "Ready") { "Running" } else { "NotReady" }.to_owned();
    }
}

fn finish(mut summary: Summary, pod: &Value) -> Summary {
    let phase = text(&pod["status"], "phase");
    if meta::deletion_timestamp(pod).is_some() {
        if text(&pod["status"], "reason") == "NodeLost" {
            summary.reason = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            summary.reason = "Terminating".to_owned();
        }
    }
    summary
}

fn readiness_gates(pod: &Value) -> Cell {
    let gates = items(&pod["spec"], "readinessGates");
    if gates.is_empty() {
        return cells::NONE.into();
    }
    let met = gates.iter().filter(|g| has_condition(&pod["status"], text(g, "conditionType"))).count();
    format!("{met}/{}", gates.len()).into()
}

pub(super) fn row(pod: &Value, now: Timestamp) -> Vec<Cell> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let summary = summarize(pod);
    let address = items(status, "podIPs").first().map_or(&status["podIP"], |ip| &ip["ip"]);
    vec![
        cells::name(pod),
        json!(format!("{}/{}", summary.ready, summary.total)),
        json!(summary.reason),
        summary.restarts.cell(now),
        cells::age(pod, now),
        cells::text_or_none(address),
        cells::text_or_none(&spec["nodeName"]),
        cells::text_or_none(&status["nominatedNodeName"]),
        readiness_gates(pod),
    ]
}
