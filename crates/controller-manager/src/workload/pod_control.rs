//! Making pods from a template and deleting them, with the events that tell of it.
//!
//! **Upstream**: `controller.RealPodControl`, `slowStartBatch`.

use super::{message, owned};
use crate::error::{code, is_namespace_terminating};
use crate::{Error, Manager};
use client::Recorder;
use client::events::{Type, reference};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, PodTemplateSpec};
use kube::Resource;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, Preconditions};
use std::future::Future;

/// Pods that one look at one owner makes or deletes at most (`BurstReplicas`).
pub(crate) const BURST: usize = 500;
/// Size of the first batch of creations (`SlowStartInitialBatchSize`).
const FIRST_BATCH: usize = 1;
/// Requests of one batch that are under way at a time: more only wait in the server.
const CONCURRENT: usize = 32;

/// Makes and deletes pods in the name of one object.
pub(crate) struct PodControl<'a> {
    pub(crate) manager: &'a Manager,
    pub(crate) recorder: &'a Recorder,
    about: ObjectReference,
    namespace: String,
}

/// What became of a number of requests.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How many succeeded.
    pub(crate) done: usize,
    /// The latest revision that they wrote.
    pub(crate) revision: String,
    /// The first that failed.
    pub(crate) error: Option<Error>,
}

impl Outcome {
    fn add(&mut self, result: Result<String, Error>) {
        match result {
            Ok(revision) => {
                self.done += 1;
                if newer(&revision, &self.revision) {
                    self.revision = revision;
                }
            }
            Err(error) => drop(self.error.get_or_insert(error)),
        }
    }
}

fn newer(a: &str, b: &str) -> bool {
    a.parse::<u64>().unwrap_or(0) > b.parse::<u64>().unwrap_or(0)
}

impl<'a> PodControl<'a> {
    pub(crate) fn new<O: Resource<DynamicType = ()>>(
        manager: &'a Manager,
        recorder: &'a Recorder,
        owner: &O,
    ) -> Self {
        let about = ObjectReference { resource_version: None, ..reference(owner) };
        let namespace = owner.meta().namespace.clone().unwrap_or_default();
        Self { manager, recorder, about, namespace }
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.manager.client.clone(), &self.namespace)
    }

    /// Creates a pod; its revision.
    pub(crate) async fn create(&self, pod: &Pod) -> Result<String, Error> {
        match self.api().create(&PostParams::default(), pod).await {
            Ok(pod) => {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let told = format!("Created pod: {name}");
                self.recorder.event(&self.about, Type::Normal, "SuccessfulCreate", told);
                Ok(pod.metadata.resource_version.unwrap_or_default())
            }
            Err(error) => {
                if !is_namespace_terminating(&error) {
                    let told = format!("Error creating: {}", message(&error));
                    self.recorder.event(&self.about, Type::Warning, "FailedCreate", told);
                }
                Err(Error::request("create", format!("pod of {}/{}", self.namespace, self.owner()))(error))
            }
        }
    }

    /// Deletes a pod; the revision of its deletion. One that is gone is a success.
    pub(crate) async fn delete(&self, pod: &Pod) -> Result<String, Error> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let same = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let options = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
        match self.api().delete(name, &options).await {
            Ok(answer) => {
                let told = format!("Deleted pod: {name}");
                self.recorder.event(&self.about, Type::Normal, "SuccessfulDelete", told);
                Ok(answer.left().and_then(|pod| pod.metadata.resource_version).unwrap_or_default())
            }
            // Gone, or another pod of this name: either way the cache will tell.
            Err(error) if [404, 409].contains(&code(&error)) => Ok(String::new()),
            Err(error) => {
                let told = format!("Error deleting: {}", message(&error));
                self.recorder.event(&self.about, Type::Warning, "FailedDelete", told);
                Err(Error::request("delete", format!("pod {}/{name}", self.namespace))(error))
            }
        }
    }

    fn owner(&self) -> &str {
        self.about.name.as_deref().unwrap_or_default()
    }

    /// Creates these pods, few at first and more if that goes well: a quota that is used up is not asked 500 times.
    pub(crate) async fn create_all(&self, pods: Vec<Pod>) -> Outcome {
        slow_start(pods, |pod| async move { self.create(&pod).await }).await
    }

    /// Deletes these pods.
    pub(crate) async fn delete_all<P: AsRef<Pod>>(&self, pods: Vec<P>) -> Outcome {
        let mut outcome = Outcome::default();
        let deletions = pods.into_iter().map(|pod| async move { self.delete(pod.as_ref()).await });
        batch(deletions, &mut outcome).await;
        outcome
    }
}

/// Whether the namespace of a creation is going away: then there is nothing to retry.
pub(crate) fn is_pointless(error: &Error) -> bool {
    matches!(error, Error::Request(failed) if is_namespace_terminating(&failed.source))
}

/// Runs requests side by side, to the end of each.
async fn batch<F>(requests: impl IntoIterator<Item = F>, outcome: &mut Outcome)
where
    F: Future<Output = Result<String, Error>>,
{
    let mut running = futures::stream::iter(requests).buffer_unordered(CONCURRENT);
    while let Some(result) = running.next().await {
        outcome.add(result);
    }
}

/// Runs batches of 1, 2, 4, … as long as they succeed wholly.
pub(crate) async fn slow_start<T, F>(items: Vec<T>, act: impl Fn(T) -> F) -> Outcome
where
    F: Future<Output = Result<String, Error>>,
{
    let (mut outcome, mut size) = (Outcome::default(), FIRST_BATCH);
    let mut items = items.into_iter();
    while outcome.error.is_none() {
        let next: Vec<F> = items.by_ref().take(size).map(&act).collect();
        if next.is_empty() {
            break;
        }
        batch(next, &mut outcome).await;
        size *= 2;
    }
    outcome
}

/// A pod as a template wants it, controlled by `owner`; its name is generated from the owner's.
pub(crate) fn pod_from_template<O: Resource<DynamicType = ()>>(template: &PodTemplateSpec, owner: &O) -> Pod {
    let wanted = template.metadata.clone().unwrap_or_default();
    let name = owner.meta().name.as_deref().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: owner.meta().namespace.clone(),
            labels: wanted.labels,
            annotations: wanted.annotations,
            finalizers: wanted.finalizers,
            owner_references: Some(vec![owned::controller_reference(owner)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_slow_start_stops_at_the_batch_that_fails() {
        for (fails_from, tried, done) in [(usize::MAX, 20, 20), (0, 1, 0), (1, 3, 1), (5, 7, 5), (12, 15, 12)]
        {
            let calls = AtomicUsize::new(0);
            let outcome = slow_start((0..20).collect(), |item: usize| {
                calls.fetch_add(1, Ordering::SeqCst);
                async move {
                    if item >= fails_from {
                        return Err(Error::Discovery("no".to_owned()));
                    }
                    Ok((item + 1).to_string())
                }
            })
            .await;
            assert_eq!((calls.into_inner(), outcome.done), (tried, done), "{fails_from}");
            assert_eq!(outcome.error.is_some(), fails_from < 20);
            assert_eq!(outcome.revision, if done == 0 { String::new() } else { done.to_string() });
        }
    }
}
