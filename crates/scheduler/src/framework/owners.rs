//! The selectors under which a pod has company: those of its services and of its controller.
//!
//! **Upstream**: `DefaultSelector` of `pkg/scheduler/framework/plugins/helper/spread.go`.

use super::PodInfo;
use api::selector::{LabelSelector, Operator, Requirement};
use client::Key;
use std::collections::{BTreeMap, HashMap};

/// Selectors of services, and of the workloads that spreading knows.
#[derive(Debug, Default)]
pub(super) struct Owners {
    services: HashMap<String, BTreeMap<String, LabelSelector>>,
    workloads: HashMap<(&'static str, Key), LabelSelector>,
}

impl Owners {
    /// A service's selector, or that it is gone or has none.
    pub(super) fn set_service(&mut self, key: &Key, selector: Option<&BTreeMap<String, String>>) {
        let services = self.services.entry(key.namespace.clone()).or_default();
        match selector.filter(|labels| !labels.is_empty()) {
            Some(labels) => drop(services.insert(key.name.clone(), equal_to(labels))),
            None => drop(services.remove(&key.name)),
        }
        if services.is_empty() {
            self.services.remove(&key.namespace);
        }
    }

    /// A workload's selector, or that it is gone.
    pub(super) fn set_workload(&mut self, kind: &'static str, key: Key, selector: Option<LabelSelector>) {
        match selector {
            Some(selector) => drop(self.workloads.insert((kind, key), selector)),
            None => drop(self.workloads.remove(&(kind, key))),
        }
    }

    /// What a pod's company is selected by; none if it has none.
    pub(super) fn selector(&self, pod: &PodInfo) -> Option<LabelSelector> {
        let mut all = LabelSelector::everything();
        let services = self.services.get(pod.namespace()).into_iter().flat_map(BTreeMap::values);
        for service in services.filter(|service| service.selects(pod.labels())) {
            all.requirements.extend(service.requirements.iter().cloned());
        }
        let workload = pod.controller().and_then(|owner| {
            let kind = WORKLOADS.iter().find(|(kind, group)| {
                *kind == owner.kind && *group == owner.api_version.split_once('/').map_or("", |(g, _)| g)
            })?;
            self.workloads.get(&(kind.0, Key::new(pod.namespace(), &owner.name)))
        });
        all.requirements.extend(workload.into_iter().flat_map(|w| w.requirements.iter().cloned()));
        (!all.is_everything()).then_some(all)
    }
}

/// The workloads that count, and their groups.
const WORKLOADS: [(&str, &str); 3] =
    [("ReplicationController", ""), ("ReplicaSet", "apps"), ("StatefulSet", "apps")];

/// Selects what has all these labels.
pub(crate) fn equal_to(labels: &BTreeMap<String, String>) -> LabelSelector {
    let mut selector = LabelSelector::everything();
    selector.requirements.extend(labels.iter().map(|(key, value)| Requirement {
        key: key.clone(),
        operator: Operator::In,
        values: vec![value.clone()],
    }));
    selector
}
