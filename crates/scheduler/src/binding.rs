//! Carries out a decision: gives claims their volumes and devices, waits for them, and binds the pod to its node.
//!
//! **Upstream**: `BindPodVolumes` of the VolumeBinding plugin, the DefaultBinder plugin.

mod claims;
mod conditions;

pub(crate) use claims::{deallocate, delete};

use crate::extender::Extenders;
use crate::framework::{Preparation, is_bound};
use crate::pod_status::pods;
use api::k8s_openapi::api::core::v1::{
    Binding, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod,
};
use api::k8s_openapi::api::resource::v1::ResourceClaim;
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use api::volume::{BOUND_BY_CONTROLLER, SELECTED_NODE};
use client::events::{Recorder, Type};
use client::{Informer, Key};
use component_base::Context;
use component_base::logging::chain;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// What binding needs besides the decision.
#[derive(Clone)]
pub(crate) struct Binder {
    pub(crate) context: Context,
    pub(crate) client: kube::Client,
    pub(crate) claims: Informer<PersistentVolumeClaim>,
    pub(crate) devices: Informer<ResourceClaim>,
    pub(crate) extenders: Extenders,
}

/// Why a pod was not bound.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Its volumes are not there.
    #[error("running PreBind plugin \"VolumeBinding\": binding volumes: {0}")]
    Volumes(String),
    /// Its claims did not get their devices.
    #[error("running PreBind plugin \"DynamicResources\": {0}")]
    Claims(String),
    /// The API server did not take the binding.
    #[error("running Bind plugin \"DefaultBinder\": {0}")]
    Bind(kube::Error),
    /// The extender whose business it is did not bind it.
    #[error(transparent)]
    Extender(crate::extender::Error),
}

impl Binder {
    /// `timeout`: how long volumes may take; `recorder`: who tells the pod; `written` gets the claims (by UID) that have
    /// their devices from here on.
    pub(crate) async fn run(
        &self,
        pod: &Pod,
        node: &str,
        preparations: &[Preparation],
        (timeout, recorder): (Duration, &Recorder),
        written: &mut BTreeSet<String>,
    ) -> Result<(), Failure> {
        let mut made = Vec::new();
        let to = (node, preparations);
        let done = self.prepare_and_bind(pod, to, (timeout, recorder), written, &mut made).await;
        if done.is_err() {
            for claim in &made {
                if let Err(error) = claims::delete(&self.client, claim).await {
                    tracing::debug!(claim = claim.metadata.name, "delete: {}", chain(&error));
                }
            }
            for preparation in preparations {
                if let Preparation::Reserve { claim, .. } = preparation
                    && claim.metadata.uid.as_ref().is_some_and(|uid| written.contains(uid))
                {
                    claims::unreserve(&self.client, pod, claim).await;
                }
            }
        }
        done
    }

    async fn prepare_and_bind(
        &self,
        pod: &Pod,
        (node, preparations): (&str, &[Preparation]),
        (timeout, recorder): (Duration, &Recorder),
        written: &mut BTreeSet<String>,
        made: &mut Vec<ResourceClaim>,
    ) -> Result<(), Failure> {
        if !preparations.is_empty() {
            // Subscribed first, so that no change is missed.
            let bound = self.all_bound(preparations);
            for preparation in preparations {
                self.prepare(preparation).await.map_err(|error| Failure::Volumes(error.to_string()))?;
            }
            tokio::select! {
                bound = bound => bound.map_err(Failure::Volumes)?,
                () = self.context.clock.sleep(timeout) => {
                    return Err(Failure::Volumes("context deadline exceeded".to_owned()));
                }
            }
        }
        for preparation in preparations {
            if let Preparation::Reserve { claim, allocation: Some(allocation) } = preparation
                && claim.metadata.name.is_none()
            {
                claims::make(self, pod, claim, allocation, made).await.map_err(Failure::Claims)?;
            } else if let Preparation::Reserve { claim, allocation } = preparation {
                let done = claims::reserve(self, pod, claim, allocation.as_deref()).await;
                done.map_err(Failure::Claims)?;
                written.extend(claim.metadata.uid.clone());
            }
        }
        let waiting = conditions::waiting(preparations, made);
        if !waiting.is_empty() {
            let told = format!("waiting for binding conditions for device on node {node}");
            recorder.on(pod, Type::Normal, "BindingConditionsPending", told);
            conditions::met(self, &waiting).await.map_err(Failure::Claims)?;
        }
        match self.extenders.bind(pod, node).await {
            Some(bound) => bound.map_err(Failure::Extender),
            None => bind(self.client.clone(), pod, node).await.map_err(Failure::Bind),
        }
    }

    async fn prepare(&self, preparation: &Preparation) -> Result<(), kube::Error> {
        let params = PatchParams::default();
        match preparation {
            Preparation::Bind { volume, claim } => {
                let meta = &claim.metadata;
                let change = json!({
                    "metadata": {
                        "resourceVersion": volume.metadata.resource_version,
                        "annotations": {BOUND_BY_CONTROLLER: "yes"},
                    },
                    "spec": {"claimRef": {
                        "kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": meta.namespace,
                        "name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version,
                    }},
                });
                let volumes = Api::<PersistentVolume>::all(self.client.clone());
                let name = volume.metadata.name.as_deref().unwrap_or_default();
                volumes.patch(name, &params, &Patch::Merge(change)).await.map(drop)
            }
            Preparation::Provision { claim, node } => {
                let meta = &claim.metadata;
                let change = json!({
                    "metadata": {"resourceVersion": meta.resource_version, "annotations": {SELECTED_NODE: node}}
                });
                let namespace = meta.namespace.as_deref().unwrap_or_default();
                let claims = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), namespace);
                let name = meta.name.as_deref().unwrap_or_default();
                claims.patch(name, &params, &Patch::Merge(change)).await.map(drop)
            }
            Preparation::Reserve { .. } => Ok(()),
        }
    }

    /// Waits until every claim has its volume; an error says why one never will on this node.
    async fn all_bound(&self, preparations: &[Preparation]) -> Result<(), String> {
        let mut changes = self.claims.subscribe();
        loop {
            let mut open = 0;
            for preparation in preparations {
                open += usize::from(!self.is_done(preparation)?);
            }
            if open == 0 {
                return Ok(());
            }
            if changes.recv().await.is_none() {
                return Err("the scheduler is ending".to_owned());
            }
        }
    }

    fn is_done(&self, preparation: &Preparation) -> Result<bool, String> {
        let (Preparation::Bind { claim, .. } | Preparation::Provision { claim, .. }) = preparation else {
            return Ok(true);
        };
        let key = Key::of(claim.as_ref());
        let current: Arc<PersistentVolumeClaim> = self
            .claims
            .get_key(&key)
            .filter(|current| current.metadata.uid == claim.metadata.uid)
            .ok_or_else(|| format!("persistentvolumeclaim \"{}\" not found", key.name))?;
        if current.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolumeclaim \"{}\" is being deleted", key.name));
        }
        // A provisioner that cannot make the volume for this node takes the annotation away again.
        let unchanged = current.metadata.resource_version == claim.metadata.resource_version;
        let selected = current.metadata.annotations.as_ref().and_then(|all| all.get(SELECTED_NODE));
        if matches!(preparation, Preparation::Provision { .. }) && !unchanged && selected.is_none() {
            return Err(format!("selectedNode annotation reset for PVC \"{}\"", key.name));
        }
        Ok(is_bound(&current))
    }
}

async fn bind(client: kube::Client, pod: &Pod, node: &str) -> Result<(), kube::Error> {
    let binding = Binding {
        metadata: ObjectMeta {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let (pods, name) = pods(client, pod);
    let answer = pods.create_subresource("binding", name, &PostParams::default(), &binding).await;
    answer.map(|_: serde_json::Value| ())
}
