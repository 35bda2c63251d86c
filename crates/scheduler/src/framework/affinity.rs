//! A pod's affinity to other pods, read once.

use super::PodInfo;
use api::k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, WeightedPodAffinityTerm};
use api::selector::{LabelSelector, Operator, Requirement};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Labels of every namespace.
pub type Namespaces = HashMap<String, BTreeMap<String, String>>;

/// The pods that a term means, and the topology in which it looks for them.
#[derive(Clone, Debug)]
pub struct Term {
    /// The label of nodes that share a domain.
    pub topology_key: String,
    namespaces: BTreeSet<String>,
    namespace_selector: LabelSelector,
    selector: LabelSelector,
}

impl Term {
    fn new(owner: &Pod, term: &PodAffinityTerm) -> Self {
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.extend(owner.metadata.namespace.clone());
        }
        let mut selector = LabelSelector::from_object(term.label_selector.as_ref());
        with_label_keys(&mut selector, owner, term.match_label_keys.as_deref(), Operator::In);
        with_label_keys(&mut selector, owner, term.mismatch_label_keys.as_deref(), Operator::NotIn);
        Self {
            topology_key: term.topology_key.clone(),
            namespaces,
            namespace_selector: LabelSelector::from_object(term.namespace_selector.as_ref()),
            selector,
        }
    }

    /// Whether it means pods with these labels in this namespace.
    pub fn selects(
        &self,
        namespace: &str,
        labels: Option<&BTreeMap<String, String>>,
        namespaces: &Namespaces,
    ) -> bool {
        (self.namespaces.contains(namespace) || self.namespace_selector.selects(namespaces.get(namespace)))
            && self.selector.selects(labels)
    }

    /// Whether it may mean pods with these labels, in some namespace.
    pub fn may_select(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.selector.selects(labels)
    }

    /// Whether it means this pod.
    pub fn matches(&self, pod: &PodInfo, namespaces: &Namespaces) -> bool {
        self.selects(pod.namespace(), pod.labels(), namespaces)
    }
}

/// Narrows a selector by the owner's own values of some labels (`matchLabelKeys`).
pub(crate) fn with_label_keys(
    selector: &mut LabelSelector,
    owner: &Pod,
    keys: Option<&[String]>,
    operator: Operator,
) {
    for key in keys.unwrap_or_default() {
        if let Some(value) = owner.metadata.labels.as_ref().and_then(|labels| labels.get(key)) {
            let values = vec![value.clone()];
            selector.requirements.push(Requirement { key: key.clone(), operator, values });
        }
    }
}

/// A pod's terms.
#[derive(Clone, Debug, Default)]
pub struct PodAffinity {
    /// Domains must have pods of each of these.
    pub required: Vec<Term>,
    /// Domains must have no pod of any of these.
    pub required_anti: Vec<Term>,
    /// Domains with such pods are better, or with a negative weight worse.
    pub preferred: Vec<(i64, Term)>,
}

impl PodAffinity {
    /// Of this pod; none if it has no term.
    pub fn of(pod: &Pod) -> Option<Self> {
        let affinity = pod.spec.as_ref()?.affinity.as_ref()?;
        let required = |terms: Option<&Vec<PodAffinityTerm>>| {
            terms.into_iter().flatten().map(|t| Term::new(pod, t)).collect()
        };
        let weighted = |terms: Option<&Vec<WeightedPodAffinityTerm>>, sign: i64| {
            let terms = terms.into_iter().flatten();
            terms
                .map(|t| (sign * i64::from(t.weight), Term::new(pod, &t.pod_affinity_term)))
                .collect::<Vec<_>>()
        };
        let (near, far) = (affinity.pod_affinity.as_ref(), affinity.pod_anti_affinity.as_ref());
        let mut preferred =
            weighted(near.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref()), 1);
        preferred.extend(weighted(
            far.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref()),
            -1,
        ));
        let all = Self {
            required: required(
                near.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref()),
            ),
            required_anti: required(
                far.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref()),
            ),
            preferred,
        };
        let none = all.required.is_empty() && all.required_anti.is_empty() && all.preferred.is_empty();
        (!none).then_some(all)
    }
}
