//! Whom a node sends away so that a critical pod fits.
//!
//! **Contract**: pure. Nobody goes who is as important as the newcomer. The least important go first, and of pods alike those
//! of the lower QoS class; among equals as few as possible, and of these the smallest.
//! **Not here**: how they go (`pod_worker`), who fits without (`admission`).
//! **Upstream**: `pkg/kubelet/preemption/preemption.go`, `Preemptable` of `pkg/kubelet/types`.

use crate::eviction::is_critical;
use api::k8s_openapi::api::core::v1::Pod;
use api::pod::{QosClass, qos_class, requests};
use std::cmp::Ordering;
use std::fmt::Write;
use std::sync::Arc;

/// What the event and the status of a pod say that had to go.
pub(crate) const MESSAGE: &str = "Preempted in order to admit critical pod";
/// What its condition `DisruptionTarget` says.
pub(crate) const DISRUPTION: &str = "Pod was preempted by Kubelet to accommodate a critical pod.";

/// So much of a resource has to become free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requirement {
    pub(crate) resource: String,
    pub(crate) amount: i64,
}

/// What a pod asks for of a resource: CPU in thousandths, a pod as one of `pods`.
pub(crate) fn request(pod: &Pod, resource: &str) -> i64 {
    if resource == "pods" {
        return 1;
    }
    let quantity = pod.spec.as_ref().map(requests).and_then(|all| all.get(resource).copied());
    let quantity = quantity.unwrap_or_default();
    if resource == "cpu" { quantity.millis() } else { quantity.value() }
}

/// Who goes so that there is room for the newcomer. `Err`: upstream's words for that it does not help.
pub(crate) fn victims(
    newcomer: &Pod,
    others: &[Arc<Pod>],
    required: &[Requirement],
) -> Result<Vec<Arc<Pod>>, String> {
    let mut candidates: Vec<Arc<Pod>> =
        others.iter().filter(|pod| may_preempt(newcomer, pod)).cloned().collect();
    candidates.sort_by_key(|pod| rank(pod));
    let groups: Vec<&[Arc<Pod>]> = candidates.chunk_by(|a, b| rank(a) == rank(b)).collect();
    // What is still required once the groups before are gone.
    let mut after: Vec<Vec<Requirement>> = vec![required.to_vec()];
    for group in &groups {
        after.push(without(after.last().map_or(required, Vec::as_slice), group));
    }
    if let Some(rest) = after.pop().filter(|rest| !rest.is_empty()) {
        return Err(unmet(&rest));
    }
    let mut chosen = Vec::new();
    for (group, required) in groups.iter().zip(&after).rev() {
        chosen.extend(fewest(group, without(required, &chosen))?);
    }
    Ok(chosen)
}

/// Whether a pod may take another one's place.
fn may_preempt(newcomer: &Pod, pod: &Pod) -> bool {
    let priority = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.priority);
    (is_critical(newcomer) && !is_critical(pod))
        || priority(newcomer).zip(priority(pod)).is_some_and(|(new, old)| new > old)
}

/// Who stays longest: importance, then QoS.
fn rank(pod: &Pod) -> (bool, i32, u8) {
    let spec = pod.spec.as_ref();
    let class = match spec.map_or(QosClass::BestEffort, qos_class) {
        QosClass::BestEffort => 0,
        QosClass::Burstable => 1,
        QosClass::Guaranteed => 2,
    };
    (is_critical(pod), spec.and_then(|spec| spec.priority).unwrap_or(0), class)
}

/// What is required besides what these pods free.
fn without(required: &[Requirement], pods: &[Arc<Pod>]) -> Vec<Requirement> {
    let rest = required.iter().map(|Requirement { resource, amount }| Requirement {
        resource: resource.clone(),
        amount: pods.iter().fold(*amount, |left, pod| left.saturating_sub(request(pod, resource))),
    });
    rest.filter(|requirement| requirement.amount > 0).collect()
}

/// Of pods alike, those that free what is required: each time the one that comes nearest to all of it.
fn fewest(group: &[Arc<Pod>], mut required: Vec<Requirement>) -> Result<Vec<Arc<Pod>>, String> {
    let mut left = group.to_vec();
    let mut chosen = Vec::new();
    while !required.is_empty() {
        let best = (0..left.len()).reduce(|best, at| {
            let nearer = distance(&required, &left[at]).total_cmp(&distance(&required, &left[best]));
            let order = nearer.then_with(|| by_size(&left[at], &left[best]));
            if order == Ordering::Greater { best } else { at }
        });
        let pod = left.swap_remove(best.ok_or_else(|| unmet(&required))?);
        required = without(&required, std::slice::from_ref(&pod));
        chosen.push(pod);
    }
    Ok(chosen)
}

/// How far the end of a pod is from what is required: the sum of the squares of the parts that are still missing.
fn distance(required: &[Requirement], pod: &Pod) -> f64 {
    let missing = required.iter().map(|Requirement { resource, amount }| {
        let rest = amount.saturating_sub(request(pod, resource)).max(0);
        (rest as f64 / *amount as f64).powi(2)
    });
    missing.sum()
}

fn by_size(a: &Pod, b: &Pod) -> Ordering {
    let compare = |resource| request(a, resource).cmp(&request(b, resource));
    compare("memory").then_with(|| compare("cpu"))
}

fn unmet(required: &[Requirement]) -> String {
    let mut text = "no set of running pods found to reclaim resources: [".to_owned();
    for Requirement { resource, amount } in required {
        write!(text, "(res: {resource}, q: {amount}), ").expect("writing to a string cannot fail");
    }
    text + "]"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, priority: i32, resources: Value) -> Arc<Pod> {
        let value = json!({"metadata": {"name": name}, "spec": {"priority": priority,
            "containers": [{"name": "c", "resources": resources}]}});
        Arc::new(serde_json::from_value(value).expect("a pod"))
    }

    fn burstable(name: &str, priority: i32, cpu: &str, memory: &str) -> Arc<Pod> {
        pod(name, priority, json!({"requests": {"cpu": cpu, "memory": memory}}))
    }

    fn guaranteed(name: &str, cpu: &str, memory: &str) -> Arc<Pod> {
        let amounts = json!({"cpu": cpu, "memory": memory});
        pod(name, 0, json!({"requests": amounts, "limits": amounts}))
    }

    #[test]
    fn as_few_as_possible_go_and_the_least_important_first() {
        const NODE_CRITICAL: i32 = 2_000_001_000;
        let newcomer = pod("new", 2_000_000_000, json!({}));
        let others = [
            pod("idle", 0, json!({})),
            burstable("small", 0, "100m", "100Mi"),
            burstable("large", 0, "300m", "300Mi"),
            guaranteed("sure", "100m", "100Mi"),
            guaranteed("sure-large", "300m", "300Mi"),
            burstable("above", 1000, "100m", "100Mi"),
            burstable("critical", NODE_CRITICAL, "1", "1Gi"),
        ];
        let mib = |amount: i64| ("memory", amount << 20);
        for (required, expected) in [
            (vec![mib(100)], Ok(vec!["small"])),
            (vec![mib(101)], Ok(vec!["large"])),
            // The nearest first, although both together would not be needed for the rest.
            (vec![mib(400)], Ok(vec!["large", "small"])),
            (vec![mib(450)], Ok(vec!["sure", "large", "small"])),
            (vec![mib(801), ("cpu", 50)], Ok(vec!["above", "sure-large", "sure", "large", "small"])),
            (vec![("pods", 1)], Ok(vec!["idle"])),
            (vec![("pods", 2), mib(300)], Ok(vec!["large", "idle"])),
            (
                vec![mib(901), ("cpu", 5000)],
                Err(
                    "no set of running pods found to reclaim resources: [(res: memory, q: 1048576), (res: cpu, q: 4100), ]",
                ),
            ),
        ] {
            let requirements: Vec<Requirement> = required
                .iter()
                .map(|(resource, amount)| Requirement { resource: (*resource).to_owned(), amount: *amount })
                .collect();
            let got = victims(&newcomer, &others, &requirements);
            let got =
                got.as_ref().map(|pods| pods.iter().filter_map(|p| p.metadata.name.as_deref()).collect());
            assert_eq!(got.map_err(String::as_str), expected, "{required:?}");
        }
    }

    #[test]
    fn nobody_goes_for_an_equal() {
        let others = [burstable("other", 2_000_000_000, "1", "1Gi")];
        let required = [Requirement { resource: "cpu".to_owned(), amount: 1 }];
        assert!(victims(&pod("equal", 2_000_000_000, json!({})), &others, &required).is_err());
        assert!(victims(&pod("higher", 2_000_001_000, json!({})), &others, &required).is_ok());
    }
}
