//! Every active namespace has a ServiceAccount `default`.
//!
//! **Upstream**: `pkg/controller/serviceaccount/serviceaccounts_controller.go`.

mod plan;

use crate::error::{code, is_namespace_terminating};
use crate::{Error, Manager};
use client::{Action, Informer, Key, Queue, Selection, controller};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, PostParams};

/// As upstream calls it.
pub const NAME: &str = "serviceaccount-controller";

/// Namespaces worked on at a time.
const WORKERS: usize = 1;

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let namespaces = manager.informers.of::<Namespace>();
    let selection = Selection::all().fields(&format!("metadata.name={}", plan::DEFAULT));
    let accounts = manager.informers.select::<ServiceAccount>(selection);
    namespaces.feed(&manager.context, &queue, |namespace| [Key::of(namespace)]);
    accounts.feed(&manager.context, &queue, |account| account.metadata.namespace.clone().map(Key::cluster));
    namespaces.synced().await;
    accounts.synced().await;
    let context = manager.context.clone();
    controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let (client, namespaces, accounts) = (manager.client.clone(), namespaces.clone(), accounts.clone());
        async move { reconcile(client, &namespaces, &accounts, &key.name).await }
    })
    .await;
}

async fn reconcile(
    client: kube::Client,
    namespaces: &Informer<Namespace>,
    accounts: &Informer<ServiceAccount>,
    name: &str,
) -> Result<Action, Error> {
    let namespace = namespaces.get("", name);
    let account = accounts.get(name, plan::DEFAULT);
    let Some(missing) = plan::missing(namespace.as_deref(), account.as_deref()) else {
        return Ok(Action::Done);
    };
    match Api::namespaced(client, name).create(&PostParams::default(), &missing).await {
        Err(error) if [404, 409].contains(&code(&error)) || is_namespace_terminating(&error) => {
            Ok(Action::Done)
        }
        Err(error) => {
            Err(Error::request("create", format!("service account {name}/{}", plan::DEFAULT))(error))
        }
        Ok(_) => Ok(Action::Done),
    }
}
