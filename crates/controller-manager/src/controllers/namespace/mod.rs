//! Namespaces that are deleted are emptied, pods first, and then let go.
//!
//! **Contract**: works on live answers, not on caches, for what it does not see is lost from view for ever. Looks
//! again when the last pod goes, else by upstream's estimate. Unlike upstream it does not wait five seconds before it
//! starts: that is for several API servers that lag behind each other.
//! **Upstream**: `pkg/controller/namespace`.

mod plan;

use crate::discovery::{self, Resource};
use crate::error::code;
use crate::{Error, Manager};
use client::{Action, Delta, Key, Queue, controller};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus, Pod};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::core::Request;
use plan::{Outcome, Remaining, Step};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// As upstream calls it.
pub const NAME: &str = "namespace-controller";

/// Namespaces worked on at a time (`--concurrent-namespace-syncs`).
const WORKERS: usize = 10;
/// Backoff of a namespace that cannot be emptied (`nsControllerRateLimiter`).
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(60));
/// Resources of one namespace that are emptied at a time.
const RESOURCES: usize = 4;

/// Whether objects can be made in a namespace.
pub(super) fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Active") && namespace.metadata.deletion_timestamp.is_none()
}

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::with_backoff(&manager.context.clock, BACKOFF.0, BACKOFF.1);
    let namespaces = manager.informers.of::<Namespace>();
    namespaces.feed(&manager.context, &queue, |namespace| {
        namespace.metadata.deletion_timestamp.is_some().then(|| Key::of(namespace))
    });
    // A pod that is gone may have been the last.
    let (mut pods, ready) = (manager.informers.of::<Pod>().subscribe(), queue.clone());
    manager.context.shutdown.spawn(async move {
        while let Some(delta) = pods.recv().await {
            let Delta::Deleted(pod) = delta else { continue };
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            let going = namespaces.get("", &namespace);
            if going.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
                ready.add(Key::cluster(namespace));
            }
        }
    });
    let context = manager.context.clone();
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let manager = manager.clone();
        async move { reconcile(&manager, &key.name).await }
    })
    .await;
}

/// One look at one namespace.
async fn reconcile(manager: &Manager, name: &str) -> Result<Action, Error> {
    let api = Api::<Namespace>::all(manager.client.clone());
    let Some(mut namespace) = api.get_opt(name).await.map_err(Error::request("get", name))? else {
        return Ok(Action::Done);
    };
    match plan::step(&namespace) {
        Step::Leave => return Ok(Action::Done),
        Step::MarkTerminating => {
            namespace.status.get_or_insert_with(NamespaceStatus::default).phase =
                Some("Terminating".to_owned());
            namespace = update_status(&api, name, &namespace).await?;
        }
        Step::Empty => {}
    }
    let (outcome, estimate) = empty(manager, &namespace, name).await?;
    if outcome.is_empty() {
        return finalize(manager, name, namespace).await;
    }
    let known = namespace.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    if let Some(conditions) = plan::conditions(&known, &outcome, manager.context.clock.now()) {
        namespace.status.get_or_insert_with(NamespaceStatus::default).conditions = Some(conditions);
        update_status(&api, name, &namespace).await?;
    }
    let resources = outcome.unexpected().join(", ");
    if !outcome.discovery.is_empty() || !outcome.failures.is_empty() {
        Err(Error::Discovery([outcome.discovery, outcome.failures].concat().join(", ")))
    } else if estimate > 0 {
        Ok(Action::RequeueAfter(plan::requeue_after(estimate)))
    } else {
        Err(Error::ItemsRemain { namespace: name.to_owned(), resources })
    }
}

async fn update_status(api: &Api<Namespace>, name: &str, namespace: &Namespace) -> Result<Namespace, Error> {
    api.replace_status(name, &PostParams::default(), namespace)
        .await
        .map_err(Error::request("update the status of namespace", name))
}

/// Deletes what can be deleted: pods, and once there are none everything else. Says what is left and for how long.
async fn empty(manager: &Manager, namespace: &Namespace, name: &str) -> Result<(Outcome, i64), Error> {
    let (mut resources, discovery) = discovery::discover(&manager.client).await?;
    resources.retain(|resource| resource.namespaced && resource.can("delete") && resource.can("list"));
    let mut outcome = Outcome { discovery, ..Outcome::default() };
    let mut estimate = 0;
    let (pods, others): (Vec<_>, Vec<_>) = resources.into_iter().partition(Resource::is_pods);
    for step in [pods, others] {
        let pods = step.first().is_some_and(Resource::is_pods);
        let work = step.into_iter().map(|resource| async move {
            let result = clear(&manager.client, &resource, name).await;
            (resource, result)
        });
        let results: Vec<_> = futures::stream::iter(work).buffered(RESOURCES).collect().await;
        for (resource, result) in results {
            let (Resource { plural, group, .. }, printed) = (&resource, resource.path(name));
            match result {
                Ok(None) => {}
                Ok(Some(left)) => {
                    if !left.finalizers.is_empty() {
                        estimate = estimate.max(plan::FINALIZER_ESTIMATE);
                    }
                    outcome.remaining.push(Remaining { resource: format!("{plural}.{group}"), ..left });
                }
                Err(error) => {
                    let error = component_base::logging::chain(&error);
                    outcome.failures.push(format!("{printed}: {error}"));
                }
            }
        }
        if pods && !outcome.remaining.is_empty() {
            // The watch tells when the last pod goes; this is for what it might miss.
            estimate = match pod_estimate(manager, namespace, name) {
                0 => plan::FINALIZER_ESTIMATE,
                grace => estimate.max(grace),
            };
            break;
        }
    }
    Ok((outcome, estimate))
}

fn pod_estimate(manager: &Manager, namespace: &Namespace, name: &str) -> i64 {
    let now = manager.context.clock.now();
    let deleted = namespace.metadata.deletion_timestamp.as_ref().map_or(now, |time| time.0);
    let pods = manager.informers.of::<Pod>().list_in(name);
    plan::pod_estimate(pods.iter().map(AsRef::as_ref), deleted, now)
}

/// Deletes the objects of one collection; what stays, if anything does.
async fn clear(
    client: &kube::Client,
    resource: &Resource,
    namespace: &str,
) -> kube::Result<Option<Remaining>> {
    let request = Request::new(resource.path(namespace));
    let objects = list(client, &request).await?;
    if objects.is_empty() {
        return Ok(None);
    }
    let options = DeleteParams::background();
    if resource.can("deletecollection") {
        let delete =
            request.delete_collection(&options, &ListParams::default()).map_err(kube::Error::BuildRequest)?;
        client.request_text(delete).await?;
    } else {
        for name in objects.iter().filter_map(|object| object.metadata.name.as_deref()) {
            let delete = request.delete(name, &options).map_err(kube::Error::BuildRequest)?;
            match client.request_text(delete).await {
                Err(error) if code(&error) != 404 => return Err(error),
                _ => {}
            }
        }
    }
    let left = list(client, &request).await?;
    let mut finalizers = BTreeMap::new();
    for finalizer in left.iter().flat_map(|object| object.metadata.finalizers.iter().flatten()) {
        *finalizers.entry(finalizer.clone()).or_default() += 1;
    }
    let remaining = Remaining { resource: String::new(), count: left.len(), finalizers };
    Ok((remaining.count > 0).then_some(remaining))
}

#[derive(Deserialize)]
struct PartialList {
    items: Vec<Partial>,
}

#[derive(Deserialize)]
struct Partial {
    metadata: ObjectMeta,
}

async fn list(client: &kube::Client, request: &Request) -> kube::Result<Vec<Partial>> {
    let request = request.list_metadata(&ListParams::default()).map_err(kube::Error::BuildRequest)?;
    Ok(client.request::<PartialList>(request).await?.items)
}

/// Lets the namespace go.
async fn finalize(manager: &Manager, name: &str, namespace: Namespace) -> Result<Action, Error> {
    let body = serde_json::to_vec(&plan::finalized(namespace)).expect("a namespace can be written as JSON");
    let request = Request::new("/api/v1/namespaces").replace_subresource(
        "finalize",
        name,
        &PostParams::default(),
        body,
    );
    let request = request.map_err(kube::Error::BuildRequest).map_err(Error::request("finalize", name))?;
    match manager.client.request_text(request).await {
        Ok(_) => Ok(Action::Done),
        Err(error) if code(&error) == 404 => Ok(Action::Done),
        Err(error) => Err(Error::request("finalize", name)(error)),
    }
}
