//! What objects count for in a ResourceQuota: which names of a quota a kind is measured by, how much one object uses.
//!
//! **Contract**: pure, on JSON after defaulting. The admission plugin and the controller measure by the same functions,
//! so what one charges the other finds.
//! **Not here**: comparing with the limits (admission), adding up what there is (the controller).
//! **Upstream**: `pkg/quota/v1/evaluator/core`, `k8s.io/apiserver/pkg/quota/v1/generic`.

mod pods;
mod scope;

pub use pods::missing;
pub use scope::{Scope, matches, scopes};

use crate::pod::ResourceList;
use crate::quantity::Quantity;
use jiff::Timestamp;
use serde_json::Value;

/// Prefix of names that count objects: `count/deployments.apps`.
const COUNT: &str = "count/";
/// What the name of a storage class is followed by.
const CLASS: &str = ".storageclass.storage.k8s.io/";
/// What the name of a device class is followed by.
const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
/// Devices that a claim for all of them counts for. **Upstream**: `AllocationResultsMaxSize`.
const ALL_DEVICES: i64 = 32;
/// Kinds of the core group that quotas count by their plural as well.
const COUNTED: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];

/// A kind as quotas see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind<'a> {
    /// API group, empty for the core group.
    pub group: &'a str,
    /// Plural of the resource.
    pub plural: &'a str,
}

/// What a write does, as far as it matters for what an object uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// A new object.
    Create,
    /// A changed object.
    Update,
    /// A pod that is resized.
    Resize,
}

impl<'a> Kind<'a> {
    /// A kind of the core group.
    pub const fn core(plural: &'a str) -> Self {
        Self { group: "", plural }
    }

    fn is(self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }

    fn is_pods(self) -> bool {
        self.is("", "pods")
    }

    fn is_claims(self) -> bool {
        self.is("", "persistentvolumeclaims")
    }

    fn is_device_claims(self) -> bool {
        self.is("resource.k8s.io", "resourceclaims")
    }

    /// The name that counts the objects of this kind: `count/pods`, `count/deployments.apps`.
    pub fn count_name(self) -> String {
        match self.group {
            "" => format!("{COUNT}{}", self.plural),
            group => format!("{COUNT}{}.{group}", self.plural),
        }
    }

    /// Whether such a write can change what is used.
    pub fn is_charged(self, write: Write) -> bool {
        match write {
            Write::Create => true,
            Write::Update => self.is_claims() || self.is("", "services") || self.is_device_claims(),
            Write::Resize => self.is_pods(),
        }
    }

    /// Whether a name of a quota measures this kind.
    pub fn is_measured_by(self, name: &str) -> bool {
        if name.starts_with(COUNT) {
            return name == self.count_name();
        }
        match self.plural {
            "pods" if self.is_pods() => pods::is_measured_by(name),
            "services" if self.group.is_empty() => {
                matches!(name, "services" | "services.nodeports" | "services.loadbalancers")
            }
            "persistentvolumeclaims" if self.group.is_empty() => {
                matches!(name, "persistentvolumeclaims" | "requests.storage")
                    || name.split_once(CLASS).is_some_and(|(_, what)| {
                        matches!(what, "requests.storage" | "persistentvolumeclaims")
                    })
            }
            "resourceclaims" if self.is_device_claims() => name.ends_with(DEVICES),
            plural => self.group.is_empty() && COUNTED.contains(&plural) && name == plural,
        }
    }

    /// What one object uses, by the names of quotas.
    pub fn usage(self, object: &Value, now: Timestamp) -> ResourceList {
        let mut usage = ResourceList::from([(self.count_name(), Quantity::new(1))]);
        if self.is_pods() {
            pods::add_usage(&mut usage, object, now);
        } else if self.is("", "services") {
            service(&mut usage, object);
        } else if self.is_claims() {
            claim(&mut usage, object);
        } else if self.is_device_claims() {
            devices(&mut usage, object);
        } else if self.group.is_empty() && COUNTED.contains(&self.plural) {
            usage.insert(self.plural.to_owned(), Quantity::new(1));
        }
        usage
    }
}

/// The kind that a name of a quota measures; `None` for names that mean nothing.
pub fn kind_of(name: &str) -> Option<Kind<'_>> {
    if let Some(counted) = name.strip_prefix(COUNT) {
        let (plural, group) = counted.split_once('.').unwrap_or((counted, ""));
        return Some(Kind { group, plural });
    }
    let core = ["pods", "services", "persistentvolumeclaims"].into_iter().chain(COUNTED).map(Kind::core);
    core.chain([Kind { group: "resource.k8s.io", plural: "resourceclaims" }])
        .find(|kind| kind.is_measured_by(name))
}

fn service(usage: &mut ResourceList, service: &Value) {
    usage.insert("services".to_owned(), Quantity::new(1));
    let spec = &service["spec"];
    let ports = || spec["ports"].as_array().into_iter().flatten();
    let (node_ports, balancers) = match spec["type"].as_str() {
        Some("NodePort") => (ports().count(), 0),
        Some("LoadBalancer") if spec["allocateLoadBalancerNodePorts"] == false => {
            (ports().filter(|port| port["nodePort"].as_i64().unwrap_or(0) != 0).count(), 1)
        }
        Some("LoadBalancer") => (ports().count(), 1),
        _ => (0, 0),
    };
    let count = |n: usize| Quantity::new(i64::try_from(n).unwrap_or(i64::MAX));
    usage.insert("services.nodeports".to_owned(), count(node_ports));
    usage.insert("services.loadbalancers".to_owned(), count(balancers));
}

fn claim(usage: &mut ResourceList, claim: &Value) {
    let one = Quantity::new(1);
    usage.insert("persistentvolumeclaims".to_owned(), one);
    let class = match &claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"] {
        Value::String(class) => class,
        _ => claim["spec"]["storageClassName"].as_str().unwrap_or_default(),
    };
    if !class.is_empty() {
        usage.insert(format!("{class}{CLASS}persistentvolumeclaims"), one);
    }
    let Some(mut storage) = amount(&claim["spec"]["resources"]["requests"]["storage"]) else { return };
    // While a claim shrinks back after a failed expansion, what was allocated counts.
    if let Some(allocated) = amount(&claim["status"]["allocatedResources"]["storage"]) {
        storage = storage.max(allocated);
    }
    usage.insert("requests.storage".to_owned(), storage);
    if !class.is_empty() {
        usage.insert(format!("{class}{CLASS}requests.storage"), storage);
    }
}

fn devices(usage: &mut ResourceList, claim: &Value) {
    for request in claim["spec"]["devices"]["requests"].as_array().into_iter().flatten() {
        let alternatives = request["firstAvailable"].as_array().into_iter().flatten();
        let exact = [&request["exactly"]].into_iter().filter(|exact| exact.is_object());
        // Of alternatives only one will be taken; the largest of each class counts.
        let mut most = ResourceList::new();
        for device in exact.chain(alternatives) {
            let Some(class) = device["deviceClassName"].as_str() else { continue };
            let count = match device["allocationMode"].as_str() {
                Some("All") => ALL_DEVICES,
                _ => device["count"].as_i64().unwrap_or(1),
            };
            let entry = most.entry(format!("{class}{DEVICES}")).or_default();
            *entry = (*entry).max(Quantity::new(count));
        }
        for (name, count) in most {
            *usage.entry(name).or_default() += count;
        }
    }
}

/// An amount as JSON has it.
pub fn amount(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// The amounts of a list as JSON has it; what cannot be read counts as nothing.
pub fn amounts(list: &Value) -> ResourceList {
    let entries = list.as_object().into_iter().flatten();
    entries.map(|(name, value)| (name.clone(), amount(value).unwrap_or_default())).collect()
}

/// Amounts as JSON.
pub fn to_json(list: &ResourceList) -> Value {
    list.iter().map(|(name, amount)| (name.clone(), Value::from(amount.to_string()))).collect()
}

#[cfg(test)]
mod tests;
