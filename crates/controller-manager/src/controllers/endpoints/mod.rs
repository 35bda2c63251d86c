//! Endpoints: the older form of EndpointSlices, one object a Service.
//!
//! **Contract**: Endpoints of a Service with a selector are this controller's; those without a Service are left alone
//! unless the Service has gone while somebody watched, or before the start.
//! **Upstream**: `pkg/controller/endpoint`.

mod plan;

use super::endpoint_slice::{feed_by_pods, plan::has_selector};
use crate::error::{code, is_namespace_terminating};
use crate::workload::message;
use crate::{Error, Manager};
use client::events::Type;
use client::{Action, Delta, Informer, Key, Queue, Recorder, controller};
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use kube::api::{Api, DeleteParams, PostParams};
use std::sync::Arc;

/// As upstream calls it.
pub const NAME: &str = "endpoints-controller";

/// Services worked on at a time (`--concurrent-endpoint-syncs`).
const WORKERS: usize = 5;

struct Shell {
    manager: Manager,
    recorder: Recorder,
    services: Informer<Service>,
    pods: Informer<Pod>,
    all: Informer<Endpoints>,
}

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let (services, pods) = (manager.informers.of::<Service>(), manager.informers.of::<Pod>());
    let all = manager.informers.of::<Endpoints>();
    services.feed(&manager.context, &queue, |service| [Key::of(service)]);
    feed_by_pods(&manager, &services, &pods, &queue);
    services.synced().await;
    pods.synced().await;
    // What is there at the start may be left over; later only a deletion concerns us.
    let (mut changes, ready) = (all.subscribe(), queue.clone());
    manager.context.shutdown.spawn(async move {
        let mut starting = true;
        while let Some(delta) = changes.recv().await {
            match delta {
                Delta::Added(endpoints) if starting => ready.add(Key::of(endpoints.as_ref())),
                Delta::Deleted(endpoints) => ready.add(Key::of(endpoints.as_ref())),
                Delta::Synced => starting = false,
                Delta::Added(_) | Delta::Updated { .. } => {}
            }
        }
    });
    all.synced().await;
    let recorder = Recorder::new(manager.client.clone(), "endpoint-controller", None, &manager.context);
    let context = manager.context.clone();
    let shell = Arc::new(Shell { manager, recorder, services, pods, all });
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let shell = shell.clone();
        async move { shell.reconcile(&key).await }
    })
    .await;
}

impl Shell {
    async fn reconcile(&self, key: &Key) -> Result<Action, Error> {
        let api = Api::<Endpoints>::namespaced(self.manager.client.clone(), &key.namespace);
        let known = self.all.get_key(key);
        let Some(service) = self.services.get_key(key) else {
            let lock = |known: &Arc<Endpoints>| {
                known
                    .metadata
                    .annotations
                    .iter()
                    .flatten()
                    .any(|(key, _)| key.ends_with("kubernetes.io/leader"))
            };
            if known.is_some_and(|known| !lock(&known)) {
                match api.delete(&key.name, &DeleteParams::default()).await {
                    Err(error) if code(&error) != 404 => {
                        return Err(Error::request("delete endpoints", key)(error));
                    }
                    _ => {}
                }
            }
            return Ok(Action::Done);
        };
        if !has_selector(&service) {
            return Ok(Action::Done);
        }
        let wanted = plan::wanted(&service, &self.pods.list_in(&key.namespace), known.as_deref());
        if known.as_deref() == Some(&wanted) {
            return Ok(Action::Done);
        }
        let result = match &known {
            Some(_) => api.replace(&key.name, &PostParams::default(), &wanted).await,
            None => api.create(&PostParams::default(), &wanted).await,
        };
        match result {
            Ok(written) => {
                self.all.caught_up(written.metadata.resource_version.as_deref().unwrap_or_default()).await;
                Ok(Action::Done)
            }
            Err(error) if is_namespace_terminating(&error) => Ok(Action::Done),
            Err(error) => {
                let (reason, verb) = match known {
                    Some(_) => ("FailedToUpdateEndpoint", "update"),
                    None => ("FailedToCreateEndpoint", "create"),
                };
                let told = format!("Failed to {verb} endpoint {key}: {}", message(&error));
                self.recorder.on(service.as_ref(), Type::Warning, reason, told);
                Err(Error::request(verb, format!("endpoints {key}"))(error))
            }
        }
    }
}
