//! sig-storage: what drivers, classes and volumes are, without any that works.

use super::operations::{Case, operations};
use serde_json::{Value, json};

fn driver(_: &str) -> Value {
    json!({"spec": {"attachRequired": false, "podInfoOnMount": true}})
}

fn csi_node(_: &str) -> Value {
    json!({"spec": {"drivers": [{"name": "a.example.com", "nodeID": "n", "topologyKeys": ["t"]}]}})
}

fn capacity(_: &str) -> Value {
    json!({"storageClassName": "fast", "capacity": "5Gi", "nodeTopology": {"matchLabels": {"zone": "a"}}})
}

fn storage_class(_: &str) -> Value {
    json!({"provisioner": "e2e.example.com", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"})
}

fn attachment(name: &str) -> Value {
    json!({"spec": {"attacher": "e2e.example.com", "nodeName": "n", "source": {"persistentVolumeName": name}}})
}

fn attributes_class(_: &str) -> Value {
    json!({"driverName": "e2e.example.com", "parameters": {"iops": "1"}})
}

fn volume(_: &str) -> Value {
    json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "none",
        "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/tmp/e2e"}}})
}

fn claim(_: &str) -> Value {
    json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none",
        "resources": {"requests": {"storage": "1Gi"}}}})
}

operations! {
    csi_driver_should_run_through_the_lifecycle_of_a_csi_driver:
        Case::new("storage.k8s.io/v1", "CSIDriver", "csidrivers", driver).cluster_scoped();
    csi_nodes_should_run_through_the_lifecycle_of_a_csi_node:
        Case::new("storage.k8s.io/v1", "CSINode", "csinodes", csi_node).cluster_scoped();
    csi_storage_capacity_should_support_csi_storage_capacities_api_operations:
        Case::new("storage.k8s.io/v1", "CSIStorageCapacity", "csistoragecapacities", capacity);
    storage_classes_should_run_through_the_lifecycle_of_a_storage_class:
        Case::new("storage.k8s.io/v1", "StorageClass", "storageclasses", storage_class).cluster_scoped();
    volume_attachment_should_run_through_the_lifecycle_and_apply_changes_to_the_status:
        Case::new("storage.k8s.io/v1", "VolumeAttachment", "volumeattachments", attachment)
            .cluster_scoped()
            .status(json!({"attached": true}));
    volume_attributes_class_should_run_through_the_lifecycle_of_a_volume_attributes_class:
        Case::new("storage.k8s.io/v1", "VolumeAttributesClass", "volumeattributesclasses", attributes_class)
            .cluster_scoped();
    persistent_volumes_should_run_through_the_lifecycle_of_a_pv_and_apply_changes_to_its_status:
        Case::new("v1", "PersistentVolume", "persistentvolumes", volume)
            .cluster_scoped()
            .status(json!({"message": "StatusUpdate", "reason": "E2E"}));
    persistent_volume_claims_should_run_through_the_lifecycle_and_apply_changes_to_the_status:
        Case::new("v1", "PersistentVolumeClaim", "persistentvolumeclaims", claim)
            .status(json!({"conditions": [{"type": "StatusUpdate", "status": "True", "reason": "E2E",
                "message": "Set by e2e test"}]}));
}
