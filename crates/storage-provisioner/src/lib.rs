//! Makes volumes for claims: a folder each, below one folder of this machine.
//!
//! **Contract**: what a claim or a volume needs is decided by `plan`, which is pure; `folders` touches the disk. A volume's
//! folder has the volume's name, and nothing else is ever removed, whatever a volume says. All nodes of a cluster are on
//! one machine, so every node reaches every folder: a volume is bound to nodes only if its class is. Sizes are recorded,
//! not enforced.
//! **Not here**: which volume a claim gets (`persistentvolume-binder-controller`), which node a pod gets (the scheduler).
//! **Upstream**: `sig-storage-lib-external-provisioner` and `external-resizer`, their events, annotations and finalizer;
//! minikube's `storage-provisioner`.

mod folders;
mod objects;
mod plan;

use client::events::Type;
use client::{
    Action, ClaimOrVolume, Informer, Informers, Interner, Key, Queue, Recorder, RequestError, controller,
};
use component_base::Context;
use component_base::logging::chain;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
pub use objects::{USER, USER_GROUPS, install};
use plan::{ClaimPlan, VolumePlan};
use serde_json::json;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a StorageClass names as its provisioner.
pub const NAME: &str = "minik.dev/hostpath";

/// Claims and volumes worked on at a time (the library's default).
const WORKERS: usize = 4;

/// What the launcher decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the folders are; absolute.
    pub root: PathBuf,
    /// What other components of the process keep of the same objects.
    pub interner: Interner,
}

/// A failed operation; its key is retried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A request to the API server failed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A folder could not be made or removed.
    #[error("could not {verb} {}", path.display())]
    Folder {
        /// `make` or `remove`.
        verb: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

struct Shell {
    client: kube::Client,
    recorder: Recorder,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    root: PathBuf,
}

/// Provisions until the context ends.
pub async fn run(context: Context, client: kube::Client, config: Config) {
    let queue = Queue::new(&context.clock);
    let informers = Informers::new(client.clone(), &context).sharing(&config.interner);
    let claims = informers.of::<PersistentVolumeClaim>();
    let volumes = informers.of::<PersistentVolume>();
    let classes = informers.of::<StorageClass>();
    claims.feed(&context, &queue, |claim| [ClaimOrVolume::Claim(Key::of(claim))]);
    volumes.feed(&context, &queue, |volume| {
        let of = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        let claim =
            of.and_then(|of| Some(ClaimOrVolume::Claim(Key::new(of.namespace.clone()?, of.name.clone()?))));
        claim.into_iter().chain([ClaimOrVolume::Volume(Key::of(volume).name)]).collect::<Vec<_>>()
    });
    let known = claims.clone();
    classes.feed(&context, &queue, move |_| {
        known.list().iter().map(|claim| ClaimOrVolume::Claim(Key::of(claim.as_ref()))).collect::<Vec<_>>()
    });
    claims.synced().await;
    volumes.synced().await;
    classes.synced().await;
    let recorder = Recorder::new(client.clone(), NAME, None, &context);
    let shell = Arc::new(Shell { client, recorder, claims, volumes, classes, root: config.root });
    shell.sweep().await;
    controller::run("storage-provisioner", &context, WORKERS, queue, move |work: ClaimOrVolume| {
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

impl Shell {
    async fn claim(&self, key: &Key) -> Result<(), Error> {
        let Some(claim) = self.claims.get_key(key) else { return Ok(()) };
        let class = plan::class_of(&claim).and_then(|name| self.classes.get("", name));
        let volume = self.volumes.get("", &plan::volume_of(&claim));
        match plan::claim(&claim, class.as_deref(), volume.as_deref(), &self.root) {
            ClaimPlan::Nothing => Ok(()),
            ClaimPlan::Refuse(why) => {
                self.recorder.on(claim.as_ref(), Type::Warning, "ProvisioningFailed", why);
                Ok(())
            }
            ClaimPlan::Provision(volume) => self.provision(&claim, &volume).await,
            ClaimPlan::Expand { volume, size } => self.expand(&claim, &volume, &size).await,
        }
    }

    async fn provision(&self, claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Result<(), Error> {
        let told = format!("External provisioner is provisioning volume for claim \"{}\"", Key::of(claim));
        self.recorder.on(claim, Type::Normal, "Provisioning", told);
        let name = Key::of(volume).name;
        let made = self.make(volume, &name).await;
        match &made {
            Ok(()) => {
                let told = format!("Successfully provisioned volume {name}");
                self.recorder.on(claim, Type::Normal, "ProvisioningSucceeded", told);
            }
            Err(error) => {
                let class = plan::class_of(claim).unwrap_or_default();
                let told =
                    format!("failed to provision volume with StorageClass \"{class}\": {}", chain(error));
                self.recorder.on(claim, Type::Warning, "ProvisioningFailed", told);
            }
        }
        made
    }

    /// The folder first: a volume that is there can be used.
    async fn make(&self, volume: &PersistentVolume, name: &str) -> Result<(), Error> {
        folder("make", self.root.join(name), folders::make).await?;
        match self.api().create(&PostParams::default(), volume).await {
            Ok(written) => {
                let version = written.metadata.resource_version.unwrap_or_default();
                self.volumes.caught_up(&version).await;
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(RequestError::of("create", format_args!("volume {name}"))(error).into()),
        }
    }

    /// A folder has no size: both objects are told of the new one.
    async fn expand(
        &self,
        claim: &PersistentVolumeClaim,
        volume: &str,
        size: &Quantity,
    ) -> Result<(), Error> {
        let failed = |what: String| RequestError::of("expand", what);
        let told = format!("External resizer is resizing volume {volume}");
        self.recorder.on(claim, Type::Normal, "Resizing", told);
        let larger = Patch::Merge(json!({"spec": {"capacity": {"storage": size}}}));
        let written = self.api().patch(volume, &PatchParams::default(), &larger).await;
        written.map_err(failed(format!("volume {volume}")))?;
        let key = Key::of(claim);
        let claims = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &key.namespace);
        let status =
            json!({"status": {"capacity": {"storage": size}, "allocatedResources": {"storage": size}}});
        let written = claims.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(status)).await;
        let written = written.map_err(failed(format!("claim {key}")))?;
        self.recorder.on(claim, Type::Normal, "VolumeResizeSuccessful", "Resize volume succeeded");
        self.claims.caught_up(&written.metadata.resource_version.unwrap_or_default()).await;
        Ok(())
    }

    async fn volume(&self, name: &str) -> Result<(), Error> {
        let Some(volume) = self.volumes.get("", name) else { return Ok(()) };
        match plan::volume(&volume, &self.root) {
            VolumePlan::Nothing => Ok(()),
            VolumePlan::Finalizers(finalizers) => {
                let mut changed = volume.as_ref().clone();
                changed.metadata.finalizers = Some(finalizers);
                settled("update", name, self.api().replace(name, &PostParams::default(), &changed).await)
            }
            VolumePlan::Refuse(why) => {
                self.recorder.on(volume.as_ref(), Type::Warning, "VolumeFailedDelete", why);
                Ok(())
            }
            VolumePlan::Remove => {
                if let Err(error) = folder("remove", self.root.join(name), folders::remove).await {
                    self.recorder.on(volume.as_ref(), Type::Warning, "VolumeFailedDelete", chain(&error));
                    return Err(error);
                }
                if volume.metadata.deletion_timestamp.is_none() {
                    return settled("delete", name, self.api().delete(name, &DeleteParams::default()).await);
                }
                let mut changed = volume.as_ref().clone();
                changed.metadata.finalizers = Some(plan::without_ours(&volume));
                settled("update", name, self.api().replace(name, &PostParams::default(), &changed).await)
            }
        }
    }

    fn api(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }

    /// Removes empty folders of volumes that were never written: a crash fell between.
    async fn sweep(&self) {
        let keep = self.volumes.list().iter().map(|volume| Key::of(volume.as_ref()).name).collect();
        let swept = folder("sweep", self.root.clone(), move |root| folders::sweep(root, &keep)).await;
        if let Err(error) = swept {
            tracing::warn!("{}", chain(&error));
        }
    }
}

/// What somebody else has changed or removed meanwhile comes again, or is gone.
fn settled<T>(verb: &'static str, name: &str, result: kube::Result<T>) -> Result<(), Error> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(RequestError::of(verb, format_args!("volume {name}"))(error).into()),
    }
}

/// Does something with a folder where waiting for a disk holds up nobody.
async fn folder(
    verb: &'static str,
    path: PathBuf,
    work: impl FnOnce(&Path) -> io::Result<()> + Send + 'static,
) -> Result<(), Error> {
    let at = path.clone();
    let done = tokio::task::spawn_blocking(move || work(&at)).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|source| Error::Folder {
        verb,
        path,
        source,
    })
}
