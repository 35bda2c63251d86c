//! Every active namespace has a ConfigMap with the CA of the API server, as pods need it to talk to it.
//!
//! **Contract**: repaired when edited, made anew when deleted.
//! **Upstream**: `pkg/controller/certificates/rootcacertpublisher`.

mod plan;

use crate::error::{code, is_namespace_terminating};
use crate::{Error, Manager};
use client::{Action, Informer, Key, Queue, Selection, controller};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, PostParams};
use plan::Step;

/// As upstream calls it.
pub const NAME: &str = "root-ca-certificate-publisher-controller";

/// Namespaces worked on at a time.
const WORKERS: usize = 1;

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let namespaces = manager.informers.of::<Namespace>();
    let selection = Selection::all().fields(&format!("metadata.name={}", plan::CONFIG_MAP));
    let maps = manager.informers.select::<ConfigMap>(selection);
    namespaces.feed(&manager.context, &queue, |namespace| [Key::of(namespace)]);
    maps.feed(&manager.context, &queue, |map| map.metadata.namespace.clone().map(Key::cluster));
    namespaces.synced().await;
    maps.synced().await;
    let context = manager.context.clone();
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let (manager, namespaces, maps) = (manager.clone(), namespaces.clone(), maps.clone());
        async move { reconcile(&manager, &namespaces, &maps, &key.name).await }
    })
    .await;
}

async fn reconcile(
    manager: &Manager,
    namespaces: &Informer<Namespace>,
    maps: &Informer<ConfigMap>,
    name: &str,
) -> Result<Action, Error> {
    let (namespace, known) = (namespaces.get("", name), maps.get(name, plan::CONFIG_MAP));
    let step = plan::step(namespace.as_deref(), known.as_deref(), &manager.config.root_ca);
    let api = Api::<ConfigMap>::namespaced(manager.client.clone(), name);
    let (verb, result) = match &step {
        Step::Leave => return Ok(Action::Done),
        Step::Create(map) => ("create", api.create(&PostParams::default(), map).await),
        Step::Repair(map) => ("update", api.replace(plan::CONFIG_MAP, &PostParams::default(), map).await),
    };
    match result {
        // It exists already, is gone or has changed: the watch will tell.
        Err(error) if [404, 409].contains(&code(&error)) || is_namespace_terminating(&error) => {
            Ok(Action::Done)
        }
        Err(error) => Err(Error::request(verb, format!("config map {name}/{}", plan::CONFIG_MAP))(error)),
        Ok(_) => Ok(Action::Done),
    }
}
