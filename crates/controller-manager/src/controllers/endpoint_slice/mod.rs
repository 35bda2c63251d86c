//! EndpointSlices: where a Service's pods are, and how they are.
//!
//! **Upstream**: `pkg/controller/endpointslice`.

pub(in crate::controllers) mod plan;
pub(in crate::controllers) mod slices;

use crate::error::{code, is_namespace_terminating};
use crate::workload::message;
use crate::{Error, Manager};
use api::well_known::label;
use client::events::Type;
use client::{Action, Delta, Index, Informer, Key, Queue, Recorder, controller};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, PostParams};
use slices::Changes;
use std::sync::Arc;

/// As upstream calls it.
pub const NAME: &str = "endpointslice-controller";

/// Services worked on at a time (`--concurrent-service-endpoint-syncs`).
const WORKERS: usize = 5;

struct Shell {
    manager: Manager,
    recorder: Recorder,
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    by_service: Index<EndpointSlice>,
}

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let (services, pods) = (manager.informers.of::<Service>(), manager.informers.of::<Pod>());
    let (nodes, slices) = (manager.informers.of::<Node>(), manager.informers.of::<EndpointSlice>());
    services.feed(&manager.context, &queue, |service| [Key::of(service)]);
    slices.feed(&manager.context, &queue, |slice| {
        let mine = label_of(slice, label::ENDPOINTSLICE_MANAGED_BY) == Some(plan::MANAGED_BY);
        mine.then(|| service_key(slice)).flatten()
    });
    feed_by_pods(&manager, &services, &pods, &queue);
    feed_by_zones(&manager, &services, &nodes, &queue);
    services.synced().await;
    pods.synced().await;
    nodes.synced().await;
    slices.synced().await;
    let by_service = by_service(&slices);
    let recorder = Recorder::new(manager.client.clone(), "endpoint-slice-controller", None, &manager.context);
    let context = manager.context.clone();
    let shell = Arc::new(Shell { manager, recorder, services, pods, nodes, slices, by_service });
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let shell = shell.clone();
        async move { shell.reconcile(&key).await }
    })
    .await;
}

fn label_of<'a>(slice: &'a EndpointSlice, key: &str) -> Option<&'a str> {
    slice.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// The Service that a slice says it is of.
pub(in crate::controllers) fn service_key(slice: &EndpointSlice) -> Option<Key> {
    let service = label_of(slice, label::SERVICE_NAME)?;
    Some(Key::new(slice.metadata.namespace.clone().unwrap_or_default(), service))
}

/// Slices by who keeps them and of which Service they are.
pub(in crate::controllers) fn by_service(slices: &Informer<EndpointSlice>) -> Index<EndpointSlice> {
    slices.index("service", |slice| {
        let manager = label_of(slice, label::ENDPOINTSLICE_MANAGED_BY).unwrap_or_default();
        service_key(slice).map(|key| format!("{manager} {key}")).into_iter().collect()
    })
}

/// Feeds a queue with the Services that a change of a pod concerns.
pub(in crate::controllers) fn feed_by_pods(
    manager: &Manager,
    services: &Informer<Service>,
    pods: &Informer<Pod>,
    queue: &Queue<Key>,
) {
    let (mut changes, services, queue) = (pods.subscribe(), services.clone(), queue.clone());
    manager.context.shutdown.spawn(async move {
        while let Some(delta) = changes.recv().await {
            let pods = match &delta {
                Delta::Updated { old, new } if plan::differs(old, new) => vec![old, new],
                Delta::Added(pod) | Delta::Deleted(pod) => vec![pod],
                Delta::Updated { .. } | Delta::Synced => continue,
            };
            for pod in pods {
                let services = services.list_in(pod.metadata.namespace.as_deref().unwrap_or_default());
                for service in services.iter().filter(|service| plan::selects(service, pod)) {
                    queue.add(Key::of(service.as_ref()));
                }
            }
        }
    });
}

/// All Services are looked at when a node comes to be, or moves to, another zone.
fn feed_by_zones(
    manager: &Manager,
    services: &Informer<Service>,
    nodes: &Informer<Node>,
    queue: &Queue<Key>,
) {
    let (mut changes, services, queue) = (nodes.subscribe(), services.clone(), queue.clone());
    let zone = |node: &Node| node.metadata.labels.as_ref()?.get(label::TOPOLOGY_ZONE).cloned();
    manager.context.shutdown.spawn(async move {
        while let Some(delta) = changes.recv().await {
            let moved = match &delta {
                Delta::Added(node) => zone(node).is_some(),
                Delta::Updated { old, new } => zone(old) != zone(new),
                Delta::Deleted(_) | Delta::Synced => false,
            };
            if moved {
                services.list().iter().for_each(|service| queue.add(Key::of(service.as_ref())));
            }
        }
    });
}

impl Shell {
    async fn reconcile(&self, key: &Key) -> Result<Action, Error> {
        let service = self.services.get_key(key);
        // What is deleted loses its slices to the garbage collector; what has no selector is somebody else's.
        let Some(service) = service
            .filter(|service| plan::has_selector(service) && service.metadata.deletion_timestamp.is_none())
        else {
            return Ok(Action::Done);
        };
        let pods = self.pods.list_in(&key.namespace);
        let existing = self.by_service.get(&format!("{} {key}", plan::MANAGED_BY));
        let groups = plan::groups(&service, &pods, |node| self.nodes.get("", node));
        let changes = slices::reconcile(&existing, groups, &plan::like(&service));
        if let Err(error) = write(&self.manager, &self.slices, &key.namespace, changes).await {
            if let Error::Request(failed) = &error
                && !is_namespace_terminating(&failed.source)
            {
                let why = message(&failed.source);
                let told = format!("Error updating Endpoint Slices for Service {key}: {why}");
                self.recorder.on(service.as_ref(), Type::Warning, "FailedToUpdateEndpointSlices", told);
            }
            return Err(error);
        }
        Ok(Action::Done)
    }
}

/// Carries changes out and waits until the cache has them.
pub(in crate::controllers) async fn write(
    manager: &Manager,
    informer: &Informer<EndpointSlice>,
    namespace: &str,
    changes: Changes,
) -> Result<(), Error> {
    let api = Api::<EndpointSlice>::namespaced(manager.client.clone(), namespace);
    let mut revision = None;
    for slice in changes.create {
        match api.create(&PostParams::default(), &slice).await {
            Ok(written) => revision = written.metadata.resource_version,
            Err(error) if is_namespace_terminating(&error) => return Ok(()),
            Err(error) => return Err(Error::request("create endpoint slice in", namespace)(error)),
        }
    }
    for slice in changes.update {
        let name = slice.metadata.name.as_deref().unwrap_or_default();
        match api.replace(name, &PostParams::default(), &slice).await {
            Ok(written) => revision = written.metadata.resource_version,
            // The newer version's event brings the Service back.
            Err(error) if [404, 409].contains(&code(&error)) => {}
            Err(error) => return Err(Error::request("update endpoint slice", name)(error)),
        }
    }
    for name in changes.delete {
        match api.delete(&name, &DeleteParams::default()).await {
            Err(error) if code(&error) != 404 => {
                return Err(Error::request("delete endpoint slice", name)(error));
            }
            _ => {}
        }
    }
    informer.caught_up(&revision.unwrap_or_default()).await;
    Ok(())
}
