//! What authentication and authorization need to know of stored objects.

use crate::admission::Lookup;
use crate::registry::Registry;
use serde_json::Value;
use std::sync::Arc;

/// Where objects, their revisions, and the pods of a node are found.
pub trait Objects: Lookup {
    /// The revision of an object, without reading it; `None`: there is no such object, or this is not known.
    fn revision_of(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<u64>;

    /// The pods that are bound to a node, in one namespace or (empty) all.
    fn pods_on(&self, node: &str, namespace: &str) -> Vec<Arc<Value>>;
}

impl Objects for Registry {
    fn revision_of(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<u64> {
        Some(self.store(group, plural)?.cached(namespace, name)?.revision())
    }

    fn pods_on(&self, node: &str, namespace: &str) -> Vec<Arc<Value>> {
        let Some(store) = self.store("", "pods") else { return Vec::new() };
        let labels = store.strategy().field_labels();
        let Some(index) = labels.iter().position(|label| *label == "spec.nodeName") else {
            return Vec::new();
        };
        let snapshot = store.snapshot();
        let pods = snapshot.namespace(namespace).filter(|pod| pod.field(index) == Some(node));
        pods.map(|pod| Arc::new(pod.to_value())).collect()
    }
}
