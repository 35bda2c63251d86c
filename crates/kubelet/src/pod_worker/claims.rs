//! A pod's resource claims from its worker's side: nothing starts before the pod may use them all.
//!
//! **Contract**: what was made ready once stays so. A claim is asked for by name when it is needed, which is all that a
//! node may do.
//! **Upstream**: `PrepareDynamicResources` of `pkg/kubelet`.

use super::PodWorker;
use super::volumes::{RETRY, RETRY_MAX};
use crate::dynamic_resources::{Drivers, claim_name, is_made, prepare};
use crate::images::EventKind;
use api::k8s_openapi::api::core::v1::Pod;
use api::k8s_openapi::api::resource::v1::ResourceClaim;
use api::resource_claim::{extended_claim, of_pod};
use jiff::Timestamp;
use kube::Api;
use std::sync::Arc;

impl PodWorker {
    /// Makes the pod's claims ready. `Err`: some are not; when to try again.
    pub(super) async fn prepare_claims(&mut self, pod: &Arc<Pod>) -> Result<(), Timestamp> {
        if self.claims_ready || (of_pod(pod).is_empty() && extended_claim(pod).is_none()) {
            return Ok(());
        }
        let now = self.now();
        if let Some((at, _)) = self.claims_retry.filter(|(at, _)| *at > now) {
            return Err(at);
        }
        match self.try_claims(pod).await {
            Ok(()) => {
                self.claims_ready = true;
                self.claims_retry = None;
                Ok(())
            }
            Err(why) => {
                let message =
                    format!("Failed to prepare dynamic resources: prepare dynamic resources: {why}");
                self.event(pod, None, EventKind::Warning, "FailedPrepareDynamicResources", &message);
                let pause = self.claims_retry.map_or(RETRY, |(_, pause)| (pause * 2).min(RETRY_MAX));
                let at = self.now() + pause;
                self.claims_retry = Some((at, pause));
                Err(at)
            }
        }
    }

    async fn try_claims(&self, pod: &Pod) -> Result<(), String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let claims = Api::<ResourceClaim>::namespaced(self.node.client.clone(), namespace);
        // Without folders there are no containers that devices could be given to.
        let drivers = if self.node.pod_dir(pod).is_some() { Drivers::Needed } else { Drivers::Unneeded };
        let mut names = Vec::new();
        for entry in of_pod(pod) {
            names.extend(claim_name(pod, entry)?.map(|name| (name, is_made(pod, entry))));
        }
        for (name, is_made) in names.into_iter().chain(extended_claim(pod).map(|name| (name, true))) {
            let claim =
                claims.get(name).await.map_err(|error| format!("fetch ResourceClaim {name}: {error}"))?;
            prepare(pod, is_made, &claim, drivers)?;
        }
        Ok(())
    }
}
