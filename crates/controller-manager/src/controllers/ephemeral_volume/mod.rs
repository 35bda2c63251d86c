//! Generic ephemeral volumes of pods get their claims.
//!
//! **Upstream**: `pkg/controller/volume/ephemeral`.

use crate::error::{code, is_namespace_terminating};
use crate::workload::{availability, message, owned};
use crate::{Error, Manager};
use client::events::Type;
use client::{Action, Informer, Key, Queue, Recorder, controller};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, ObjectMeta, PostParams};

/// As upstream calls it.
pub const NAME: &str = "ephemeral-volume-controller";

/// Pods worked on at a time (`--concurrent-ephemeralvolume-syncs`).
const WORKERS: usize = 5;

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let (pods, claims) = (manager.informers.of::<Pod>(), manager.informers.of::<PersistentVolumeClaim>());
    pods.feed(&manager.context, &queue, |pod| (!wanted(pod).is_empty()).then(|| Key::of(pod)));
    // A claim that is deleted may be needed still.
    claims.feed(&manager.context, &queue, owned::controller_key::<Pod, _>);
    pods.synced().await;
    claims.synced().await;
    let recorder = Recorder::new(manager.client.clone(), "ephemeral_volume", None, &manager.context);
    let context = manager.context.clone();
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let (manager, recorder) = (manager.clone(), recorder.clone());
        let (pod, claims) = (pods.get_key(&key), claims.clone());
        async move {
            if let Some(pod) = pod.filter(|pod| availability::is_active(pod)) {
                reconcile(&manager, &recorder, &pod, &claims).await?;
            }
            Ok::<_, Error>(Action::Done)
        }
    })
    .await;
}

/// The claims that a pod's ephemeral volumes want.
fn wanted(pod: &Pod) -> Vec<PersistentVolumeClaim> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claim = |volume: &k8s_openapi::api::core::v1::Volume| {
        let template = volume.ephemeral.as_ref()?.volume_claim_template.clone()?;
        let meta = template.metadata.unwrap_or_default();
        let name = format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name);
        Some(PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: pod.metadata.namespace.clone(),
                labels: meta.labels,
                annotations: meta.annotations,
                owner_references: Some(vec![owned::controller_reference(pod)]),
                ..ObjectMeta::default()
            },
            spec: Some(template.spec),
            status: None,
        })
    };
    volumes.filter_map(claim).collect()
}

async fn reconcile(
    manager: &Manager,
    recorder: &Recorder,
    pod: &Pod,
    claims: &Informer<PersistentVolumeClaim>,
) -> Result<(), Error> {
    for claim in wanted(pod) {
        let key = Key::of(&claim);
        if let Some(there) = claims.get_key(&key) {
            if owned::is_controlled_by(there.as_ref(), pod.metadata.uid.as_deref()) {
                continue;
            }
            return Err(Error::Occupied { what: format!("PVC {key}"), by: format!("pod {}", Key::of(pod)) });
        }
        let api = Api::<PersistentVolumeClaim>::namespaced(manager.client.clone(), &key.namespace);
        match api.create(&PostParams::default(), &claim).await {
            Ok(_) => {}
            Err(error) if code(&error) == 409 || is_namespace_terminating(&error) => {}
            Err(error) => {
                let told =
                    format!("ephemeral volume controller: create PVC {}: {}", key.name, message(&error));
                recorder.on(pod, Type::Warning, "FailedBinding", told);
                return Err(Error::request("create claim", key)(error));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use testkit::build;

    #[test]
    fn each_ephemeral_volume_has_a_claim_of_the_pods_name() {
        let pod = build::pod("p").uid("u").with(|pod| {
            let volumes = json!([{"name": "tmp", "emptyDir": {}}, {"name": "data", "ephemeral": {
                "volumeClaimTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}}}}]);
            pod.spec.as_mut().unwrap().volumes = Some(serde_json::from_value(volumes).unwrap());
        });
        let pod = pod.get();
        let claims = wanted(&pod);
        assert_eq!(claims.len(), 1);
        assert_eq!(claims[0].metadata.name.as_deref(), Some("p-data"));
        assert!(owned::is_controlled_by(&claims[0], Some("u")));
    }
}
