//! CertificateSigningRequests: nodes' own are approved, approved ones are signed, old ones go.
//!
//! **Contract**: only the signers of `kubernetes.io/` are served; whoever has another signer brings its own controller.
//! A request that its signer must not sign gets the condition `Failed`, once.
//! **Upstream**: `pkg/controller/certificates/{approver,signer,cleaner}`.

mod plan;
mod request;
mod sign;

use crate::error::code;
use crate::workload::is_conflict;
use crate::{Error, Manager};
use client::{Action, Informer, Key, Queue, controller};
use k8s_openapi::ByteString;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use kube::api::{Api, DeleteParams, PostParams};
use plan::Verdict;
use request::Asked;
use std::sync::Arc;
use std::time::Duration;

/// Who signs, as upstream calls it.
pub const SIGNING: &str = "certificatesigningrequest-signing-controller";
/// Who approves.
pub const APPROVING: &str = "certificatesigningrequest-approving-controller";
/// Who deletes what is old.
pub const CLEANER: &str = "certificatesigningrequest-cleaner-controller";

/// Requests worked on at a time (upstream's each).
const WORKERS: usize = 5;
/// When somebody who may not have a certificate without being asked is looked at again: rights change without a word.
const REFUSED: Duration = Duration::from_mins(1);

async fn requests(manager: &Manager, queue: &Queue<Key>) -> Informer<CertificateSigningRequest> {
    let requests = manager.informers.of::<CertificateSigningRequest>();
    requests.feed(&manager.context, queue, |request| [Key::of(request)]);
    requests.synced().await;
    requests
}

/// Signs until the manager's context ends.
pub async fn run_signing(manager: Manager) {
    let Some(key) = &manager.config.signing_key else {
        tracing::info!("requests for certificates are not signed: there is no key of the CA");
        return;
    };
    let signer = match sign::Signer::new(&manager.config.root_ca, key) {
        Ok(signer) => Arc::new(signer),
        Err(error) => {
            tracing::error!(%error, "requests for certificates cannot be signed: the CA cannot be used");
            return;
        }
    };
    let queue = Queue::new(&manager.context.clock);
    let requests = requests(&manager, &queue).await;
    let context = manager.context.clone();
    controller::run(SIGNING, &context, WORKERS, queue, move |key: Key| {
        let (manager, signer, request) = (manager.clone(), signer.clone(), requests.get_key(&key));
        async move {
            match request {
                Some(request) => sign_one(&manager, &signer, &request).await,
                None => Ok(Action::Done),
            }
        }
    })
    .await;
}

async fn sign_one(
    manager: &Manager,
    signer: &sign::Signer,
    request: &CertificateSigningRequest,
) -> Result<Action, Error> {
    if !plan::waits_for_a_certificate(request) {
        return Ok(Action::Done);
    }
    let now = manager.context.clock.now();
    let mut changed = request.clone();
    let status = changed.status.get_or_insert_default();
    match Asked::of(request).and_then(|asked| {
        plan::check(&request.spec, &asked)?;
        signer.sign(&request.spec, &asked, now, &manager.context.rng).map_err(|error| error.to_string())
    }) {
        Ok(pem) => status.certificate = Some(ByteString(pem.into_bytes())),
        Err(why) => {
            let failed = plan::condition("Failed", "SignerValidationFailure", &why, now);
            status.conditions.get_or_insert_default().push(failed);
        }
    }
    let name = request.metadata.name.as_deref().unwrap_or_default();
    let api = Api::<CertificateSigningRequest>::all(manager.client.clone());
    written("update the status of", name, api.replace_status(name, &PostParams::default(), &changed).await)
}

/// Approves until the manager's context ends.
pub async fn run_approving(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let requests = requests(&manager, &queue).await;
    let context = manager.context.clone();
    controller::run(APPROVING, &context, WORKERS, queue, move |key: Key| {
        let (manager, request) = (manager.clone(), requests.get_key(&key));
        async move {
            match request {
                Some(request) => approve_one(&manager, &request).await,
                None => Ok(Action::Done),
            }
        }
    })
    .await;
}

async fn approve_one(manager: &Manager, request: &CertificateSigningRequest) -> Result<Action, Error> {
    if plan::verdict(request) != Verdict::Pending {
        return Ok(Action::Done);
    }
    let Ok(asked) = Asked::of(request) else { return Ok(Action::Done) };
    let name = request.metadata.name.as_deref().unwrap_or_default();
    let recognized = plan::recognized(&request.spec, &asked);
    for kind in &recognized {
        if !is_allowed(manager, request, kind.subresource).await? {
            continue;
        }
        let approved: CertificateSigningRequestCondition =
            plan::condition("Approved", "AutoApproved", kind.message, manager.context.clock.now());
        let mut changed = request.clone();
        changed.status.get_or_insert_default().conditions.get_or_insert_default().push(approved);
        let api = Api::<CertificateSigningRequest>::all(manager.client.clone());
        let answer = api.replace_subresource("approval", name, &PostParams::default(), &changed).await;
        return written("approve", name, answer);
    }
    Ok(if recognized.is_empty() { Action::Done } else { Action::RequeueAfter(REFUSED) })
}

/// Whether whoever asks may have such a certificate without anybody being asked.
async fn is_allowed(
    manager: &Manager,
    request: &CertificateSigningRequest,
    subresource: &str,
) -> Result<bool, Error> {
    let review = plan::review(&request.spec, subresource);
    let api = Api::<SubjectAccessReview>::all(manager.client.clone());
    let answer = api.create(&PostParams::default(), &review).await;
    let answer = answer.map_err(Error::request("create", "subject access review"))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// Deletes what is old until the manager's context ends.
pub async fn run_cleaner(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let requests = requests(&manager, &queue).await;
    let context = manager.context.clone();
    controller::run(CLEANER, &context, 1, queue, move |key: Key| {
        let (manager, request) = (manager.clone(), requests.get_key(&key));
        async move {
            let Some(request) = request else { return Ok(Action::Done) };
            let Some(end) = plan::end(&request) else { return Ok(Action::Done) };
            let left = end.duration_since(manager.context.clock.now());
            if let Some(left) = Duration::try_from(left).ok().filter(|left| !left.is_zero()) {
                return Ok(Action::RequeueAfter(left));
            }
            let api = Api::<CertificateSigningRequest>::all(manager.client.clone());
            match api.delete(&key.name, &DeleteParams::default()).await {
                Err(error) if code(&error) != 404 => {
                    Err(Error::request("delete", format!("certificate signing request {key}"))(error))
                }
                _ => Ok(Action::Done),
            }
        }
    })
    .await;
}

/// What a write came to: who lost it to a newer version, or to a deletion, has nothing left to do.
fn written<T>(verb: &'static str, name: &str, answer: kube::Result<T>) -> Result<Action, Error> {
    match answer {
        Err(error) if is_conflict(&error) || code(&error) == 404 => Ok(Action::Done),
        Err(error) => Err(Error::request(verb, format!("certificate signing request {name}"))(error)),
        Ok(_) => Ok(Action::Done),
    }
}
