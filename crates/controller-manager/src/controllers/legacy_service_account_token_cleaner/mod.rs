//! Tokens that were made for service accounts and kept in Secrets go when nobody uses them: unused for a year they are
//! marked as invalid, and after another year the Secret is deleted.
//!
//! **Not here**: who writes down the last use, and refuses marked tokens (the API server's `legacy_token`).
//! **Upstream**: `pkg/controller/serviceaccount/legacy_serviceaccount_token_cleaner.go`.

mod plan;

use crate::controllers::service_account_token::{TYPE, account_of};
use crate::error::code;
use crate::{Error, Manager};
use client::{Action, Informer, Key, Queue, Selection, controller};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use plan::{Period, Step};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// As upstream calls it.
pub const NAME: &str = "legacy-serviceaccount-token-cleaner-controller";

/// Since when uses are written down.
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";
/// **Upstream**: `DefaultCleanerSyncInterval`.
const SYNC_PERIOD: Duration = Duration::from_hours(24);

/// What is looked at.
struct Watched {
    secrets: Informer<Secret>,
    accounts: Informer<ServiceAccount>,
    pods: Informer<Pod>,
}

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let selection = Selection::all().fields(&format!("type={TYPE}"));
    let watched = Watched {
        secrets: manager.informers.select(selection),
        accounts: manager.informers.of(),
        pods: manager.informers.of(),
    };
    watched.secrets.synced().await;
    watched.accounts.synced().await;
    watched.pods.synced().await;
    let watched = std::sync::Arc::new(watched);
    let queue = Queue::new(&manager.context.clock);
    queue.add(Key::cluster(TRACKING));
    let context = manager.context.clone();
    controller::run(NAME, &context, 1, queue, move |_: Key| {
        let (manager, watched) = (manager.clone(), watched.clone());
        async move {
            evaluate(&manager, &watched).await?;
            Ok::<_, Error>(Action::RequeueAfter(SYNC_PERIOD))
        }
    })
    .await;
}

async fn evaluate(manager: &Manager, watched: &Watched) -> Result<(), Error> {
    let maps = Api::<ConfigMap>::namespaced(manager.client.clone(), "kube-system");
    let map =
        maps.get_opt(TRACKING).await.map_err(Error::request("get", format!("config map {TRACKING}")))?;
    let since = map.and_then(|map| map.data?.remove("since")).unwrap_or_default();
    let Some(period) =
        Period::before(manager.context.clock.now(), &since, manager.config.legacy_token_clean_up_period)
    else {
        return Ok(());
    };
    let mut mounted: HashMap<String, BTreeSet<String>> = HashMap::new();
    for secret in watched.secrets.list() {
        let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        let account = account_of(&secret).and_then(|account| watched.accounts.get(namespace, account));
        let step = plan::step(&secret, account.as_deref(), &period);
        if step == Step::Leave {
            continue;
        }
        let mounted = mounted.entry(namespace.to_owned()).or_insert_with(|| {
            watched.pods.list_in(namespace).iter().flat_map(|pod| plan::secret_names(pod)).collect()
        });
        if !mounted.contains(name) {
            carry_out(manager, &secret, namespace, name, step).await?;
        }
    }
    Ok(())
}

async fn carry_out(
    manager: &Manager,
    secret: &Secret,
    namespace: &str,
    name: &str,
    step: Step,
) -> Result<(), Error> {
    let api = Api::<Secret>::namespaced(manager.client.clone(), namespace);
    let (verb, answer) = match step {
        Step::Leave => return Ok(()),
        Step::Invalidate(day) => {
            tracing::info!(namespace, name, day, "marking the token of a service account as invalid");
            let change = json!({ "metadata": {
                "uid": secret.metadata.uid, "labels": { plan::INVALID_SINCE: day },
            }});
            let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await;
            ("patch", patched.map(|_| ()))
        }
        Step::Delete => {
            tracing::info!(namespace, name, "deleting the token of a service account");
            let preconditions =
                Preconditions { resource_version: secret.metadata.resource_version.clone(), uid: None };
            let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            ("delete", api.delete(name, &parameters).await.map(|_| ()))
        }
    };
    match answer {
        // It is gone or has changed: it is looked at the next time.
        Err(error) if [404, 409].contains(&code(&error)) => Ok(()),
        Err(error) => Err(Error::request(verb, format!("secret {namespace}/{name}"))(error)),
        Ok(()) => Ok(()),
    }
}
