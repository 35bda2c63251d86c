//! Volumes made for claims: when, where, with which events, and what becomes of them.
//!
//! **Contract**: a whole cluster in the test's process with a simulated node; folders are real.
//! **Not here**: real containers on such volumes (`docker_volumes`).

use component_base::Context;
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use minik::Cluster;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use testkit::eventually_some;

/// In simulated time.
const LONG: Duration = Duration::from_secs(600);

struct Bed {
    cluster: Cluster,
    folder: TempDir,
}

impl Bed {
    async fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let cluster = Cluster::builder()
            .context(Context::simulated(3))
            .volumes_dir(folder.path().join("volumes"))
            .start()
            .await
            .expect("it starts");
        Self { cluster, folder }
    }

    fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::default_namespaced(self.cluster.client())
    }

    fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.cluster.client())
    }

    async fn class(&self, class: Value) {
        let class: StorageClass = serde_json::from_value(class).expect("a class");
        let classes: Api<StorageClass> = Api::all(self.cluster.client());
        classes.create(&PostParams::default(), &class).await.expect("the API takes it");
    }

    /// Creates a claim for 1Gi, with more in its spec.
    async fn claim(&self, name: &str, more: Value) {
        let mut claim = json!({"metadata": {"name": name}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        for (key, value) in more.as_object().into_iter().flatten() {
            claim["spec"][key] = value.clone();
        }
        let claim: PersistentVolumeClaim = serde_json::from_value(claim).expect("a claim");
        self.claims().create(&PostParams::default(), &claim).await.expect("the API takes it");
    }

    /// Waits until a claim is as described and gives it.
    #[track_caller]
    fn until(
        &self,
        name: &str,
        holds: impl Fn(&Value) -> bool + Clone + Send + Sync + 'static,
    ) -> impl Future<Output = Value> {
        let (claims, name) = (self.claims(), name.to_owned());
        eventually_some(LONG, move || {
            let (claims, name, holds) = (claims.clone(), name.clone(), holds.clone());
            async move {
                let claim = claims.get(&name).await.expect("the API answers");
                let claim = serde_json::to_value(claim).expect("JSON");
                holds(&claim).then_some(claim)
            }
        })
    }

    /// Waits until a claim is bound: its volume, and that volume's folder.
    async fn bound(&self, name: &str) -> (Value, PathBuf) {
        let claim = self.until(name, |claim| claim["status"]["phase"] == "Bound").await;
        let volume = claim["spec"]["volumeName"].as_str().expect("a volume").to_owned();
        let volume = self.volumes().get(&volume).await.expect("the volume");
        let volume = serde_json::to_value(volume).expect("JSON");
        let path = PathBuf::from(volume["spec"]["hostPath"]["path"].as_str().expect("a folder"));
        assert!(path.starts_with(self.folder.path()) && path.is_dir(), "{}", path.display());
        (volume, path)
    }

    #[track_caller]
    fn event(&self, about: &str, reason: &str) -> impl Future<Output = String> {
        let events: Api<Event> = Api::all(self.cluster.client());
        let about = ListParams::default().fields(&format!("involvedObject.name={about},reason={reason}"));
        eventually_some(LONG, move || {
            let (events, about) = (events.clone(), about.clone());
            async move {
                events.list(&about).await.expect("a list").items.into_iter().find_map(|event| event.message)
            }
        })
    }

    /// Waits until there are so many volumes.
    #[track_caller]
    fn volumes_are(&self, number: usize) -> impl Future<Output = ()> {
        let volumes = self.volumes();
        eventually_some(LONG, move || {
            let volumes = volumes.clone();
            async move {
                let list = volumes.list(&ListParams::default()).await.expect("a list");
                (list.items.len() == number).then_some(())
            }
        })
    }

    async fn delete_claim(&self, name: &str) {
        self.claims().delete(name, &DeleteParams::default()).await.expect("the API deletes it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_without_a_class_gets_a_folder_that_grows_and_goes_with_it() {
    let bed = Bed::new().await;
    bed.claim("c", json!({"accessModes": ["ReadWriteMany"]})).await;
    let (volume, path) = bed.bound("c").await;
    let name = volume["metadata"]["name"].as_str().expect("a name").to_owned();
    assert_eq!(volume["spec"]["storageClassName"], "standard");
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Delete");
    assert_eq!(volume["spec"]["accessModes"], json!(["ReadWriteMany"]));
    assert!(volume["spec"].get("nodeAffinity").is_none(), "every node is on this machine");
    assert_eq!(
        bed.event("c", "ExternalProvisioning").await,
        "Waiting for a volume to be created either by the external provisioner 'minik.dev/hostpath' or manually by the \
         system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly \
         registered."
    );
    assert_eq!(
        bed.event("c", "Provisioning").await,
        "External provisioner is provisioning volume for claim \"default/c\""
    );
    assert_eq!(
        bed.event("c", "ProvisioningSucceeded").await,
        format!("Successfully provisioned volume {name}")
    );

    let more = json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}});
    bed.claims().patch("c", &PatchParams::default(), &Patch::Merge(more)).await.expect("it may grow");
    bed.until("c", |claim| claim["status"]["capacity"]["storage"] == "3Gi").await;
    let grown = bed.volumes().get(&name).await.expect("the volume");
    assert_eq!(serde_json::to_value(grown.spec).expect("JSON")["capacity"]["storage"], "3Gi");
    bed.event("c", "VolumeResizeSuccessful").await;

    std::fs::write(path.join("data"), "x").expect("written");
    bed.delete_claim("c").await;
    bed.volumes_are(0).await;
    assert!(!path.exists());
    bed.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_deleted_before_its_claim_takes_its_folder_along_in_the_end() {
    let bed = Bed::new().await;
    bed.claim("c", json!({})).await;
    let (volume, path) = bed.bound("c").await;
    let name = volume["metadata"]["name"].as_str().expect("a name");
    bed.volumes().delete(name, &DeleteParams::default()).await.expect("the API deletes it");
    let going = bed.volumes().get(name).await.expect("it is there while it is bound");
    assert!(going.metadata.deletion_timestamp.is_some() && path.is_dir());
    bed.delete_claim("c").await;
    bed.volumes_are(0).await;
    assert!(!path.exists());
    bed.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_class_that_waits_and_retains_does_both() {
    let bed = Bed::new().await;
    bed.class(
        json!({"metadata": {"name": "late"}, "provisioner": "minik.dev/hostpath", "reclaimPolicy": "Retain",
        "volumeBindingMode": "WaitForFirstConsumer"}),
    )
    .await;
    bed.claim("c", json!({"storageClassName": "late"})).await;
    assert_eq!(
        bed.event("c", "WaitForFirstConsumer").await,
        "waiting for first consumer to be created before binding"
    );
    bed.volumes_are(0).await;
    // As the scheduler does.
    let chosen = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "minik"}}});
    bed.claims().patch("c", &PatchParams::default(), &Patch::Merge(chosen)).await.expect("the API takes it");
    let (volume, path) = bed.bound("c").await;
    let name = volume["metadata"]["name"].as_str().expect("a name").to_owned();
    std::fs::write(path.join("data"), "kept").expect("written");
    bed.delete_claim("c").await;
    let (volumes, released) = (bed.volumes(), name.clone());
    eventually_some(LONG, move || {
        let (volumes, name) = (volumes.clone(), released.clone());
        async move {
            let volume = volumes.get(&name).await.expect("it is retained");
            (volume.status?.phase.as_deref() == Some("Released")).then_some(())
        }
    })
    .await;
    bed.volumes().delete(&name, &DeleteParams::default()).await.expect("the API deletes it");
    bed.volumes_are(0).await;
    assert_eq!(std::fs::read_to_string(path.join("data")).expect("it is there"), "kept");
    bed.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_folder_cannot_be_is_refused_and_topology_is_passed_on() {
    let bed = Bed::new().await;
    bed.claim("block", json!({"volumeMode": "Block"})).await;
    assert_eq!(
        bed.event("block", "ProvisioningFailed").await,
        "failed to provision volume with StorageClass \"standard\": minik.dev/hostpath does not support block volume \
         provisioning"
    );
    bed.class(
        json!({"metadata": {"name": "zonal"}, "provisioner": "minik.dev/hostpath", "allowedTopologies": [
        {"matchLabelExpressions": [{"key": "kubernetes.io/hostname", "values": ["minik"]}]}]}),
    )
    .await;
    bed.claim("zonal", json!({"storageClassName": "zonal"})).await;
    let (volume, _) = bed.bound("zonal").await;
    let terms = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"];
    let wanted = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["minik"]}]}]);
    assert_eq!(*terms, wanted);
    bed.cluster.stop().await;
}
