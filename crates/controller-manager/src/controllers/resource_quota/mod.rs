//! What a ResourceQuota says is used is what there is.
//!
//! **Contract**: what is used is counted from lists read after the quota was, and written only if the quota did not change
//! meanwhile: nothing that admission charged in between is lost. Only kinds that a quota names are watched.
//! **Not here**: refusing what is too much (the API server); what an object counts for (`api::quota`).
//! **Upstream**: `pkg/controller/resourcequota`.

mod plan;

use crate::discovery::{self, Resource};
use crate::error::code;
use crate::workload::is_conflict;
use crate::{Error, Manager};
use client::{Action, AnyObject, Delta, Informer, Key, Queue, controller};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaStatus, Service};
use kube::api::{Api, PostParams};
use plan::{Found, KindName};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// As upstream calls it.
pub const NAME: &str = "resourcequota-controller";

/// Quotas worked on at a time (`--concurrent-resource-quota-syncs`).
const WORKERS: usize = 5;
/// After this long a quota is counted again, whatever happened (`--resource-quota-sync-period`).
const RESYNC: Duration = Duration::from_mins(5);
/// So long further changes are waited for, that a thousand deletions are not a thousand counts.
const GATHERING: Duration = Duration::from_millis(100);

struct Shell {
    manager: Manager,
    quotas: Informer<ResourceQuota>,
    queue: Queue<Key>,
    /// Kinds of whose changes the queue is told.
    watched: Mutex<HashSet<KindName>>,
}

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let quotas = manager.informers.of::<ResourceQuota>();
    follow(&manager, &quotas, &queue);
    quotas.synced().await;
    let shell = Shell { manager: manager.clone(), quotas, queue: queue.clone(), watched: Mutex::default() };
    let shell = Arc::new(shell);
    controller::run(NAME, &manager.context, WORKERS, queue, move |key: Key| {
        let shell = shell.clone();
        async move { shell.reconcile(&key).await }
    })
    .await;
}

/// Queues quotas that are new or have other limits; their status is this controller's own work.
fn follow(manager: &Manager, quotas: &Informer<ResourceQuota>, queue: &Queue<Key>) {
    let (mut changes, queue) = (quotas.subscribe(), queue.clone());
    manager.context.shutdown.spawn(async move {
        while let Some(delta) = changes.recv().await {
            match delta {
                Delta::Added(quota) => queue.add(Key::of(quota.as_ref())),
                Delta::Updated { old, new } if old.spec != new.spec || plan::is_stale(&new) => {
                    queue.add(Key::of(new.as_ref()));
                }
                _ => {}
            }
        }
    });
}

impl Shell {
    async fn reconcile(&self, key: &Key) -> Result<Action, Error> {
        let Some(quota) = self.quotas.get_key(key) else { return Ok(Action::Done) };
        let hard = plan::hard(&quota);
        let spec = serde_json::to_value(&quota.spec).unwrap_or_default();
        let mut found = Vec::new();
        for resource in self.resources(plan::kinds(&hard)).await? {
            self.watch(&resource);
            found.push(self.find(&resource, &key.namespace).await?);
        }
        let used = plan::used(&spec, &hard, &found, self.manager.context.clock.now());
        if let Some(status) = plan::changed(&quota, used) {
            self.write(&quota, status).await?;
        }
        Ok(Action::RequeueAfter(RESYNC))
    }

    /// Where the objects of these kinds are; kinds that the server does not have are left out.
    async fn resources(&self, kinds: Vec<KindName>) -> Result<Vec<Resource>, Error> {
        if kinds.is_empty() {
            return Ok(Vec::new());
        }
        let (known, _) = discovery::discover(&self.manager.client).await?;
        let is_wanted = |resource: &Resource| {
            resource.namespaced
                && resource.can("list")
                && kinds.iter().any(|kind| kind.group == resource.group && kind.plural == resource.plural)
        };
        Ok(known.into_iter().filter(is_wanted).collect())
    }

    async fn find(&self, resource: &Resource, namespace: &str) -> Result<Found, Error> {
        #[derive(Deserialize)]
        struct List {
            #[serde(default)]
            metadata: ListMeta,
            #[serde(default)]
            items: Vec<Value>,
        }
        #[derive(Default, Deserialize)]
        struct ListMeta {
            #[serde(default, rename = "remainingItemCount")]
            remaining: i64,
        }
        let kind = KindName::of(resource);
        let path = resource.path(namespace);
        // Of kinds that only count, one object and the number of the others say it all.
        let query = if kind.only_counts() { "?limit=1" } else { "" };
        let request = http::Request::get(format!("{path}{query}")).body(Vec::new());
        let request = request.expect("a path of names makes a request");
        let list =
            self.manager.client.request::<List>(request).await.map_err(Error::request("list", path))?;
        Ok(match kind.only_counts() {
            true => {
                let items = i64::try_from(list.items.len()).unwrap_or(i64::MAX);
                Found::Count(kind, items.saturating_add(list.metadata.remaining))
            }
            false => Found::Objects(kind, list.items),
        })
    }

    /// Hears of changes to a kind from now on.
    fn watch(&self, resource: &Resource) {
        let kind = KindName::of(resource);
        if !self.watched.lock().unwrap_or_else(PoisonError::into_inner).insert(kind.clone()) {
            return;
        }
        let informers = &self.manager.informers;
        match (resource.group.as_str(), resource.plural.as_str()) {
            ("", "pods") => self.hear(&informers.of::<Pod>(), kind, plan::is_other_pod),
            ("", "services") => self.hear(&informers.of::<Service>(), kind, |old, new| old.spec != new.spec),
            ("", "persistentvolumeclaims") => {
                self.hear(&informers.of::<PersistentVolumeClaim>(), kind, |old, new| {
                    old.spec != new.spec || old.status != new.status
                });
            }
            _ => {
                let counts = kind.only_counts();
                let informer = informers.metadata(&resource.all());
                self.hear::<AnyObject>(&informer, kind, move |_, _| !counts);
            }
        }
    }

    fn hear<K: client::Watched>(
        &self,
        informer: &Informer<K>,
        kind: KindName,
        differs: impl Fn(&K, &K) -> bool + Send + 'static,
    ) {
        let (mut changes, queue, quotas) = (informer.subscribe(), self.queue.clone(), self.quotas.clone());
        self.manager.context.shutdown.spawn(async move {
            while let Some(delta) = changes.recv().await {
                let object = match &delta {
                    Delta::Added(object) | Delta::Deleted(object) => object,
                    Delta::Updated { old, new } if differs(old, new) => new,
                    _ => continue,
                };
                let namespace = Key::of(object.as_ref()).namespace;
                for quota in quotas.list_in(&namespace).iter().filter(|quota| plan::measures(quota, &kind)) {
                    queue.add_after(Key::of(quota.as_ref()), GATHERING);
                }
            }
        });
    }

    async fn write(&self, quota: &ResourceQuota, status: ResourceQuotaStatus) -> Result<(), Error> {
        let key = Key::of(quota);
        let api = Api::<ResourceQuota>::namespaced(self.manager.client.clone(), &key.namespace);
        let changed = ResourceQuota { status: Some(status), ..quota.clone() };
        match api.replace_status(&key.name, &PostParams::default(), &changed).await {
            Ok(written) => {
                let revision = written.metadata.resource_version.unwrap_or_default();
                self.quotas.caught_up(&revision).await;
                Ok(())
            }
            // Admission was faster; what it charged is counted in the next round.
            Err(error) if is_conflict(&error) => {
                self.queue.add_after(key, GATHERING);
                Ok(())
            }
            Err(error) if code(&error) == 404 => Ok(()),
            Err(error) => Err(Error::request("update", format!("the status of resource quota {key}"))(error)),
        }
    }
}
