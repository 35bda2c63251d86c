//! How many pods the owners of some pods want.
//!
//! **Contract**: the built-in workloads are known from their informers; anything else is asked for its `scale`. Each owner
//! counts once; a ReplicaSet of a Deployment stands for the Deployment.
//! **Upstream**: `getExpectedScale` and its finders.

use super::plan::Expected;
use crate::discovery;
use crate::error::code;
use crate::workload::message;
use crate::workload::owned::{controller_key, controller_of};
use crate::{Error, Manager};
use client::Informer;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) struct Owners {
    client: kube::Client,
    deployments: Informer<Deployment>,
    replica_sets: Informer<ReplicaSet>,
    stateful_sets: Informer<StatefulSet>,
    replication_controllers: Informer<ReplicationController>,
}

/// An owner, and how many pods it wants.
struct Wanted {
    uid: String,
    replicas: i32,
}

impl Wanted {
    fn of(uid: Option<&String>, replicas: Option<i32>) -> Self {
        Self { uid: uid.cloned().unwrap_or_default(), replicas: replicas.unwrap_or(1) }
    }
}

impl Owners {
    pub(super) fn new(manager: &Manager) -> Self {
        Self {
            client: manager.client.clone(),
            deployments: manager.informers.of(),
            replica_sets: manager.informers.of(),
            stateful_sets: manager.informers.of(),
            replication_controllers: manager.informers.of(),
        }
    }

    pub(super) async fn synced(&self) {
        self.deployments.synced().await;
        self.replica_sets.synced().await;
        self.stateful_sets.synced().await;
        self.replication_controllers.synced().await;
    }

    /// How many pods all owners together want; `Err` says why that is not known.
    pub(super) async fn expected(&self, pods: &[Arc<Pod>]) -> Result<Expected, String> {
        let mut unmanaged = 0;
        // By the uid of the pods' controllers; many pods have the same.
        let mut controllers = BTreeMap::<&str, &Pod>::new();
        for pod in pods {
            match controller_of(pod.as_ref()) {
                None => unmanaged += 1,
                Some(owner) => {
                    controllers.entry(&owner.uid).or_insert(pod);
                }
            }
        }
        let mut replicas = BTreeMap::new();
        for pod in controllers.into_values() {
            let wanted = self.wanted(pod).await?;
            replicas.insert(wanted.uid, wanted.replicas);
        }
        Ok(Expected { pods: replicas.into_values().fold(0, i32::saturating_add), unmanaged })
    }

    async fn wanted(&self, pod: &Pod) -> Result<Wanted, String> {
        if let Some(set) =
            controller_key::<ReplicaSet, _>(pod).and_then(|key| self.replica_sets.get_key(&key))
        {
            let deployment = controller_key::<Deployment, _>(set.as_ref());
            if let Some(deployment) = deployment.and_then(|key| self.deployments.get_key(&key)) {
                let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
                return Ok(Wanted::of(deployment.metadata.uid.as_ref(), replicas));
            }
            return Ok(Wanted::of(
                set.metadata.uid.as_ref(),
                set.spec.as_ref().and_then(|spec| spec.replicas),
            ));
        }
        if let Some(set) =
            controller_key::<StatefulSet, _>(pod).and_then(|key| self.stateful_sets.get_key(&key))
        {
            return Ok(Wanted::of(
                set.metadata.uid.as_ref(),
                set.spec.as_ref().and_then(|spec| spec.replicas),
            ));
        }
        let key = controller_key::<ReplicationController, _>(pod);
        if let Some(owner) = key.and_then(|key| self.replication_controllers.get_key(&key)) {
            return Ok(Wanted::of(
                owner.metadata.uid.as_ref(),
                owner.spec.as_ref().and_then(|spec| spec.replicas),
            ));
        }
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let unknown = || format!("found no controllers for pod {name:?}");
        let owner = controller_of(pod).ok_or_else(unknown)?;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        match self.scale(namespace, owner).await {
            Ok(Some(replicas)) => Ok(Wanted { uid: owner.uid.clone(), replicas }),
            Ok(None) => Err(unknown()),
            Err(Error::Request(failed)) => Err(message(&failed.source)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What the `scale` of another kind of owner says; none if there is no such owner, or nothing to be scaled.
    async fn scale(&self, namespace: &str, owner: &OwnerReference) -> Result<Option<i32>, Error> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let (resources, _) = discovery::discover(&self.client).await?;
        let resource = resources.into_iter().find(|known| known.group == group && known.kind == owner.kind);
        let Some(resource) = resource else { return Ok(None) };
        let path = format!("{}/{}/scale", resource.path(namespace), owner.name);
        let request = http::Request::get(&path).body(Vec::new()).expect("a path of names makes a request");
        match self.client.request::<Scale>(request).await {
            Ok(scale) => Ok(scale.spec.and_then(|spec| spec.replicas).or(Some(0))),
            Err(error) if code(&error) == 404 => Ok(None),
            Err(error) => Err(Error::request("get", path)(error)),
        }
    }
}
