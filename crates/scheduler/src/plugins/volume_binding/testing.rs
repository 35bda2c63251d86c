//! Claims and volumes for the tables of every plugin that looks at them.

use api::k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use serde_json::{Value, json};
use std::sync::Arc;

/// A claim of namespace `ns` for 1 GiB, with these fields and annotations.
pub(crate) fn claim(name: &str, fields: Value, annotations: Value) -> Arc<PersistentVolumeClaim> {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    spec.as_object_mut().expect("a spec").extend(fields.as_object().expect("fields").clone());
    let claim = json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "annotations": annotations},
        "spec": spec, "status": {"phase": "Pending"}});
    Arc::new(serde_json::from_value(claim).expect("a claim"))
}

/// An available volume of 1 GiB with these fields.
pub(crate) fn volume(name: &str, fields: Value) -> Arc<PersistentVolume> {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}});
    spec.as_object_mut().expect("a spec").extend(fields.as_object().expect("fields").clone());
    let volume = json!({"metadata": {"name": name}, "spec": spec, "status": {"phase": "Available"}});
    Arc::new(serde_json::from_value(volume).expect("a volume"))
}
