//! Which nodes get a daemon's pod, which pods go, and how an update proceeds from node to node.
//!
//! **Upstream**: `pkg/controller/daemon` (`daemon_controller.go`, `update.go`, `util/daemonset_util.go`).

use crate::workload::availability::is_available;
use crate::workload::pod_control;
use crate::workload::scaled::{Round, scaled};
use api::pod;
use api::scheduling::{selects_node, untolerated};
use api::well_known::taint;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus, RollingUpdateDaemonSet};
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
    Toleration,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The label by which a pod's revision is known.
pub(super) const HASH: &str = "controller-revision-hash";
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Nodes that get a pod.
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// Pods that ended, and their nodes: they are replaced, failed ones with back-off.
    pub(super) ended: Vec<(Arc<Pod>, String)>,
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.create.is_empty() && self.delete.is_empty() && self.ended.is_empty()
    }
}

pub(super) fn spec(set: &DaemonSet) -> &DaemonSetSpec {
    set.spec.as_ref().expect("a stored DaemonSet has a spec")
}

pub(super) fn min_ready_seconds(set: &DaemonSet) -> i32 {
    spec(set).min_ready_seconds.unwrap_or(0)
}

/// What is known of a DaemonSet.
pub(super) struct View<'a> {
    pub(super) set: &'a DaemonSet,
    /// The hash of the present revision.
    pub(super) hash: &'a str,
    pub(super) nodes: &'a [Arc<Node>],
    /// Its pods.
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) now: Timestamp,
}

/// The pods of a node by whether they are of the present revision: (new, old).
type Pair<'p> = (Option<&'p Arc<Pod>>, Option<&'p Arc<Pod>>);

/// Whether a node should have a pod, and may keep one that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fit {
    run: bool,
    keep: bool,
}

/// Decides: what has to be put right comes first, the update goes on when nothing has.
pub(super) fn plan(view: &View<'_>) -> Plan {
    let manage = view.manage();
    if !manage.is_empty() || !is_rolling(view.set) {
        return manage;
    }
    view.roll()
}

/// The status.
pub(super) fn status(view: &View<'_>) -> DaemonSetStatus {
    let on_node = view.by_node();
    let known = view.set.status.clone().unwrap_or_default();
    let mut status = DaemonSetStatus {
        observed_generation: view.set.metadata.generation,
        collision_count: known.collision_count,
        conditions: known.conditions,
        ..DaemonSetStatus::default()
    };
    let (mut available, mut updated) = (0, 0);
    for node in view.nodes {
        let pods = on_node.get(name(node));
        if !view.fit(node).run {
            status.number_misscheduled += i32::from(pods.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(oldest) = pods.and_then(|pods| pods.first()) else { continue };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(pod::is_ready(oldest));
        available +=
            i32::from(pod::is_ready(oldest) && is_available(oldest, min_ready_seconds(view.set), view.now));
        updated += i32::from(view.is_updated(oldest));
    }
    let some = |count: i32| (count != 0).then_some(count);
    status.number_available = some(available);
    status.number_unavailable = some(status.desired_number_scheduled - available);
    status.updated_number_scheduled = some(updated);
    status
}

fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

fn is_rolling(set: &DaemonSet) -> bool {
    let strategy = spec(set).update_strategy.as_ref();
    strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
}

fn rolling(set: &DaemonSet) -> RollingUpdateDaemonSet {
    let strategy = spec(set).update_strategy.as_ref();
    strategy.and_then(|strategy| strategy.rolling_update.clone()).unwrap_or_default()
}

/// (surge, unavailable) on so many nodes, both rounded up, never both zero.
fn limits(set: &DaemonSet, desired: i32) -> (usize, usize) {
    let RollingUpdateDaemonSet { max_surge, max_unavailable } = rolling(set);
    let number = |value: Option<IntOrString>, default: i32| {
        let value = value.map_or(default, |value| scaled(&value, desired, Round::Up));
        usize::try_from(value).unwrap_or(0)
    };
    let (surge, unavailable) = (number(max_surge, 0), number(max_unavailable, 1));
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

fn allows_surge(set: &DaemonSet) -> bool {
    is_rolling(set) && limits(set, 100).0 > 0
}

/// The node that a pod is on, or is meant for.
fn target(pod: &Pod) -> &str {
    let bound = pod::node_name(pod);
    if !bound.is_empty() {
        return bound;
    }
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
    let required =
        affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    let terms = required.into_iter().flat_map(|required| &required.node_selector_terms);
    let mut fields = terms.flat_map(|term| term.match_fields.iter().flatten());
    let field = fields.find(|field| field.key == "metadata.name" && field.operator == "In");
    field.and_then(|field| field.values.as_ref()?.first()).map_or("", String::as_str)
}

impl View<'_> {
    /// The pods of each node: bound ones first, oldest first.
    fn by_node(&self) -> BTreeMap<&str, Vec<&Arc<Pod>>> {
        let mut nodes: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
        for pod in self.pods {
            nodes.entry(target(pod)).or_default().push(pod);
        }
        let order = |pod: &&Arc<Pod>| {
            let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (pod::node_name(pod).is_empty(), created, pod.metadata.name.clone())
        };
        nodes.values_mut().for_each(|pods| pods.sort_by_key(order));
        nodes
    }

    fn fit(&self, node: &Node) -> Fit {
        let spec = pod_spec(self.set, name(node));
        let elsewhere =
            spec.node_name.as_deref().is_some_and(|wanted| !wanted.is_empty() && wanted != name(node));
        // The template's own affinity counts; the one to the node's name is only how the pod gets there.
        let template = self::spec(self.set).template.spec.clone().unwrap_or_default();
        if elsewhere || !selects_node(&template, node) {
            return Fit { run: false, keep: false };
        }
        let tolerations = spec.tolerations.unwrap_or_default();
        if untolerated(&tolerations, node, &["NoExecute"]).is_some() {
            return Fit { run: false, keep: false };
        }
        Fit { run: untolerated(&tolerations, node, &["NoSchedule"]).is_none(), keep: true }
    }

    fn is_updated(&self, pod: &Pod) -> bool {
        let labels = pod.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(HASH)).map(String::as_str) == Some(self.hash)
    }

    fn manage(&self) -> Plan {
        let on_node = self.by_node();
        let mut plan = Plan::default();
        for node in self.nodes {
            let pods = on_node.get(name(node)).map(Vec::as_slice).unwrap_or_default();
            let fit = self.fit(node);
            if fit.run && pods.is_empty() {
                plan.create.push(name(node).to_owned());
            } else if fit.keep {
                self.keep(node, fit, pods, &mut plan);
            } else {
                let staying = pods.iter().filter(|pod| !pod::is_terminating(pod));
                plan.delete.extend(staying.map(|pod| (*pod).clone()));
            }
        }
        // Pods that wait for a node that is gone.
        for (node, pods) in &on_node {
            if !self.nodes.iter().any(|known| name(known) == *node) {
                let waiting = pods.iter().filter(|pod| pod::node_name(pod).is_empty());
                let waiting = waiting.filter(|pod| !pod::is_terminating(pod));
                plan.delete.extend(waiting.map(|pod| (*pod).clone()));
            }
        }
        plan
    }

    /// A node that may keep its pod: one is enough, but for an update with surge.
    fn keep(&self, node: &Node, fit: Fit, pods: &[&Arc<Pod>], plan: &mut Plan) {
        let mut running = Vec::new();
        for pod in pods.iter().filter(|pod| !pod::is_terminating(pod)) {
            if pod::is_terminal(pod) {
                plan.ended.push(((*pod).clone(), name(node).to_owned()));
            } else {
                running.push(*pod);
            }
        }
        if !allows_surge(self.set) {
            plan.delete.extend(running.into_iter().skip(1).cloned());
            return;
        }
        let ended = plan.ended.iter().any(|(_, of)| of == name(node));
        if running.is_empty() && fit.run && !ended {
            plan.create.push(name(node).to_owned());
        }
        if running.len() < 2 {
            return;
        }
        let (new, old): (Vec<_>, Vec<_>) = running.into_iter().partition(|pod| self.is_updated(pod));
        plan.delete.extend(new.iter().skip(1).chain(old.iter().skip(1)).map(|pod| (*pod).clone()));
        if let (Some(new), Some(old)) = (new.first(), old.first())
            && (!pod::is_ready(old) || is_available(new, min_ready_seconds(self.set), self.now))
        {
            plan.delete.push((*old).clone());
        }
    }

    /// One step of a rolling update.
    fn roll(&self) -> Plan {
        let mut on_node = self.by_node();
        let mut desired = 0;
        for node in self.nodes.iter().filter(|node| self.fit(node).run) {
            desired += 1;
            on_node.entry(name(node)).or_default();
        }
        let (surge, unavailable) = limits(self.set, desired);
        if surge == 0 { self.replace(&on_node, unavailable) } else { self.surge(&on_node, surge) }
    }

    /// (new, old) pod of a node; none if there are several of a kind.
    fn pair<'p>(&self, pods: &[&'p Arc<Pod>]) -> Option<Pair<'p>> {
        let staying = pods.iter().filter(|pod| !pod::is_terminating(pod)).copied();
        let (new, old): (Vec<_>, Vec<_>) = staying.partition(|pod| self.is_updated(pod));
        (new.len() < 2 && old.len() < 2).then(|| (new.first().copied(), old.first().copied()))
    }

    fn available(&self, pod: &Pod) -> bool {
        is_available(pod, min_ready_seconds(self.set), self.now)
    }

    fn replace(&self, on_node: &BTreeMap<&str, Vec<&Arc<Pod>>>, most: usize) -> Plan {
        let (mut missing, mut broken, mut candidates) = (0, Vec::new(), Vec::new());
        for pods in on_node.values() {
            match self.pair(pods) {
                Some((None, Some(old))) if !self.available(old) => broken.push(old.clone()),
                Some((None, Some(old))) => candidates.push(old.clone()),
                Some((Some(new), None)) if self.available(new) => {}
                _ => missing += 1,
            }
        }
        candidates.truncate(most.saturating_sub(missing + broken.len()));
        broken.append(&mut candidates);
        Plan { delete: broken, ..Plan::default() }
    }

    fn surge(&self, on_node: &BTreeMap<&str, Vec<&Arc<Pod>>>, most: usize) -> Plan {
        let (mut surging, mut plan, mut candidates) = (0, Plan::default(), Vec::new());
        for (node, pods) in on_node {
            match self.pair(pods) {
                None => surging += 1,
                Some((_, None)) => {}
                Some((None, Some(old))) if !self.available(old) => plan.create.push((*node).to_owned()),
                Some((None, Some(_))) => candidates.push((*node).to_owned()),
                Some((Some(new), Some(old))) if self.available(new) => plan.delete.push(old.clone()),
                Some((Some(_), Some(_))) => surging += 1,
            }
        }
        candidates.truncate(most.saturating_sub(surging));
        plan.create.append(&mut candidates);
        plan
    }
}

/// A daemon's pods stay on nodes that others leave.
fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut all = spec.tolerations.clone().unwrap_or_default();
    let no_schedule = [
        taint::DISK_PRESSURE,
        taint::MEMORY_PRESSURE,
        taint::PID_PRESSURE,
        taint::UNSCHEDULABLE,
        taint::NETWORK_UNAVAILABLE,
    ];
    let host = spec.host_network == Some(true);
    let wanted = [(taint::NOT_READY, "NoExecute"), (taint::UNREACHABLE, "NoExecute")]
        .into_iter()
        .chain(no_schedule.into_iter().map(|key| (key, "NoSchedule")))
        .filter(|(key, _)| host || *key != taint::NETWORK_UNAVAILABLE);
    for (key, effect) in wanted {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !all.contains(&toleration) {
            all.push(toleration);
        }
    }
    all
}

/// The spec of the pod of a node.
fn pod_spec(set: &DaemonSet, node: &str) -> PodSpec {
    let mut spec = spec(set).template.spec.clone().unwrap_or_default();
    spec.tolerations = Some(tolerations(&spec));
    let term = NodeSelectorTerm {
        match_fields: Some(vec![NodeSelectorRequirement {
            key: "metadata.name".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![node.to_owned()]),
        }]),
        match_expressions: None,
    };
    let affinity = spec.affinity.get_or_insert_with(Affinity::default);
    let affinity = affinity.node_affinity.get_or_insert_with(NodeAffinity::default);
    affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
    spec
}

/// The pod of a node.
pub(super) fn pod_for(set: &DaemonSet, hash: &str, node: &str) -> Pod {
    let mut pod = pod_control::pod_from_template(&spec(set).template, set);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH.to_owned(), hash.to_owned());
    let generation = set.metadata.annotations.as_ref().and_then(|all| all.get(TEMPLATE_GENERATION));
    if let Some(generation) = generation {
        labels.insert("pod-template-generation".to_owned(), generation.clone());
    }
    pod.spec = Some(pod_spec(set, node));
    pod
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use testkit::build::{self, Builder, at};

    fn set(strategy: Value) -> DaemonSet {
        serde_json::from_value(json!({
            "metadata": {"name": "d", "namespace": "default", "uid": "u"},
            "spec": {
                "selector": {"matchLabels": {"app": "d"}}, "updateStrategy": strategy,
                "template": {"metadata": {"labels": {"app": "d"}}, "spec": {
                    "nodeSelector": {"role": "work"}, "containers": [{"name": "c", "image": "i"}]}},
            },
        }))
        .unwrap()
    }

    fn node(name: &str) -> Builder<Node> {
        build::node(name).label("role", "work")
    }

    fn pod(name: &str, node: &str, hash: &str, ready: bool) -> Builder<Pod> {
        let pod = build::pod(name).on(node).label(HASH, hash).phase("Running");
        if ready { pod.condition("Ready", "True") } else { pod }
    }

    /// (created, deleted, ended), by name.
    fn told(
        set: &DaemonSet,
        nodes: &[Builder<Node>],
        pods: Vec<Builder<Pod>>,
    ) -> (Vec<String>, Vec<String>, usize) {
        let nodes: Vec<_> = nodes.iter().map(|node| Arc::new(node.clone().get())).collect();
        let pods: Vec<_> = pods.into_iter().map(|pod| Arc::new(pod.get())).collect();
        let plan = plan(&View { set, hash: "new", nodes: &nodes, pods: &pods, now: at(0) });
        let names = plan.delete.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect();
        (plan.create, names, plan.ended.len())
    }

    #[test]
    fn every_eligible_node_has_one_pod() {
        let set = set(json!({"type": "RollingUpdate"}));
        let nodes = [
            node("free"),
            node("has"),
            node("twice"),
            node("failed"),
            build::node("other"),
            node("tainted").taint("k", "NoSchedule", None),
            node("driven").taint("k", "NoExecute", None),
            node("cordoned").taint(taint::UNSCHEDULABLE, "NoSchedule", None),
        ];
        let pods = vec![
            pod("a", "has", "new", true),
            pod("b", "twice", "new", true).created(at(1)),
            pod("c", "twice", "new", true).created(at(2)),
            pod("d", "failed", "new", false).phase("Failed"),
            pod("e", "other", "new", true),
            pod("f", "tainted", "new", true),
            pod("g", "driven", "new", true),
            pod("h", "gone", "new", true),
        ];
        let (created, deleted, ended) = told(&set, &nodes, pods);
        assert_eq!(created, ["free", "cordoned"]);
        assert_eq!(deleted, ["c", "e", "g"]);
        assert_eq!(ended, 1);
    }

    #[test]
    fn an_update_replaces_so_many_at_a_time() {
        let rolling = |rolling: Value| json!({"type": "RollingUpdate", "rollingUpdate": rolling});
        let nodes: Vec<_> = ["n1", "n2", "n3", "n4"].map(node).into();
        let old =
            |ready: bool| move |(number, node): (usize, &str)| pod(&format!("p{number}"), node, "old", ready);
        let all = ["n1", "n2", "n3", "n4"];
        let olds = || all.into_iter().enumerate().map(old(true)).collect::<Vec<_>>();
        let deleted = |strategy: Value, pods| told(&set(strategy), &nodes, pods).1;
        assert_eq!(deleted(rolling(json!({"maxUnavailable": 1})), olds()), ["p0"]);
        assert_eq!(deleted(rolling(json!({"maxUnavailable": "50%"})), olds()), ["p0", "p1"]);
        assert!(deleted(json!({"type": "OnDelete"}), olds()).is_empty());
        let mut pods = olds();
        pods[0] = pod("new", "n1", "new", false);
        assert!(
            deleted(rolling(json!({"maxUnavailable": 1})), pods.clone()).is_empty(),
            "one is missing already"
        );
        pods[1] = pod("broken", "n2", "old", false);
        assert_eq!(deleted(rolling(json!({"maxUnavailable": 1})), pods), ["broken"], "it serves nobody");

        let surge = rolling(json!({"maxSurge": 1, "maxUnavailable": 0}));
        assert_eq!(told(&set(surge.clone()), &nodes, olds()).0, ["n1"]);
        let mut pods = olds();
        pods.push(pod("new", "n1", "new", false));
        assert_eq!(told(&set(surge.clone()), &nodes, pods.clone()), (vec![], vec![], 0));
        pods[4] = pod("new", "n1", "new", true);
        assert_eq!(told(&set(surge), &nodes, pods).1, ["p0"]);
    }

    #[test]
    fn the_status_counts_nodes() {
        let set = set(json!({"type": "RollingUpdate"}));
        let nodes: Vec<_> = [node("a"), node("b"), build::node("c")].map(|node| Arc::new(node.get())).into();
        let pods: Vec<_> =
            [pod("p", "a", "new", true), pod("q", "c", "old", true)].map(|pod| Arc::new(pod.get())).into();
        let status = status(&View { set: &set, hash: "new", nodes: &nodes, pods: &pods, now: at(0) });
        assert_eq!(
            serde_json::to_value(status).unwrap(),
            json!({
                "desiredNumberScheduled": 2, "currentNumberScheduled": 1, "numberReady": 1, "numberAvailable": 1,
                "numberUnavailable": 1, "updatedNumberScheduled": 1, "numberMisscheduled": 1,
            })
        );
        let pod = pod_for(&set, "new", "a");
        assert_eq!(target(&pod), "a");
        assert_eq!(pod.spec.unwrap().tolerations.unwrap().len(), 6);
    }
}
