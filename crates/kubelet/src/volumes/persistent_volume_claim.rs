//! `persistentVolumeClaim` and `ephemeral`: what a claim is bound to, if this node can mount it.
//!
//! **Contract**: a claim must be bound and its volume of type hostPath or local; a device is a local one. Nodes may not watch claims: one that
//! is not ready is asked about again at the pod's next try.
//! **Upstream**: `pkg/kubelet/volumemanager/populator`, `pkg/volume/local`.

use super::host_path::check;
use super::{Error, Mounted, Plugin, SetUp};
use api::k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Volume};
use async_trait::async_trait;
use component_base::logging::chain;
use kube::Api;

pub(super) struct PersistentVolumeClaimPlugin;

#[async_trait]
impl Plugin for PersistentVolumeClaimPlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/local-volume"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.persistent_volume_claim.is_some()
    }

    async fn set_up(&self, at: &mut SetUp<'_>, volume: &Volume) -> Result<Mounted, Error> {
        let source = volume.persistent_volume_claim.clone().unwrap_or_default();
        let claim = claim(at, &source.claim_name).await?;
        let mounted = of_claim(at, &claim).await?;
        Ok(Mounted { readonly: mounted.readonly || source.read_only == Some(true), ..mounted })
    }
}

pub(super) struct EphemeralPlugin;

#[async_trait]
impl Plugin for EphemeralPlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/ephemeral"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.ephemeral.is_some()
    }

    async fn set_up(&self, at: &mut SetUp<'_>, volume: &Volume) -> Result<Mounted, Error> {
        let pod = at.pod.metadata.name.as_deref().unwrap_or_default();
        let name = format!("{pod}-{}", volume.name);
        let claim = claim(at, &name).await?;
        let owned =
            claim.metadata.owner_references.iter().flatten().any(|owner| {
                owner.controller == Some(true) && Some(&owner.uid) == at.pod.metadata.uid.as_ref()
            });
        if !owned {
            let namespace = at.namespace();
            let message = format!(
                "PVC {namespace}/{name} was not created for pod {namespace}/{pod} (pod is not owner)"
            );
            return Err(Error::Refused(message));
        }
        of_claim(at, &claim).await
    }
}

async fn claim(at: &SetUp<'_>, name: &str) -> Result<PersistentVolumeClaim, Error> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(at.node.client.clone(), at.namespace());
    let failed = |message| Error::Api { operation: "failed to fetch PVC from API server", message };
    let claim = match claims.get_opt(name).await {
        Ok(Some(claim)) => claim,
        Ok(None) => return Err(failed(format!("persistentvolumeclaims \"{name}\" not found"))),
        Err(error) => return Err(failed(chain(&error))),
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(Error::Refused("PVC is being deleted".to_owned()));
    }
    Ok(claim)
}

async fn of_claim(at: &SetUp<'_>, claim: &PersistentVolumeClaim) -> Result<Mounted, Error> {
    let bound = claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
    let name = claim.spec.as_ref().and_then(|s| s.volume_name.clone()).filter(|n| !n.is_empty() && bound);
    let Some(name) = name else { return Err(Error::Refused("PVC is not bound".to_owned())) };
    let volumes: Api<PersistentVolume> = Api::all(at.node.client.clone());
    let found = volumes.get(&name).await.map_err(|error| Error::Api {
        operation: "failed to get PV from API server",
        message: chain(&error),
    })?;
    let spec = found.spec.unwrap_or_default();
    let of_claim = spec.claim_ref.as_ref().is_some_and(|r| r.uid == claim.metadata.uid);
    if !of_claim {
        return Err(Error::Refused(format!(
            "PV {name} is not bound to PVC {}",
            claim.metadata.name.as_deref().unwrap_or_default()
        )));
    }
    let block = spec.volume_mode.as_deref() == Some("Block");
    let path = match (&spec.host_path, &spec.local) {
        (_, Some(source)) if block => {
            check(&source.path, "BlockDevice").await?;
            source.path.clone()
        }
        (Some(source), _) if !block => {
            check(&source.path, source.type_.as_deref().unwrap_or_default()).await?;
            source.path.clone()
        }
        (None, Some(source)) => {
            check(&source.path, "Directory")
                .await
                .map_err(|_| Error::Refused(format!("path \"{}\" does not exist", source.path)))?;
            let (root, ownership) = (std::path::PathBuf::from(&source.path), at.ownership.clone());
            super::blocking("change the owner of", &root.clone(), move || ownership.apply(&root)).await?;
            source.path.clone()
        }
        _ => {
            return Err(Error::Refused(format!("no volume plugin matched name: PV {name}")));
        }
    };
    let modes = claim.spec.as_ref().and_then(|s| s.access_modes.clone()).unwrap_or_default();
    let readonly = !modes.is_empty() && modes.iter().all(|mode| mode == "ReadOnlyMany");
    Ok(Mounted { readonly, block, ..Mounted::at(path) })
}
