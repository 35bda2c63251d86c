//! The two kinds that keep a number of equal pods, seen as one.
//!
//! **Upstream**: `pkg/controller/replication/conversion.go`, which does the same.

use client::Watched;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::serde::Serialize;
use kube::Resource;

/// A kind that this controller keeps.
pub(super) trait Replicated: Watched + Serialize + Resource<Scope = NamespaceResourceScope> {
    /// As upstream calls its controller.
    const NAME: &'static str;
    /// Whom its events come from.
    const COMPONENT: &'static str;
    /// Whether its status has `terminatingReplicas`.
    const TELLS_TERMINATING: bool;

    /// The object in the form that plans read.
    fn as_set(&self) -> ReplicaSet;

    /// The object with another status.
    fn with_status(&self, status: ReplicaSetStatus) -> Self;
}

impl Replicated for ReplicaSet {
    const NAME: &'static str = "replicaset-controller";
    const COMPONENT: &'static str = "replicaset-controller";
    const TELLS_TERMINATING: bool = true;

    fn as_set(&self) -> ReplicaSet {
        self.clone()
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }
}

impl Replicated for ReplicationController {
    const NAME: &'static str = "replicationcontroller-controller";
    const COMPONENT: &'static str = "replication-controller";
    const TELLS_TERMINATING: bool = false;

    fn as_set(&self) -> ReplicaSet {
        let spec = self.spec.clone().unwrap_or_default();
        let status = self.status.clone().unwrap_or_default();
        let conditions = status.conditions.map(|conditions| {
            conditions.into_iter().map(|condition| super::plan::Condition {
                last_transition_time: condition.last_transition_time,
                message: condition.message,
                reason: condition.reason,
                status: condition.status,
                type_: condition.type_,
            })
        });
        ReplicaSet {
            metadata: self.metadata.clone(),
            spec: Some(ReplicaSetSpec {
                min_ready_seconds: spec.min_ready_seconds,
                replicas: spec.replicas,
                selector: LabelSelector { match_labels: spec.selector, match_expressions: None },
                template: spec.template,
            }),
            status: Some(ReplicaSetStatus {
                available_replicas: status.available_replicas,
                conditions: conditions.map(Iterator::collect),
                fully_labeled_replicas: status.fully_labeled_replicas,
                observed_generation: status.observed_generation,
                ready_replicas: status.ready_replicas,
                replicas: status.replicas,
                terminating_replicas: None,
            }),
        }
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        let conditions = status.conditions.map(|conditions| {
            conditions.into_iter().map(|condition| ReplicationControllerCondition {
                last_transition_time: condition.last_transition_time,
                message: condition.message,
                reason: condition.reason,
                status: condition.status,
                type_: condition.type_,
            })
        });
        let status = ReplicationControllerStatus {
            available_replicas: status.available_replicas,
            conditions: conditions.map(Iterator::collect),
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
        };
        Self { status: Some(status), ..self.clone() }
    }
}
