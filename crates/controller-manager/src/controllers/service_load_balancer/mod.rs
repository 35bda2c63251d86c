//! A Service of type LoadBalancer has an address at once: the node's.
//!
//! **Not here**: what answers at it (kube-proxy).
//! **Upstream**: `k8s.io/cloud-provider/controllers/service`, with the cloud left out.

mod plan;

use crate::error::code;
use crate::{Error, Manager};
use client::events::Type;
use client::{Action, Key, Queue, Recorder, controller};
use k8s_openapi::api::core::v1::{LoadBalancerStatus, Node, Service};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

/// As upstream calls it.
pub const NAME: &str = "service-lb-controller";

/// Services worked on at a time. **Upstream**: `--concurrent-service-syncs`.
const WORKERS: usize = 1;

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let (services, nodes) = (manager.informers.of::<Service>(), manager.informers.of::<Node>());
    services.feed(&manager.context, &queue, |service| [Key::of(service)]);
    let all = services.clone();
    nodes.feed(&manager.context, &queue, move |_| {
        let balancers = all.list().into_iter().filter(|service| {
            service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"))
        });
        balancers.map(|service| Key::of(&*service)).collect::<Vec<_>>()
    });
    services.synced().await;
    nodes.synced().await;
    let recorder = Recorder::new(manager.client.clone(), "service-controller", None, &manager.context);
    let context = manager.context.clone();
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let found = services.get_key(&key);
        let wanted = found.as_ref().and_then(|service| plan::wanted(service, &nodes.list()));
        let (client, recorder) = (manager.client.clone(), recorder.clone());
        async move {
            let (Some(service), Some(status)) = (found, wanted) else { return Ok::<_, Error>(Action::Done) };
            publish(client, &key, &status).await?;
            if status.ingress.is_some() {
                recorder.on(&*service, Type::Normal, "EnsuredLoadBalancer", "Ensured load balancer");
            }
            Ok(Action::Done)
        }
    })
    .await;
}

async fn publish(client: kube::Client, key: &Key, status: &LoadBalancerStatus) -> Result<(), Error> {
    let patch = json!({"status": {"loadBalancer": {"ingress": status.ingress}}});
    let services = Api::<Service>::namespaced(client, &key.namespace);
    match services.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(error) if code(&error) != 404 => {
            Err(Error::request("update the status of", format!("service {key}"))(error))
        }
        _ => Ok(()),
    }
}
