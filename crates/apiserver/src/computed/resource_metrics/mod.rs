//! `metrics.k8s.io`: what nodes and pods use of processors and memory.
//!
//! **Contract**: pods that run and whose containers have been measured over some time; others are left out, as
//! metrics-server does.
//! **Upstream**: `kubernetes-sigs/metrics-server` (`pkg/api`), `k8s.io/metrics/pkg/apis/metrics/v1beta1`.

mod exposition;
mod scraper;
mod usage;

pub(crate) use scraper::Scraper;

use super::{Computed, Source, VERBS};
use crate::registry::{Cell, Column, Object, Store, Strategy};
use crate::server::Server;
use crate::watch_cache::Selection;
use api::kind::{Resource, Scope};
use api::quantity::Quantity;
use api::status::Status;
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use usage::{Amounts, Measured, Report};

/// The API group.
pub(crate) const GROUP: &str = "metrics.k8s.io";
/// Its version.
pub(crate) const VERSION: &str = "v1beta1";

/// Both kinds.
pub(super) fn kinds() -> [Computed; 2] {
    [Computed::new(Strategies::nodes(), Nodes), Computed::new(Strategies::pods(), Pods)]
}

/// What comes with the group: that this server serves it, and who may read it. (Who installs metrics-server replaces
/// both.)
pub(crate) fn objects() -> Vec<(&'static str, &'static str, Value)> {
    let service = json!({
        "kind": "APIService",
        "apiVersion": "apiregistration.k8s.io/v1",
        "metadata": {
            "name": format!("{VERSION}.{GROUP}"),
            "labels": {"kube-aggregator.kubernetes.io/automanaged": "true"},
        },
        "spec": {"group": GROUP, "version": VERSION, "groupPriorityMinimum": 100, "versionPriority": 100},
    });
    let aggregate = |to: &str| (format!("rbac.authorization.k8s.io/aggregate-to-{to}"), json!("true"));
    let labels: Value = ["admin", "edit", "view"].map(aggregate).into_iter().collect();
    let role = json!({
        "kind": "ClusterRole",
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {
            "name": "system:aggregated-metrics-reader",
            "labels": labels,
        },
        "rules": [{"apiGroups": [GROUP], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]}],
    });
    vec![
        ("apiregistration.k8s.io", "apiservices", service),
        ("rbac.authorization.k8s.io", "clusterroles", role),
    ]
}

/// Names and tables.
struct Strategies(Resource);

impl Strategies {
    // Upstream's server gives no singular names.
    fn nodes() -> Self {
        Self(Resource::new(GROUP, VERSION, "NodeMetrics", "nodes", "", Scope::Cluster))
    }

    fn pods() -> Self {
        Self(Resource::new(GROUP, VERSION, "PodMetrics", "pods", "", Scope::Namespaced))
    }
}

impl Strategy for Strategies {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn verbs(&self) -> &'static [&'static str] {
        VERBS
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME.text("Name of the resource"),
                Column { format: "quantity", ..Column::new("cpu", "string") },
                Column { format: "quantity", ..Column::new("memory", "string") },
                Column { format: "duration", ..Column::new("Window", "string") },
            ]
        }
    }

    fn row(&self, object: &Value, _: Timestamp) -> Vec<Cell> {
        let parts = object["containers"].as_array();
        let used = |resource: &str| {
            let of = |part: &Value| part["usage"][resource].as_str()?.parse::<Quantity>().ok();
            let amounts = parts.map_or_else(|| vec![of(object)], |parts| parts.iter().map(of).collect());
            amounts.into_iter().flatten().reduce(|sum, one| sum + one).unwrap_or(Quantity::ZERO).to_string()
        };
        let cell = |value: &Value| value.as_str().unwrap_or_default().into();
        vec![
            cell(&object["metadata"]["name"]),
            used("cpu").into(),
            used("memory").into(),
            cell(&object["window"]),
        ]
    }
}

struct Nodes;

#[async_trait]
impl Source for Nodes {
    async fn list(&self, server: &Arc<Server>, selection: &Selection) -> Result<Vec<Value>, Status> {
        let snapshot = store(server, "nodes")?.snapshot();
        let nodes: Vec<_> = selection.list(&snapshot).cloned().collect();
        let names: Vec<String> = nodes.iter().map(|node| node.name().to_owned()).collect();
        let suffices = |report: &Report| names.iter().all(|name| report.nodes.contains_key(name));
        let report = server.resource_metrics.report(server, &suffices).await;
        let object = |node: &Arc<Object>| Some(node_object(server, node, report.nodes.get(node.name())?));
        Ok(nodes.iter().filter_map(object).collect())
    }

    async fn get(&self, server: &Arc<Server>, _: &str, name: &str) -> Result<Value, Status> {
        let store = store(server, "nodes")?;
        let node = store.cached("", name).ok_or_else(|| Status::not_found(store.resource(), name))?;
        let report = server.resource_metrics.report(server, &|report| report.nodes.contains_key(name)).await;
        let found = report.nodes.get(name).map(|measured| node_object(server, &node, measured));
        found.ok_or_else(|| unknown("nodemetrics", name))
    }
}

struct Pods;

#[async_trait]
impl Source for Pods {
    async fn list(&self, server: &Arc<Server>, selection: &Selection) -> Result<Vec<Value>, Status> {
        let store = store(server, "pods")?;
        let snapshot = store.snapshot();
        let running: Vec<_> =
            selection.list(&snapshot).filter(|pod| is_running(&store, pod)).cloned().collect();
        let key = |pod: &Arc<Object>| (pod.namespace().to_owned(), pod.name().to_owned());
        let keys: Vec<_> = running.iter().map(key).collect();
        let suffices = |report: &Report| keys.iter().all(|key| report.pods.contains_key(key));
        let report = server.resource_metrics.report(server, &suffices).await;
        let object =
            |(pod, key): (&Arc<Object>, &usage::PodKey)| Some(pod_object(server, pod, report.pods.get(key)?));
        Ok(running.iter().zip(&keys).filter_map(object).collect())
    }

    async fn get(&self, server: &Arc<Server>, namespace: &str, name: &str) -> Result<Value, Status> {
        let store = store(server, "pods")?;
        let pod = store.cached(namespace, name).ok_or_else(|| Status::not_found(store.resource(), name))?;
        let missing = || unknown("podmetrics", &format!("{namespace}/{name}"));
        if !is_running(&store, &pod) {
            return Err(missing());
        }
        let key = (namespace.to_owned(), name.to_owned());
        let report = server.resource_metrics.report(server, &|report| report.pods.contains_key(&key)).await;
        report.pods.get(&key).map(|measured| pod_object(server, &pod, measured)).ok_or_else(missing)
    }
}

fn store(server: &Server, plural: &str) -> Result<Arc<Store>, Status> {
    server.registry.store("", plural).ok_or_else(Status::no_such_path)
}

fn is_running(pods: &Store, pod: &Object) -> bool {
    let index = pods.strategy().field_labels().iter().position(|label| *label == "status.phase");
    index.and_then(|index| pod.field(index)) == Some("Running")
}

/// 404 for an object about which nothing is known (yet).
fn unknown(plural: &'static str, name: &str) -> Status {
    Status::not_found(&Resource::new(GROUP, VERSION, "", plural, "", Scope::Cluster), name)
}

fn node_object(server: &Server, node: &Object, measured: &Measured<Amounts>) -> Value {
    let mut object = head(server, node, measured);
    object["usage"] = usage(measured.what);
    object
}

fn pod_object(server: &Server, pod: &Object, measured: &Measured<Vec<(String, Amounts)>>) -> Value {
    let mut object = head(server, pod, measured);
    let one = |(name, amounts): &(String, Amounts)| json!({"name": name, "usage": usage(*amounts)});
    object["containers"] = measured.what.iter().map(one).collect();
    object
}

/// What both kinds have.
fn head<T>(server: &Server, of: &Object, measured: &Measured<T>) -> Value {
    let mut metadata = json!({"name": of.name()});
    if !of.namespace().is_empty() {
        metadata["namespace"] = json!(of.namespace());
    }
    metadata["creationTimestamp"] = json!(api::time::format(server.context.clock.now()));
    let mut labels: Vec<(&str, &str)> = of.labels().collect();
    labels.sort_unstable();
    if !labels.is_empty() {
        metadata["labels"] = labels.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
    }
    json!({
        "metadata": metadata,
        "timestamp": api::time::format(measured.at),
        "window": api::duration::golang(measured.window),
    })
}

fn usage(amounts: Amounts) -> Value {
    json!({
        "cpu": Quantity::from_nanos(i64::try_from(amounts.nano_cores).unwrap_or(i64::MAX)).to_string(),
        "memory": Quantity::bytes(i64::try_from(amounts.memory).unwrap_or(i64::MAX)).to_string(),
    })
}

#[cfg(test)]
mod tests;
