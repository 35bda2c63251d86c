//! APIServices of what this server serves itself: of built-in groups from the start, of custom ones as definitions come
//! and go.
//!
//! **Contract**: an APIService that is not labelled as kept by the server is let alone: somebody else answers for it.
//! **Upstream**: `kube-aggregator/pkg/controllers/autoregister`, `pkg/controlplane/controller/crdregistration`,
//! `pkg/controlplane/apiserver/aggregator.go` (the priorities).

use super::{GROUP, SERVICES};
use crate::admission::Lookup;
use crate::computed::resource_metrics;
use crate::registry::{DeleteOptions, Registry, UpdateOptions, WriteOptions, loopback_user};
use crate::server::Server;
use crate::upkeep::{At, Followed, RETRY_PAUSE, amend};
use crate::watch_cache::Selection;
use api::kind::Resource;
use api::status::Status;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Says that the server keeps an APIService: made at its start, or as long as what it stands for is there.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const AT_START: &str = "onstart";
const ALWAYS: &str = "true";
/// The priorities of custom groups and of their versions.
const CUSTOM: (i64, i64) = (1000, 100);

/// Group, version, the group's priority, the version's.
const BUILT_IN: [(&str, &str, i64, i64); 20] = [
    ("", "v1", 18_000, 1),
    ("apps", "v1", 17_800, 15),
    ("events.k8s.io", "v1", 17_750, 15),
    ("authentication.k8s.io", "v1", 17_700, 15),
    ("authorization.k8s.io", "v1", 17_600, 15),
    ("autoscaling", "v1", 17_500, 15),
    ("autoscaling", "v2", 17_500, 30),
    ("batch", "v1", 17_400, 15),
    ("certificates.k8s.io", "v1", 17_300, 15),
    ("networking.k8s.io", "v1", 17_200, 15),
    ("policy", "v1", 17_100, 15),
    ("rbac.authorization.k8s.io", "v1", 17_000, 15),
    ("storage.k8s.io", "v1", 16_800, 15),
    ("admissionregistration.k8s.io", "v1", 16_700, 15),
    ("apiextensions.k8s.io", "v1", 16_700, 15),
    ("scheduling.k8s.io", "v1", 16_600, 15),
    ("coordination.k8s.io", "v1", 16_500, 15),
    ("node.k8s.io", "v1", 16_300, 15),
    ("discovery.k8s.io", "v1", 16_200, 15),
    ("flowcontrol.apiserver.k8s.io", "v1", 16_100, 21),
];
/// Of groups that came after these.
const NEWER: [(&str, &str, i64, i64); 1] = [("resource.k8s.io", "v1", 15_900, 15)];

/// Those of built-in groups.
pub(crate) fn built_in() -> impl Iterator<Item = (&'static str, &'static str, Value)> {
    BUILT_IN.iter().chain(&NEWER).map(|(group, version, of_group, of_version)| {
        (GROUP, SERVICES, service(group, version, (*of_group, *of_version), AT_START))
    })
}

fn service(group: &str, version: &str, (of_group, of_version): (i64, i64), managed: &str) -> Value {
    let mut spec =
        json!({"version": version, "groupPriorityMinimum": of_group, "versionPriority": of_version});
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    json!({
        "kind": "APIService",
        "apiVersion": format!("{GROUP}/v1"),
        "metadata": {"name": format!("{version}.{group}"), "labels": {MANAGED: managed}},
        "spec": spec,
    })
}

/// Begins to keep those of custom groups.
pub(crate) fn follow(server: &Arc<Server>) {
    let what = vec![(GROUP.to_owned(), SERVICES.to_owned(), Selection::namespace(""))];
    let mut kinds = server.registry.kinds_followed();
    let mut followed = Followed::new(&server.registry, what);
    let (registry, clock) = (Arc::clone(&server.registry), server.context.clock.clone());
    server.context.shutdown.spawn(async move {
        loop {
            while let Err(status) = keep(&registry).await {
                tracing::warn!(message = status.message, "cannot register a group of custom resources");
                clock.sleep(RETRY_PAUSE).await;
            }
            tokio::select! {
                () = followed.changed(&clock) => {}
                _ = kinds.changed() => {}
            }
        }
    });
}

async fn keep(registry: &Registry) -> Result<(), Status> {
    let wanted = wanted(registry);
    registry.ensure(wanted.values().map(|service| (GROUP, SERVICES, service.clone())).collect()).await?;
    for present in registry.list(GROUP, SERVICES, "") {
        if api::meta::label(&present, MANAGED) != Some(ALWAYS) {
            continue;
        }
        let name = api::meta::name(&present);
        match wanted.get(name) {
            Some(service) => {
                let change = |existing: &Value| {
                    let mut object = existing.clone();
                    object["spec"] = service["spec"].clone();
                    (object != *existing).then_some(object)
                };
                amend(registry, At::of(GROUP, SERVICES, &present), UpdateOptions::Object, &change).await?;
            }
            None => delete(registry, &present).await?,
        }
    }
    Ok(())
}

/// What there must be, by name.
fn wanted(registry: &Registry) -> BTreeMap<String, Value> {
    let mut wanted: BTreeMap<String, Value> = BTreeMap::new();
    let mut add = |service: Value| drop(wanted.insert(api::meta::name(&service).to_owned(), service));
    let own = resource_metrics::objects().into_iter().filter(|(_, plural, _)| *plural == SERVICES);
    own.for_each(|(_, _, service)| add(service));
    for store in registry.stores() {
        for version in
            store.versions().iter().filter(|version| version.is_served() && version.published().is_some())
        {
            let Resource { group, version, .. } = version.resource();
            if BUILT_IN.iter().chain(&NEWER).all(|(built_in, ..)| built_in != group) {
                add(service(group, version, CUSTOM, ALWAYS));
            }
        }
    }
    wanted
}

async fn delete(registry: &Registry, service: &Value) -> Result<(), Status> {
    let Some(store) = registry.store(GROUP, SERVICES) else { return Ok(()) };
    let user = loopback_user();
    let mut options = WriteOptions::new(&user);
    match store.delete(&mut options, "", api::meta::name(service), &DeleteOptions::default()).await {
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(()),
    }
}
