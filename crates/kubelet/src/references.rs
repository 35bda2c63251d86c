//! The ConfigMaps and Secrets that pods refer to: one watch an object, while some pod of this node refers to it.
//!
//! **Contract**: a pod [`Held`]s what its spec names; two pods that name the same object share its watch, which ends
//! with the last of them. A change wakes the pods that hold the object. Nothing is listed or watched but single
//! objects by name, which is all that a node may read.
//! **Upstream**: `pkg/kubelet/util/manager` (the watch-based manager), `pkg/api/v1/pod.VisitPodSecretNames`.

use api::k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret};
use client::{Informer, Informers, Selection, Watched};
use component_base::Context;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a pod waits for the first answer about an object.
const SYNC_WAIT: Duration = Duration::from_secs(10);

/// Why an object's state is not known, or that it is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    /// The API server has no such object.
    #[error("{kind} \"{name}\" not found")]
    NotFound {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The API server has not answered.
    #[error("failed to sync {kind} cache: timed out waiting for the condition")]
    NotSynced {
        /// `configmap` or `secret`.
        kind: &'static str,
    },
}

/// The objects by name that a pod's spec refers to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) config_maps: BTreeSet<String>,
    pub(crate) secrets: BTreeSet<String>,
}

/// What a pod refers to; `volumes`: also by its volumes.
pub(crate) fn names(pod: &Pod, volumes: bool) -> Names {
    let mut found = Names::default();
    let Some(spec) = &pod.spec else { return found };
    let init = spec.init_containers.iter().flatten();
    for container in init.chain(&spec.containers) {
        of_environment(container, &mut found);
    }
    for container in crate::ephemeral::containers(spec) {
        of_environment(&container, &mut found);
    }
    found.secrets.extend(spec.image_pull_secrets.iter().flatten().map(|s| s.name.clone()));
    found.secrets.remove("");
    if !volumes {
        return found;
    }
    for volume in spec.volumes.iter().flatten() {
        found.config_maps.extend(volume.config_map.iter().map(|s| s.name.clone()));
        found.secrets.extend(volume.secret.iter().filter_map(|s| s.secret_name.clone()));
        let sources = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
        for source in sources {
            found.config_maps.extend(source.config_map.iter().map(|s| s.name.clone()));
            found.secrets.extend(source.secret.iter().map(|s| s.name.clone()));
        }
    }
    found
}

fn of_environment(container: &Container, found: &mut Names) {
    for from in container.env_from.iter().flatten() {
        found.config_maps.extend(from.config_map_ref.iter().map(|r| r.name.clone()));
        found.secrets.extend(from.secret_ref.iter().map(|r| r.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
        found.config_maps.extend(source.config_map_key_ref.iter().map(|r| r.name.clone()));
        found.secrets.extend(source.secret_key_ref.iter().map(|r| r.name.clone()));
    }
}

/// Namespace and name.
type Key = (String, String);
type Watches<K> = Mutex<HashMap<Key, Weak<Watch<K>>>>;

/// The watches of a node.
pub(crate) struct References {
    client: kube::Client,
    context: Context,
    config_maps: Watches<ConfigMap>,
    secrets: Watches<Secret>,
}

/// One object's watch; it ends with its value.
struct Watch<K> {
    context: Context,
    informer: Informer<K>,
}

impl<K> Drop for Watch<K> {
    fn drop(&mut self) {
        self.context.shutdown.trigger();
    }
}

impl References {
    pub(crate) fn new(client: kube::Client, context: Context) -> Self {
        Self { client, context, config_maps: Mutex::default(), secrets: Mutex::default() }
    }

    fn watch<K: Watched>(&self, all: &Watches<K>, namespace: &str, name: &str) -> Arc<Watch<K>> {
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(watch) = all.get(&key).and_then(Weak::upgrade) {
            return watch;
        }
        all.retain(|_, watch| watch.strong_count() > 0);
        let context = self.context.child();
        let selection = Selection::all().namespace(namespace).fields(&format!("metadata.name={name}"));
        let informer = Informers::new(self.client.clone(), &context).select::<K>(selection);
        let watch = Arc::new(Watch { context, informer });
        all.insert(key, Arc::downgrade(&watch));
        watch
    }
}

/// What one pod refers to.
pub(crate) struct Held {
    context: Context,
    namespace: String,
    wake: Arc<Notify>,
    changed: Arc<AtomicBool>,
    config_maps: BTreeMap<String, Arc<Watch<ConfigMap>>>,
    secrets: BTreeMap<String, Arc<Watch<Secret>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.context.shutdown.trigger();
    }
}

impl Held {
    /// Nothing yet. `wake` is told of every change.
    pub(crate) fn new(context: &Context, namespace: &str, wake: Arc<Notify>) -> Self {
        Self {
            context: context.child(),
            namespace: namespace.to_owned(),
            wake,
            changed: Arc::default(),
            config_maps: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }

    /// Begins to hold these objects. One that is no longer named stays until the pod goes.
    pub(crate) fn hold(&mut self, references: &References, names: &Names) {
        for name in &names.config_maps {
            if !self.config_maps.contains_key(name) {
                let watch = references.watch(&references.config_maps, &self.namespace, name);
                self.follow(&watch.informer);
                self.config_maps.insert(name.clone(), watch);
            }
        }
        for name in &names.secrets {
            if !self.secrets.contains_key(name) {
                let watch = references.watch(&references.secrets, &self.namespace, name);
                self.follow(&watch.informer);
                self.secrets.insert(name.clone(), watch);
            }
        }
    }

    fn follow<K: Watched>(&self, informer: &Informer<K>) {
        let mut changes = informer.subscribe();
        let (wake, changed) = (self.wake.clone(), self.changed.clone());
        self.context.shutdown.spawn(async move {
            while changes.recv().await.is_some() {
                changed.store(true, Ordering::Release);
                wake.notify_one();
            }
        });
    }

    /// Whether any object changed since this was asked last.
    pub(crate) fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }

    /// Waits until the API server has answered about every object, for a while.
    pub(crate) async fn synced(&self) {
        let all = async {
            for watch in self.config_maps.values() {
                watch.informer.synced().await;
            }
            for watch in self.secrets.values() {
                watch.informer.synced().await;
            }
        };
        tokio::select! {
            () = all => {}
            () = self.context.clock.sleep(SYNC_WAIT) => {}
        }
    }

    /// A ConfigMap that the pod refers to.
    pub(crate) fn config_map(&self, name: &str) -> Result<Arc<ConfigMap>, Missing> {
        read(self.config_maps.get(name), "configmap", &self.namespace, name)
    }

    /// A Secret that the pod refers to.
    pub(crate) fn secret(&self, name: &str) -> Result<Arc<Secret>, Missing> {
        read(self.secrets.get(name), "secret", &self.namespace, name)
    }
}

fn read<K: Watched>(
    watch: Option<&Arc<Watch<K>>>,
    kind: &'static str,
    namespace: &str,
    name: &str,
) -> Result<Arc<K>, Missing> {
    let informer = watch.map(|watch| &watch.informer);
    match informer.and_then(|informer| informer.get(namespace, name)) {
        Some(object) => Ok(object),
        None if informer.is_some_and(|informer| !informer.has_synced()) => Err(Missing::NotSynced { kind }),
        None => Err(Missing::NotFound { kind, name: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finds_every_reference() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {
            "imagePullSecrets": [{"name": "pull"}, {"name": ""}],
            "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "from"}}, {"secretRef": {"name": "s-from"}}]}],
            "containers": [{"name": "c", "env": [
                {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "key", "key": "k"}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s-key", "key": "k"}}}]}],
            "volumes": [
                {"name": "a", "configMap": {"name": "vol"}},
                {"name": "b", "secret": {"secretName": "s-vol"}},
                {"name": "c", "projected": {"sources": [{"configMap": {"name": "pro"}}, {"secret": {"name": "s-pro"}}]}}]
        }}))
        .expect("a pod");
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
        let all = names(&pod, true);
        assert_eq!(list(&all.config_maps), "from key pro vol");
        assert_eq!(list(&all.secrets), "pull s-from s-key s-pro s-vol");
        let without = names(&pod, false);
        assert_eq!(list(&without.config_maps), "from key");
        assert_eq!(list(&without.secrets), "pull s-from s-key");
    }
}
