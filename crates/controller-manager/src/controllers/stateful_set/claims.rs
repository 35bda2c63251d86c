//! The claims of a StatefulSet's pods: made before the pod, owned as the retention policy says.
//!
//! **Upstream**: `pkg/controller/statefulset/stateful_pod_control.go`.

use super::{Shell, identity};
use crate::Error;
use crate::error::code;
use crate::workload::message;
use client::Key;
use client::events::Type;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, PostParams};
use std::sync::Arc;

impl Shell {
    fn claim_api(&self, set: &StatefulSet) -> Api<PersistentVolumeClaim> {
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.manager.client.clone(), namespace)
    }

    /// Makes the claims of an ordinal that are not there.
    pub(super) async fn make_claims(&self, set: &StatefulSet, ordinal: i32) -> Result<(), Error> {
        for (_, mut claim) in identity::claims(set, ordinal) {
            let key = Key::of(&claim);
            if let Some(there) = self.claims.get_key(&key) {
                if there.metadata.deletion_timestamp.is_some() {
                    return Err(Error::ClaimGoing(key.name));
                }
                continue;
            }
            let owners = identity::claim_owners(set, None, ordinal, &[]);
            claim.metadata.owner_references = (!owners.is_empty()).then_some(owners);
            let pod = format!("{}-{ordinal}", identity::name(set));
            let told = |how: &str| {
                format!("create Claim {} Pod {pod} in StatefulSet {} {how}", key.name, identity::name(set))
            };
            match self.claim_api(set).create(&PostParams::default(), &claim).await {
                Ok(written) => {
                    self.recorder.on(set, Type::Normal, "SuccessfulCreate", told("success"));
                    let revision = written.metadata.resource_version.unwrap_or_default();
                    self.claims.caught_up(&revision).await;
                }
                Err(error) if code(&error) == 409 => {}
                Err(error) => {
                    let told = told(&format!("failed error: {}", message(&error)));
                    self.recorder.on(set, Type::Warning, "FailedCreate", told);
                    return Err(Error::request("create claim", key)(error));
                }
            }
        }
        Ok(())
    }

    /// Sees to it that claims are owned as the retention policy says.
    pub(super) async fn retain_claims(&self, set: &StatefulSet, pods: &[Arc<Pod>]) -> Result<(), Error> {
        for pod in pods {
            let Some((_, ordinal)) = identity::parent_and_ordinal(pod) else { continue };
            for (_, claim) in identity::claims(set, ordinal) {
                let Some(there) = self.claims.get_key(&Key::of(&claim)) else { continue };
                let present = there.metadata.owner_references.clone().unwrap_or_default();
                let owners = identity::claim_owners(set, Some(pod), ordinal, &present);
                if owners == present || there.metadata.deletion_timestamp.is_some() {
                    continue;
                }
                let mut changed = there.as_ref().clone();
                changed.metadata.owner_references = Some(owners);
                let name = changed.metadata.name.clone().unwrap_or_default();
                match self.claim_api(set).replace(&name, &PostParams::default(), &changed).await {
                    Ok(written) => {
                        let revision = written.metadata.resource_version.unwrap_or_default();
                        self.claims.caught_up(&revision).await;
                    }
                    Err(error) if code(&error) == 404 => {}
                    Err(error) => return Err(Error::request("update claim", name)(error)),
                }
            }
        }
        Ok(())
    }
}
