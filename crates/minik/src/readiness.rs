//! What `minik start` waits for: parts of the cluster, by minikube's names.
//!
//! **Contract**: what is waited for is watched, nothing is polled, and all of it shares one limit. That a part is ready is a
//! pure function of the objects seen; while it is not, the same function says what is lacking.
//! **Upstream**: minikube's `--wait` (`pkg/minikube/bootstrapper/bsutil/kverify`).

use anyhow::{Result, bail};
use api::k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, ServiceAccount};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use api::pod;
use client::{Informer, Informers, Selection, Watched};
use component_base::Context;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// A part of the cluster that can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The API server answers: without that no start has succeeded.
    ApiServer,
    /// There are pods in `kube-system`, and all of them are Ready.
    SystemPods,
    /// The namespace `default` has its service account, so that it takes pods.
    DefaultAccount,
    /// The components of the control plane show themselves as running pods.
    Apps,
    /// All nodes are Ready.
    Nodes,
    /// All kubelets have reported a status.
    Kubelets,
}

/// THE LIST, by the names that minikube gives them.
const PARTS: [(&str, Part); 6] = [
    ("apiserver", Part::ApiServer),
    ("system_pods", Part::SystemPods),
    ("default_sa", Part::DefaultAccount),
    ("apps_running", Part::Apps),
    ("node_ready", Part::Nodes),
    ("kubelet", Part::Kubelets),
];

/// Components that every control plane has (minikube's `AppsRunningList`; DNS and proxy depend on the settings here).
const APPS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

const SYSTEM: &str = "kube-system";
const ACCOUNT: &str = "default";

impl Part {
    /// The step that is done when it is ready.
    pub(crate) fn step(self, nodes: usize) -> &'static str {
        match self {
            Self::ApiServer => "API server",
            Self::SystemPods => "System pods Ready",
            Self::DefaultAccount => "Default service account",
            Self::Apps => "Control plane Running",
            Self::Nodes if nodes == 1 => "Node Ready",
            Self::Nodes => "Nodes Ready",
            Self::Kubelets => "Kubelets",
        }
    }
}

/// The parts that a start waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts(BTreeSet<Part>);

impl Default for Parts {
    /// Nodes that run pods, and a namespace that takes them.
    fn default() -> Self {
        Self(BTreeSet::from([Part::ApiServer, Part::DefaultAccount, Part::Nodes]))
    }
}

impl From<Part> for Parts {
    fn from(part: Part) -> Self {
        Self(BTreeSet::from([part]))
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = PARTS.iter().filter(|(_, part)| self.0.contains(part)).map(|(name, _)| *name);
        let names: Vec<&str> = names.collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join(","))
    }
}

impl FromStr for Parts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" | "true" => return Ok(Self(PARTS.iter().map(|(_, part)| *part).collect())),
            "none" | "false" => return Ok(Self(BTreeSet::new())),
            _ => {}
        }
        let part = |name: &str| {
            let known = PARTS.iter().find(|(known, _)| *known == name).map(|(_, part)| *part);
            known.ok_or_else(|| {
                let names = PARTS.map(|(name, _)| name).join(", ");
                let hint = match name.starts_with(|first: char| first.is_ascii_digit()) {
                    true => "; how long to wait is what --wait-timeout says",
                    false => "",
                };
                format!(
                    "unknown component {name:?}: give some of {names}, or one of all, none, true, false{hint}"
                )
            })
        };
        text.split(',').map(|name| part(name.trim())).collect::<Result<_, _>>().map(Self)
    }
}

/// What to wait for, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    pub(crate) parts: Parts,
    pub(crate) limit: Duration,
}

/// Waits until all parts of a cluster with so many nodes are ready; `on_ready` hears of each.
///
/// # Errors
/// After the limit, with what is lacking.
pub(crate) async fn wait(
    context: &Context,
    client: kube::Client,
    wait: &Wait,
    nodes: usize,
    mut on_ready: impl FnMut(Part),
) -> Result<()> {
    let watching = context.child();
    let watches = Watches { informers: Informers::new(client, &watching), nodes };
    let mut waiting: FuturesUnordered<_> = wait.parts.0.iter().map(|part| watches.until(*part)).collect();
    let mut left = wait.parts.clone();
    let all = async {
        while let Some(part) = waiting.next().await {
            left.0.remove(&part);
            on_ready(part);
        }
    };
    let ended = tokio::time::timeout(wait.limit, all).await;
    let lacking: Vec<String> = left.0.iter().flat_map(|part| watches.lacking(*part)).collect();
    drop(waiting);
    watching.shutdown.trigger();
    if ended.is_err() {
        bail!("{left} not ready after {:?}: {}", wait.limit, lacking.join("; "));
    }
    Ok(())
}

/// The watches of one wait; parts that need the same objects share one.
struct Watches {
    informers: Informers,
    nodes: usize,
}

impl Watches {
    fn nodes(&self) -> Informer<Node> {
        self.informers.of()
    }

    fn system_pods(&self) -> Informer<Pod> {
        self.informers.select(Selection::all().namespace(SYSTEM))
    }

    fn accounts(&self) -> Informer<ServiceAccount> {
        let one = Selection::all().namespace(ACCOUNT).fields(&format!("metadata.name={ACCOUNT}"));
        self.informers.select(one)
    }

    fn until(&self, part: Part) -> BoxFuture<'_, Part> {
        let nodes = self.nodes;
        async move {
            match part {
                Part::ApiServer => {}
                Part::SystemPods => until(self.system_pods(), |pods| system_pods(pods, nodes).next()).await,
                Part::DefaultAccount => until(self.accounts(), account).await,
                Part::Apps => until(self.system_pods(), |pods| apps(pods, nodes).next()).await,
                Part::Nodes => until(self.nodes(), |all| lacking_nodes(all, nodes, is_ready).next()).await,
                Part::Kubelets => until(self.nodes(), |all| lacking_nodes(all, nodes, reports).next()).await,
            }
            part
        }
        .boxed()
    }

    /// All that is lacking of a part.
    fn lacking(&self, part: Part) -> Vec<String> {
        match part {
            Part::ApiServer => Vec::new(),
            Part::SystemPods => system_pods(&self.system_pods().list(), self.nodes).collect(),
            Part::DefaultAccount => account(&self.accounts().list()).into_iter().collect(),
            Part::Apps => apps(&self.system_pods().list(), self.nodes).collect(),
            Part::Nodes => lacking_nodes(&self.nodes().list(), self.nodes, is_ready).collect(),
            Part::Kubelets => lacking_nodes(&self.nodes().list(), self.nodes, reports).collect(),
        }
    }
}

/// Watches until nothing is lacking.
async fn until<K: Watched>(informer: Informer<K>, lacking: impl Fn(&[Arc<K>]) -> Option<String>) {
    informer.synced().await;
    let mut changes = informer.subscribe();
    while lacking(&informer.list()).is_some() {
        if changes.recv().await.is_none() {
            // The cluster ends; the limit says so.
            std::future::pending::<()>().await;
        }
    }
}

/// The service account of new pods.
fn account(accounts: &[Arc<ServiceAccount>]) -> Option<String> {
    accounts
        .is_empty()
        .then(|| format!("there is no service account {ACCOUNT:?} in the namespace {ACCOUNT:?}"))
}

fn system_pods(pods: &[Arc<Pod>], nodes: usize) -> impl Iterator<Item = String> {
    let none = pods.is_empty() && nodes > 0;
    let bad = pods.iter().filter(|one| !pod::is_ready(one) && pod::phase(one) != "Succeeded");
    let bad = bad.map(|one| format!("the pod {} is {}, not Ready", name(&one.metadata), phase(one)));
    none.then(|| format!("there are no pods in {SYSTEM}")).into_iter().chain(bad)
}

/// Where there is no node, nothing shows the control plane.
fn apps(pods: &[Arc<Pod>], nodes: usize) -> impl Iterator<Item = String> {
    let runs = |app: &str| {
        pods.iter().any(|one| {
            let labels = one.metadata.labels.as_ref();
            labels.and_then(|labels| labels.get("component")).is_some_and(|of| of == app)
                && pod::phase(one) == "Running"
        })
    };
    let apps = APPS.into_iter().filter(move |app| nodes > 0 && !runs(app));
    apps.map(|app| format!("{app} does not run"))
}

/// The nodes that are not as they should be, as long as fewer than `wanted` are: one of a former start may stay behind.
fn lacking_nodes(nodes: &[Arc<Node>], wanted: usize, is: fn(&Node) -> bool) -> impl Iterator<Item = String> {
    let enough = nodes.iter().filter(|node| is(node)).count() >= wanted;
    let few = !enough && nodes.len() < wanted;
    let few = few.then(|| format!("{} of {wanted} nodes have registered", nodes.len()));
    few.into_iter().chain(nodes.iter().filter(move |node| !enough && !is(node)).map(|node| not_ready(node)))
}

fn condition(node: &Node) -> Option<&NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == "Ready")
}

fn is_ready(node: &Node) -> bool {
    condition(node).is_some_and(|c| c.status == "True")
}

fn reports(node: &Node) -> bool {
    condition(node).is_some_and(|c| c.status != "Unknown")
}

fn not_ready(node: &Node) -> String {
    let name = name(&node.metadata);
    match condition(node) {
        Some(condition) => format!("{name}: {}", condition.message.as_deref().unwrap_or("no reason given")),
        None => format!("{name}: no status yet"),
    }
}

fn name(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}

fn phase(one: &Pod) -> &str {
    match pod::phase(one) {
        "" => "Pending",
        phase => phase,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn parts_are_named_as_in_minikube() {
        let all = "apiserver,system_pods,default_sa,apps_running,node_ready,kubelet";
        for (text, wanted) in [
            ("all", all),
            ("true", all),
            (all, all),
            ("none", "none"),
            ("false", "none"),
            ("kubelet,apiserver,kubelet", "apiserver,kubelet"),
            ("node_ready, default_sa", "default_sa,node_ready"),
        ] {
            assert_eq!(text.parse::<Parts>().expect(text).to_string(), wanted, "{text}");
        }
        assert_eq!(Parts::default().to_string(), "apiserver,default_sa,node_ready");
        let names = "apiserver, system_pods, default_sa, apps_running, node_ready, kubelet";
        let others = format!("give some of {names}, or one of all, none, true, false");
        for (text, wanted) in [
            ("", format!("unknown component \"\": {others}")),
            ("node_ready,all", format!("unknown component \"all\": {others}")),
            (
                "60s",
                format!("unknown component \"60s\": {others}; how long to wait is what --wait-timeout says"),
            ),
        ] {
            assert_eq!(text.parse::<Parts>(), Err(wanted));
        }
    }

    fn objects<K: serde::de::DeserializeOwned>(all: &[Value]) -> Vec<Arc<K>> {
        all.iter().map(|one| Arc::new(serde_json::from_value(one.clone()).expect("an object"))).collect()
    }

    #[test]
    fn what_is_lacking_is_said() {
        let node = |name: &str, ready: &str| {
            let conditions = json!([{"type": "Ready", "status": ready, "message": "a reason"}]);
            json!({"metadata": {"name": name}, "status": {"conditions": conditions}})
        };
        let new = json!({"metadata": {"name": "new"}});
        let (good, bad, lost) = (node("good", "True"), node("bad", "False"), node("lost", "Unknown"));
        for (nodes, wanted, ready, kubelets) in [
            (vec![], 0, vec![], vec![]),
            (vec![], 1, vec!["0 of 1 nodes have registered"], vec!["0 of 1 nodes have registered"]),
            (vec![new.clone()], 1, vec!["new: no status yet"], vec!["new: no status yet"]),
            (vec![good.clone(), lost.clone()], 1, vec![], vec![]),
            (vec![good, bad, lost], 3, vec!["bad: a reason", "lost: a reason"], vec!["lost: a reason"]),
        ] {
            let nodes = objects::<Node>(&nodes);
            assert_eq!(lacking_nodes(&nodes, wanted, is_ready).collect::<Vec<_>>(), ready);
            assert_eq!(lacking_nodes(&nodes, wanted, reports).collect::<Vec<_>>(), kubelets);
        }
        let pod = |app: &str, phase: &str, ready: &str| {
            let conditions = json!([{"type": "Ready", "status": ready}]);
            let metadata = json!({"name": format!("{app}-n1"), "labels": {"component": app}});
            json!({"metadata": metadata, "status": {"phase": phase, "conditions": conditions}})
        };
        let mut pods: Vec<Value> = APPS.iter().map(|app| pod(app, "Running", "True")).collect();
        pods.push(pod("setup", "Succeeded", "False"));
        let (all, none) = (objects::<Pod>(&pods), objects::<Pod>(&[]));
        pods[3] = pod("kube-scheduler", "Running", "False");
        pods[0] = pod("etcd", "", "False");
        let some = objects::<Pod>(&pods);
        let [etcd, scheduler] = [("etcd", "Pending"), ("kube-scheduler", "Running")]
            .map(|(app, phase)| format!("the pod {app}-n1 is {phase}, not Ready"));
        for (pods, nodes, system, running) in [
            (&all, 1, vec![], vec![]),
            (&none, 0, vec![], vec![]),
            (&none, 1, vec!["there are no pods in kube-system".to_owned()], APPS.to_vec()),
            (&some, 1, vec![etcd, scheduler], vec!["etcd"]),
        ] {
            assert_eq!(system_pods(pods, nodes).collect::<Vec<_>>(), system);
            let running: Vec<String> = running.iter().map(|app| format!("{app} does not run")).collect();
            assert_eq!(apps(pods, nodes).collect::<Vec<_>>(), running);
        }
        assert!(account(&objects(&[json!({"metadata": {"name": "default"}})])).is_none());
        assert!(account(&[]).is_some());
    }
}
