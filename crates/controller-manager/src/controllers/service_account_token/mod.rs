//! Secrets of the type `kubernetes.io/service-account-token` get a token of their account, and go with it.
//!
//! **Contract**: a Secret whose account is not known is deleted only when the API server says that there is none.
//! **Not here**: tokens that end by themselves (the API server's `serviceaccounts/token`).
//! **Upstream**: `pkg/controller/serviceaccount/tokens_controller.go`.

mod plan;

use crate::error::code;
use crate::{Error, Manager};
use client::{Action, Informer, Key, Queue, Selection, controller};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use plan::Step;
pub(super) use plan::{TYPE, account_of};
use std::sync::Arc;

/// As upstream calls it.
pub const NAME: &str = "serviceaccount-token-controller";

/// Secrets worked on at a time.
const WORKERS: usize = 1;

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let Some(key) = &manager.config.token_key else {
        return tracing::warn!("{NAME} is not running: there is no private key for tokens");
    };
    let key = match EncodingKey::from_ec_pem(key.as_bytes()) {
        Ok(key) => Arc::new(key),
        Err(error) => return tracing::error!(%error, "{NAME} is not running: the private key cannot be used"),
    };
    let queue = Queue::new(&manager.context.clock);
    let selection = Selection::all().fields(&format!("type={}", plan::TYPE));
    let secrets = manager.informers.select::<Secret>(selection);
    let accounts = manager.informers.of::<ServiceAccount>();
    secrets.feed(&manager.context, &queue, |secret| [Key::of(secret)]);
    accounts.feed(&manager.context, &queue, {
        let secrets = secrets.clone();
        move |account: &ServiceAccount| {
            let namespace = account.metadata.namespace.as_deref().unwrap_or_default();
            let of = secrets.list_in(namespace).into_iter().filter(|secret| {
                plan::account_of(secret).is_some_and(|name| account.metadata.name.as_deref() == Some(name))
            });
            of.map(|secret| Key::of(&*secret)).collect::<Vec<_>>()
        }
    });
    secrets.synced().await;
    accounts.synced().await;
    let context = manager.context.clone();
    controller::run(NAME, &context, WORKERS, queue, move |name: Key| {
        let (manager, key) = (manager.clone(), key.clone());
        let (secrets, accounts) = (secrets.clone(), accounts.clone());
        async move { reconcile(&manager, &key, &secrets, &accounts, &name).await }
    })
    .await;
}

async fn reconcile(
    manager: &Manager,
    key: &EncodingKey,
    secrets: &Informer<Secret>,
    accounts: &Informer<ServiceAccount>,
    name: &Key,
) -> Result<Action, Error> {
    let Some(secret) = secrets.get(&name.namespace, &name.name) else { return Ok(Action::Done) };
    let Some(account) = plan::account_of(&secret) else { return Ok(Action::Done) };
    let root_ca = &manager.config.root_ca;
    let mut step = plan::step(&secret, accounts.get(&name.namespace, account).as_deref(), root_ca);
    if step == Step::Delete {
        let all = Api::<ServiceAccount>::namespaced(manager.client.clone(), &name.namespace);
        let now = all
            .get_opt(account)
            .await
            .map_err(Error::request("get", format!("service account {account}")))?;
        step = plan::step(&secret, now.as_ref(), root_ca);
    }
    let api = Api::<Secret>::namespaced(manager.client.clone(), &name.namespace);
    let (verb, result) = match step {
        Step::Leave => return Ok(Action::Done),
        Step::Delete => {
            let preconditions = Preconditions {
                uid: secret.metadata.uid.clone(),
                resource_version: secret.metadata.resource_version.clone(),
            };
            let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            ("delete", api.delete(&name.name, &parameters).await.map(|_| ()))
        }
        Step::Fill { secret, token } => {
            let filled = match token {
                None => *secret,
                Some(claims) => {
                    let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, key);
                    plan::with_token(*secret, &token.map_err(Error::Sign)?)
                }
            };
            ("update", api.replace(&name.name, &PostParams::default(), &filled).await.map(|_| ()))
        }
    };
    match result {
        // It is gone or has changed: the watch will tell.
        Err(error) if [404, 409].contains(&code(&error)) => Ok(Action::Done),
        Err(error) => Err(Error::request(verb, format!("secret {}/{}", name.namespace, name.name))(error)),
        Ok(()) => Ok(Action::Done),
    }
}
