//! Endpoints that were written by hand are mirrored to EndpointSlices, which is what proxies read.
//!
//! **Upstream**: `pkg/controller/endpointslicemirroring`.

mod plan;

use super::endpoint_slice::{by_service, service_key, slices, write};
use crate::{Error, Manager};
use client::{Action, Key, Queue, controller};
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::sync::Arc;

/// As upstream calls it.
pub const NAME: &str = "endpointslice-mirroring-controller";

/// Endpoints worked on at a time (`--mirroring-concurrent-service-endpoint-syncs`).
const WORKERS: usize = 5;

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let (services, all) = (manager.informers.of::<Service>(), manager.informers.of::<Endpoints>());
    let slices = manager.informers.of::<EndpointSlice>();
    all.feed(&manager.context, &queue, |endpoints| [Key::of(endpoints)]);
    services.feed(&manager.context, &queue, |service| [Key::of(service)]);
    slices.feed(&manager.context, &queue, |slice| {
        let labels = slice.metadata.labels.as_ref();
        let keeper = labels.and_then(|labels| labels.get(api::well_known::label::ENDPOINTSLICE_MANAGED_BY));
        keeper.filter(|keeper| *keeper == plan::MANAGED_BY).and_then(|_| service_key(slice))
    });
    services.synced().await;
    all.synced().await;
    slices.synced().await;
    let index = by_service(&slices);
    let context = manager.context.clone();
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let (manager, slices) = (manager.clone(), slices.clone());
        let (endpoints, service) = (all.get_key(&key), services.get_key(&key));
        let existing = index.get(&format!("{} {key}", plan::MANAGED_BY));
        async move { reconcile(&manager, &slices, &key, endpoints, service, existing).await }
    })
    .await;
}

async fn reconcile(
    manager: &Manager,
    informer: &client::Informer<EndpointSlice>,
    key: &Key,
    endpoints: Option<Arc<Endpoints>>,
    service: Option<Arc<Service>>,
    existing: Vec<Arc<EndpointSlice>>,
) -> Result<Action, Error> {
    let mirrored = endpoints.filter(|endpoints| plan::is_mirrored(endpoints, service.as_deref()));
    let changes = match mirrored {
        Some(endpoints) => slices::reconcile(&existing, plan::groups(&endpoints), &plan::like(&endpoints)),
        None => slices::reconcile(&existing, Vec::new(), &Default::default()),
    };
    write(manager, informer, &key.namespace, changes).await?;
    Ok(Action::Done)
}
