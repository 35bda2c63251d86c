//! Limits of containers that change while they run.
//!
//! **Contract**: what a container was last given is on its annotation or, since it was changed, remembered; only a
//! difference to that asks the runtime for anything. A pod whose new wishes the node cannot meet keeps its old limits.
//! **Upstream**: `computePodResizeAction` of `pkg/kubelet/kuberuntime`, `pkg/kubelet/allocation`.

use crate::container_config::{self, NodeContext, RESOURCES_ANNOTATION};
use api::k8s_openapi::api::core::v1::{Container, Pod, PodStatus, ResourceRequirements};
use api::pod::{is_sidecar, parse_quantity, requests};
use runtime::{ContainerId, ContainerStatus, Resources};
use std::collections::{BTreeMap, HashMap};

/// What the containers of a pod are to have, and what they were given.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    /// With the containers' names; empty: nothing changes now.
    wanted: Vec<(String, Resources)>,
    /// What was changed since the container was made.
    given: HashMap<ContainerId, String>,
}

/// What is to change.
#[derive(Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) resources: Resources,
    /// The container asked to be restarted for it.
    pub(crate) restart: bool,
}

/// Why a pod does not get what it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    /// `Infeasible` or `Deferred`.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// A container's limits as text, to be compared.
pub(crate) fn fingerprint(resources: &Resources) -> String {
    let Resources { cpu_shares, cpu_quota, memory_limit, .. } = resources;
    let number = |n: Option<i64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let shares = cpu_shares.and_then(|n| i64::try_from(n).ok());
    format!("cpu={}/{} memory={}", number(shares), number(*cpu_quota), number(*memory_limit))
}

impl Limits {
    /// What the pod asks for now; `allowed`: the node can meet it.
    pub(crate) fn want(&mut self, pod: &Pod, node: &NodeContext, allowed: bool) {
        self.wanted.clear();
        if !allowed {
            return;
        }
        let spec = pod.spec.iter();
        let all = spec.flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
        self.wanted = all.map(|c| (c.name.clone(), container_config::resources(pod, c, node))).collect();
        self.wanted.shrink_to_fit();
    }

    fn wanted(&self, container: &str) -> Option<&Resources> {
        self.wanted.iter().find(|(name, _)| name == container).map(|(_, resources)| resources)
    }

    /// What is to change of a container that runs.
    pub(crate) fn change(&self, container: &Container, status: &ContainerStatus) -> Option<Change> {
        let wanted = self.wanted(&container.name)?;
        let given = self.given_to(status)?;
        let new = fingerprint(wanted);
        if given == new {
            return None;
        }
        let part = |text: &str, index: usize| text.split(' ').nth(index).map(str::to_owned);
        let restarts = |resource: &str, index: usize| {
            let policies = container.resize_policy.iter().flatten();
            let mut own = policies.filter(|policy| policy.resource_name == resource);
            part(given, index) != part(&new, index)
                && own.any(|policy| policy.restart_policy == "RestartContainer")
        };
        let restart = restarts("cpu", 0) || restarts("memory", 1);
        Some(Change { resources: unlimited_where_unset(wanted.clone()), restart })
    }

    /// A container was given these limits.
    pub(crate) fn gave(&mut self, id: &ContainerId, name: &str) {
        let given = self.wanted(name).map(fingerprint);
        self.given.extend(given.map(|given| (id.clone(), given)));
    }

    /// Whether a container has what its pod asks for.
    pub(crate) fn is_settled(&self, container: &Container, status: &ContainerStatus) -> bool {
        match self.wanted(&container.name) {
            Some(wanted) => self.given_to(status).is_none_or(|given| given == fingerprint(wanted)),
            None => false,
        }
    }

    fn given_to<'a>(&'a self, status: &'a ContainerStatus) -> Option<&'a str> {
        let annotated = status.annotations.get(RESOURCES_ANNOTATION);
        self.given.get(&status.id).or(annotated).map(String::as_str)
    }
}

/// An update leaves alone what is not said: a limit that is taken away must be said to be none.
fn unlimited_where_unset(resources: Resources) -> Resources {
    Resources {
        cpu_quota: resources.cpu_quota.or(Some(-1)),
        memory_limit: resources.memory_limit,
        memory_swap_limit: resources.memory_limit,
        oom_score_adj: None,
        ..resources
    }
}

/// Whether the node cannot meet what a pod asks for now: ever, or while the others are there.
pub(crate) fn pending<'a>(
    pod: &Pod,
    others: impl Iterator<Item = &'a Pod>,
    node: &NodeContext,
) -> Option<Pending> {
    let wanted = requests(pod.spec.as_ref()?);
    let mut used: BTreeMap<&str, i128> = BTreeMap::new();
    let of = |list: &api::pod::ResourceList, name: &str| -> i128 {
        list.get(name)
            .map_or(0, |q| if name == "cpu" { i128::from(q.millis()) } else { i128::from(q.value()) })
    };
    let names = [("cpu", i128::from(node.cpu_millis)), ("memory", i128::from(node.memory_capacity))];
    for other in
        others.filter(|other| other.metadata.uid != pod.metadata.uid && !api::pod::is_terminal(other))
    {
        let Some(spec) = &other.spec else { continue };
        let requested = requests(spec);
        for (name, _) in names {
            *used.entry(name).or_default() += of(&requested, name);
        }
    }
    for (name, capacity) in names {
        let requested = of(&wanted, name);
        if requested > capacity {
            let message = format!(
                "Node didn't have enough capacity: {name}, requested: {requested}, capacity: {capacity}"
            );
            return Some(Pending { reason: "Infeasible", message });
        }
    }
    for (name, capacity) in names {
        let (requested, used) = (of(&wanted, name), used.get(name).copied().unwrap_or(0));
        if requested + used > capacity {
            let message = format!(
                "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
            );
            return Some(Pending { reason: "Deferred", message });
        }
    }
    None
}

/// Whether the API shows that a pod was given other resources than it asks for.
pub(crate) fn is_asked_for(pod: &Pod, status: &PodStatus) -> bool {
    let init = status.init_container_statuses.iter().flatten();
    let statuses = status.container_statuses.iter().flatten().chain(init);
    let spec = pod.spec.iter();
    let containers: BTreeMap<&str, &Container> = spec
        .flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()))
        .map(|c| (c.name.as_str(), c))
        .collect();
    let mut running = statuses.filter(|s| s.state.as_ref().is_some_and(|s| s.running.is_some()));
    running.any(|status| {
        let Some(shown) = &status.resources else { return false };
        let wanted =
            containers.get(status.name.as_str()).and_then(|c| c.resources.clone()).unwrap_or_default();
        !same(shown, &wanted)
    })
}

/// What a pod asks for, as events about a resize tell it. **Upstream**: `podResourceSummary`, `pkg/kubelet/events`.
pub(crate) fn summary(pod: &Pod, error: &str) -> String {
    let of = |container: &Container| {
        let resources = container.resources.clone().unwrap_or_default();
        serde_json::json!({ "name": container.name, "resources": resources })
    };
    let spec = pod.spec.iter();
    let sidecars = spec.clone().flat_map(|s| s.init_containers.iter().flatten()).filter(|c| is_sidecar(c));
    let sidecars: Vec<_> = sidecars.map(of).collect();
    let main: Vec<_> = spec.flat_map(|s| s.containers.iter()).map(of).collect();
    let mut all = serde_json::Map::new();
    if !sidecars.is_empty() {
        all.insert("initContainers".to_owned(), sidecars.into());
    }
    all.insert("containers".to_owned(), main.into());
    all.insert("generation".to_owned(), pod.metadata.generation.unwrap_or(0).into());
    if !error.is_empty() {
        all.insert("error".to_owned(), error.into());
    }
    serde_json::Value::from(all).to_string()
}

fn same(a: &ResourceRequirements, b: &ResourceRequirements) -> bool {
    let amounts = |list: &Option<BTreeMap<_, _>>| -> BTreeMap<String, _> {
        list.iter().flatten().map(|(name, q)| (String::clone(name), parse_quantity(q))).collect()
    };
    amounts(&a.limits) == amounts(&b.limits) && amounts(&a.requests) == amounts(&b.requests)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, cpu: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": uid, "uid": uid}, "spec": {"containers": [
            {"name": "c", "resources": {"requests": {"cpu": cpu}}}]}}))
        .expect("a pod")
    }

    #[test]
    fn events_tell_what_is_asked_for() {
        let mut pod = pod("p", "500m");
        pod.metadata.generation = Some(2);
        let containers =
            r#""containers":[{"name":"c","resources":{"requests":{"cpu":"500m"}}}],"generation":2"#;
        assert_eq!(summary(&pod, ""), format!("{{{containers}}}"));
        assert_eq!(summary(&pod, "too much"), format!(r#"{{{containers},"error":"too much"}}"#));
    }

    #[test]
    fn what_the_node_has_not_waits_or_never_comes() {
        let node = NodeContext { cpu_millis: 2000, memory_capacity: 1 << 30, ..NodeContext::default() };
        let other = pod("other", "1500m");
        for (cpu, reason) in [("500m", None), ("600m", Some("Deferred")), ("3", Some("Infeasible"))] {
            let pending = pending(&pod("p", cpu), [&other].into_iter(), &node);
            assert_eq!(pending.map(|p| p.reason), reason, "{cpu}");
        }
    }
}
