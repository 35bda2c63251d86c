//! Claims and volumes find each other, one to one.
//!
//! **Contract**: the binding is written on the volume first, then on the claim: a volume that says it is for a claim is
//! for nobody else, whatever fails in between. Nothing is provisioned or deleted here: that is external provisioners'.
//! **Upstream**: `pkg/controller/volume/persistentvolume`.

mod plan;

use crate::error::code;
use crate::workload::{is_conflict, write_status};
use crate::{Error, Manager};
use client::events::Type;
use client::{Action, ClaimOrVolume, Informer, Key, Queue, Recorder, controller};
use k8s_openapi::api::core::v1::{
    Node, ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus,
};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Resource;
use kube::api::{Api, PostParams};
use plan::{ClaimPlan, Told, View, VolumePlan};
use std::sync::Arc;

/// As upstream calls it.
pub const NAME: &str = "persistentvolume-binder-controller";

/// One, so that no two claims are given the same volume.
const WORKERS: usize = 1;

struct Shell {
    manager: Manager,
    recorder: Recorder,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    nodes: Informer<Node>,
}

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let claims = manager.informers.of::<PersistentVolumeClaim>();
    let volumes = manager.informers.of::<PersistentVolume>();
    let (classes, nodes) = (manager.informers.of::<StorageClass>(), manager.informers.of::<Node>());
    claims.feed(&manager.context, &queue, |claim| {
        let volume = Some(plan::volume_name(claim)).filter(|name| !name.is_empty());
        let volume = volume.map(|name| ClaimOrVolume::Volume(name.to_owned()));
        std::iter::once(ClaimOrVolume::Claim(Key::of(claim))).chain(volume).collect::<Vec<_>>()
    });
    let known = claims.clone();
    volumes.feed(&manager.context, &queue, move |volume| {
        // A volume may be what claims have been waiting for.
        let waiting = waiting(&known).into_iter();
        let own =
            plan::claim_ref(volume).and_then(|of| Some(Key::new(of.namespace.clone()?, of.name.clone()?)));
        let own = own.map(ClaimOrVolume::Claim);
        waiting.chain(own).chain([ClaimOrVolume::Volume(Key::of(volume).name)]).collect::<Vec<_>>()
    });
    let known = claims.clone();
    classes.feed(&manager.context, &queue, move |_| waiting(&known));
    claims.synced().await;
    volumes.synced().await;
    classes.synced().await;
    let recorder =
        Recorder::new(manager.client.clone(), "persistentvolume-controller", None, &manager.context);
    let context = manager.context.clone();
    let shell = Arc::new(Shell { manager, recorder, claims, volumes, classes, nodes });
    controller::run(NAME, &context, WORKERS, queue, move |work: ClaimOrVolume| {
        let shell = shell.clone();
        async move {
            match work {
                ClaimOrVolume::Claim(key) => shell.claim(&key).await?,
                ClaimOrVolume::Volume(name) => shell.volume(&name).await?,
            }
            Ok::<_, Error>(Action::Done)
        }
    })
    .await;
}

/// The claims that have no volume.
fn waiting(claims: &Informer<PersistentVolumeClaim>) -> Vec<ClaimOrVolume> {
    let unbound = |claim: &&Arc<PersistentVolumeClaim>| {
        plan::annotation(claim.as_ref(), plan::BIND_COMPLETED).is_none()
    };
    claims.list().iter().filter(unbound).map(|claim| ClaimOrVolume::Claim(Key::of(claim.as_ref()))).collect()
}

fn phase(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.status.as_ref()?.phase.as_deref()
}

impl Shell {
    fn plan(&self, claim: &PersistentVolumeClaim) -> ClaimPlan {
        let (volumes, classes) = (self.volumes.list(), self.classes.list());
        let view = View { volumes: &volumes, classes: &classes, node: &|name| self.nodes.get("", name) };
        plan::claim(claim, &view)
    }

    async fn claim(&self, key: &Key) -> Result<(), Error> {
        let Some(claim) = self.claims.get_key(key) else { return Ok(()) };
        match self.plan(&claim) {
            ClaimPlan::Bind(volume) => self.bind(&claim, &volume).await,
            ClaimPlan::Pending(told) => {
                self.tell(claim.as_ref(), told);
                self.set_phase(&claim, "Pending").await
            }
            ClaimPlan::Lost(reason, message) => {
                if phase(&claim) != Some("Lost") {
                    self.tell(claim.as_ref(), Some((true, reason, message.to_owned())));
                }
                self.set_phase(&claim, "Lost").await
            }
            ClaimPlan::SetClass(class) => {
                let mut changed = claim.as_ref().clone();
                changed.spec.get_or_insert_default().storage_class_name = Some(class);
                self.update_claim(&changed).await.map(drop)
            }
            ClaimPlan::Provision(provisioner) => {
                let told = format!(
                    "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by \
                     the system administrator. If volume creation is delayed, please verify that the provisioner is \
                     running and correctly registered."
                );
                self.tell(claim.as_ref(), Some((false, "ExternalProvisioning", told)));
                let mut changed = claim.as_ref().clone();
                let annotations = changed.metadata.annotations.get_or_insert_default();
                annotations.extend(plan::PROVISIONER.map(|key| (key.to_owned(), provisioner.clone())));
                let changed = self.update_claim(&changed).await?.unwrap_or(changed);
                self.set_phase(&changed, "Pending").await
            }
        }
    }

    fn tell<K: Resource<DynamicType = ()>>(&self, object: &K, told: Option<Told>) {
        if let Some((warning, reason, message)) = told {
            let kind = if warning { Type::Warning } else { Type::Normal };
            self.recorder.on(object, kind, reason, message);
        }
    }

    async fn set_phase(&self, claim: &PersistentVolumeClaim, wanted: &str) -> Result<(), Error> {
        if phase(claim) == Some(wanted) {
            return Ok(());
        }
        let mut changed = claim.clone();
        changed.status.get_or_insert_default().phase = Some(wanted.to_owned());
        write_status(&self.manager, &self.claims, &changed).await
    }

    /// Writes a claim, if it differs from what is known; what was written.
    async fn update_claim(
        &self,
        claim: &PersistentVolumeClaim,
    ) -> Result<Option<PersistentVolumeClaim>, Error> {
        let key = Key::of(claim);
        if self.claims.get_key(&key).is_some_and(|known| *known == *claim) {
            return Ok(None);
        }
        let api = Api::<PersistentVolumeClaim>::namespaced(self.manager.client.clone(), &key.namespace);
        let written = api.replace(&key.name, &PostParams::default(), claim).await;
        let written = written.map_err(Error::request("update claim", key))?;
        self.claims.caught_up(written.metadata.resource_version.as_deref().unwrap_or_default()).await;
        Ok(Some(written))
    }

    /// Volume first, claim second, each with its spec before its status; what is done already is left out.
    async fn bind(&self, claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Result<(), Error> {
        let mut volume = volume.clone();
        let of = plan::claim_ref(&volume).cloned();
        if of.as_ref().and_then(|of| of.uid.as_ref()) != claim.metadata.uid.as_ref() {
            volume.spec.get_or_insert_default().claim_ref = Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("PersistentVolumeClaim".to_owned()),
                namespace: claim.metadata.namespace.clone(),
                name: claim.metadata.name.clone(),
                uid: claim.metadata.uid.clone(),
                resource_version: claim.metadata.resource_version.clone(),
                field_path: None,
            });
            if of.is_none() {
                let annotations = volume.metadata.annotations.get_or_insert_default();
                annotations.insert(plan::BOUND_BY_CONTROLLER.to_owned(), "yes".to_owned());
            }
            volume = self.update_volume(&volume).await?;
        }
        self.set_volume_phase(&volume, "Bound").await?;
        let name = volume.metadata.name.clone().unwrap_or_default();
        let mut changed = claim.clone();
        let mut done = vec![plan::BIND_COMPLETED];
        if plan::volume_name(claim) != name {
            changed.spec.get_or_insert_default().volume_name = Some(name);
            done.push(plan::BOUND_BY_CONTROLLER);
        }
        let annotations = changed.metadata.annotations.get_or_insert_default();
        for key in done {
            annotations.entry(key.to_owned()).or_insert_with(|| "yes".to_owned());
        }
        let mut changed = self.update_claim(&changed).await?.unwrap_or(changed);
        let spec = volume.spec.unwrap_or_default();
        let known = changed.status.clone().unwrap_or_default();
        let first = known.phase.as_deref() != Some("Bound");
        let status = PersistentVolumeClaimStatus {
            phase: Some("Bound".to_owned()),
            access_modes: spec.access_modes,
            capacity: if first { spec.capacity } else { known.capacity.clone() },
            ..known.clone()
        };
        if status == known {
            return Ok(());
        }
        changed.status = Some(status);
        write_status(&self.manager, &self.claims, &changed).await
    }

    async fn update_volume(&self, volume: &PersistentVolume) -> Result<PersistentVolume, Error> {
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        let api = Api::<PersistentVolume>::all(self.manager.client.clone());
        let written = api.replace(name, &PostParams::default(), volume).await;
        let written = written.map_err(Error::request("update volume", name))?;
        self.volumes.caught_up(written.metadata.resource_version.as_deref().unwrap_or_default()).await;
        Ok(written)
    }

    async fn set_volume_phase(&self, volume: &PersistentVolume, wanted: &str) -> Result<(), Error> {
        let known = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        if known == Some(wanted) {
            return Ok(());
        }
        let mut changed = volume.clone();
        changed.status.get_or_insert_default().phase = Some(wanted.to_owned());
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        let api = Api::<PersistentVolume>::all(self.manager.client.clone());
        match api.replace_status(name, &PostParams::default(), &changed).await {
            Ok(written) => {
                self.volumes
                    .caught_up(written.metadata.resource_version.as_deref().unwrap_or_default())
                    .await;
                Ok(())
            }
            Err(error) if is_conflict(&error) || code(&error) == 404 => Ok(()),
            Err(error) => Err(Error::request("update the status of volume", name)(error)),
        }
    }

    async fn volume(&self, name: &str) -> Result<(), Error> {
        let Some(volume) = self.volumes.get("", name) else { return Ok(()) };
        let claim = plan::claim_ref(&volume).and_then(|of| {
            self.claims
                .get(of.namespace.as_deref().unwrap_or_default(), of.name.as_deref().unwrap_or_default())
        });
        match plan::volume(&volume, claim.as_deref()) {
            VolumePlan::Phase(phase) => self.set_volume_phase(&volume, phase).await,
            VolumePlan::Release(told) => {
                let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
                let next = if told.is_some() && phase == Some("Released") { "Failed" } else { "Released" };
                if next == "Failed" {
                    self.tell(volume.as_ref(), told);
                }
                self.set_volume_phase(&volume, next).await
            }
            VolumePlan::Unbind => {
                let mut changed = volume.as_ref().clone();
                changed.spec.get_or_insert_default().claim_ref = None;
                if let Some(annotations) = &mut changed.metadata.annotations {
                    annotations.remove(plan::BOUND_BY_CONTROLLER);
                }
                let written = self.update_volume(&changed).await?;
                self.set_volume_phase(&written, "Available").await
            }
        }
    }
}
