//! What authentication and authorization need to know of stored objects.

use super::token::Reference;
use crate::admission::Lookup;
use crate::registry::{Registry, UpdateOptions};
use crate::upkeep::{At, amend};
use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;

/// Where objects, their revisions, and the pods of a node are found; and labelled.
#[async_trait]
pub trait Objects: Lookup {
    /// The revision of an object, without reading it; `None`: there is no such object, or this is not known.
    fn revision_of(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<u64>;

    /// The pods that are bound to a node, in one namespace or (empty) all.
    fn pods_on(&self, node: &str, namespace: &str) -> Vec<Arc<Value>>;

    /// Sets a label (key and value) of an object of the core group.
    async fn label(
        &self,
        plural: &str,
        namespace: &str,
        object: &Reference,
        label: (&str, &str),
    ) -> Result<(), Status>;
}

#[async_trait]
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

    async fn label(
        &self,
        plural: &str,
        namespace: &str,
        object: &Reference,
        label: (&str, &str),
    ) -> Result<(), Status> {
        let (key, value) = label;
        let at = At { group: "", plural, namespace, name: &object.name };
        let change = |existing: &Value| {
            let same =
                existing["metadata"]["uid"] == *object.uid && existing["metadata"]["labels"][key] != value;
            same.then(|| {
                let mut object = existing.clone();
                object["metadata"]["labels"][key] = value.into();
                object
            })
        };
        amend(self, at, UpdateOptions::Object, &change).await
    }
}
