//! Pods get the resource claims that they have templates for; claims lose what no pod uses any more.
//!
//! **Contract**: a pod that is not known here is asked for before it loses a claim. What a pod has got it keeps until none
//! of its containers can run.
//! **Not here**: which devices a claim gets (the scheduler).
//! **Upstream**: `pkg/controller/resourceclaim`.

mod plan;

use crate::error::{code, is_namespace_terminating};
use crate::workload::{is_conflict, message, owned};
use crate::{Error, Manager};
use api::resource_claim::{FINALIZER, consumer, extended_claim, named, of_pod};
use client::events::Type;
use client::{Action, Index, Informer, Key, Queue, Recorder, controller};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use plan::{ClaimPlan, PodPlan};
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// As upstream calls it.
pub const NAME: &str = "resourceclaim-controller";

/// Pods and claims worked on at a time (`--concurrent-resource-claim-syncs`).
const WORKERS: usize = 50;

/// What there is to work on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    Pod(Key),
    Claim(Key),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(key) => write!(f, "pod:{key}"),
            Self::Claim(key) => write!(f, "claim:{key}"),
        }
    }
}

/// What the reconcilers see and write with.
#[derive(Clone)]
struct Claims {
    client: kube::Client,
    recorder: Recorder,
    pods: Informer<Pod>,
    claims: Informer<ResourceClaim>,
    templates: Informer<ResourceClaimTemplate>,
    /// By the UID of the pod that they were made for.
    by_owner: Index<ResourceClaim>,
}

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let (pods, claims) = (manager.informers.of::<Pod>(), manager.informers.of::<ResourceClaim>());
    let templates = manager.informers.of::<ResourceClaimTemplate>();
    let by_claim = pods.index("resource claim", |pod| names(pod).map(|key| key.to_string()).collect());
    let by_template = pods.index("resource claim template", |pod| {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let names = of_pod(pod).iter().filter_map(|entry| entry.resource_claim_template_name.as_deref());
        names.map(|name| format!("{namespace}/{name}")).collect()
    });
    let by_owner = claims.index("pod", |claim| {
        let owner = owned::controller_of(claim).filter(|owner| owner.kind == "Pod");
        owner.map(|owner| owner.uid.clone()).into_iter().collect()
    });
    pods.feed(&manager.context, &queue, |pod| {
        let own = (!of_pod(pod).is_empty()).then(|| Work::Pod(Key::of(pod)));
        own.into_iter().chain(names(pod).map(Work::Claim)).collect::<Vec<_>>()
    });
    claims.feed(&manager.context, &queue, move |claim| {
        let key = Key::of(claim);
        let users = by_claim.get(&key.to_string()).into_iter().map(|pod| Work::Pod(Key::of(pod.as_ref())));
        let owner = owned::controller_key::<Pod, _>(claim).map(Work::Pod);
        let mut all: Vec<_> = users.chain(owner).collect();
        all.push(Work::Claim(key));
        all
    });
    templates.feed(&manager.context, &queue, move |template| {
        let pods = by_template.get(&Key::of(template).to_string());
        pods.into_iter().map(|pod| Work::Pod(Key::of(pod.as_ref()))).collect::<Vec<_>>()
    });
    pods.synced().await;
    claims.synced().await;
    templates.synced().await;
    let recorder = Recorder::new(manager.client.clone(), "resource_claim", None, &manager.context);
    let this = Claims { client: manager.client, recorder, pods, claims, templates, by_owner };
    controller::run(NAME, &manager.context, WORKERS, queue, move |work: Work| {
        let this = this.clone();
        async move {
            match work {
                Work::Pod(key) => this.reconcile_pod(&key).await?,
                Work::Claim(key) => this.reconcile_claim(&key).await?,
            }
            Ok::<_, Error>(Action::Done)
        }
    })
    .await;
}

/// The claims that a pod uses, as far as they have names.
fn names(pod: &Pod) -> impl Iterator<Item = Key> + '_ {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let names = of_pod(pod).iter().filter_map(|entry| named(pod, entry).name());
    names.chain(extended_claim(pod)).map(move |name| Key::new(namespace, name))
}

impl Claims {
    fn api(&self, namespace: &str) -> Api<ResourceClaim> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// A pod: makes its claims, and writes down which they are.
    async fn reconcile_pod(&self, key: &Key) -> Result<(), Error> {
        let Some(pod) = self.pods.get_key(key) else { return Ok(()) };
        let owned = self.by_owner.get(pod.metadata.uid.as_deref().unwrap_or_default());
        let find = |name: &str| self.claims.get(&key.namespace, name);
        let PodPlan { make, mut record, reserve } = plan::of_a_pod(&pod, find, &owned);
        for (entry, template) in make {
            match self.make(&pod, &entry, &template).await {
                Ok(Some(name)) => record.push((entry, name)),
                Ok(None) => return Ok(()),
                Err((told, error)) => {
                    let told = format!("PodResourceClaim {entry}: {told}");
                    self.recorder.on(&*pod, Type::Warning, "FailedResourceClaimCreation", told);
                    return Err(error);
                }
            }
        }
        if !record.is_empty() {
            self.record(&pod, &record).await?;
        }
        for name in reserve {
            self.reserve(&pod, &name).await?;
        }
        Ok(())
    }

    /// Makes a claim; nothing if its namespace goes. A failure comes with how the pod is told.
    async fn make(&self, pod: &Pod, entry: &str, template: &str) -> Result<Option<String>, (String, Error)> {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let Some(template) = self.templates.get(&namespace, template) else {
            let missing = format!("resourceclaimtemplate.resource.k8s.io \"{template}\" not found");
            return Err((
                format!("resource claim template \"{template}\": {missing}"),
                Error::Missing(missing),
            ));
        };
        let claim = plan::made(pod, entry, &template);
        match self.api(&namespace).create(&PostParams::default(), &claim).await {
            Ok(made) => {
                self.claims.caught_up(made.metadata.resource_version.as_deref().unwrap_or_default()).await;
                Ok(made.metadata.name)
            }
            Err(error) if is_namespace_terminating(&error) => Ok(None),
            Err(error) => {
                let told = format!("create ResourceClaim : {}", message(&error));
                Err((told, Error::request("create claim", format!("of pod {}", Key::of(pod)))(error)))
            }
        }
    }

    async fn record(&self, pod: &Pod, record: &[(String, String)]) -> Result<(), Error> {
        let Key { namespace, name } = Key::of(pod);
        let entry = |(name, claim): &(String, String)| json!({"name": name, "resourceClaimName": claim});
        let statuses: Vec<_> = record.iter().map(entry).collect();
        let change =
            json!({"metadata": {"uid": pod.metadata.uid}, "status": {"resourceClaimStatuses": statuses}});
        let api = Api::<Pod>::namespaced(self.client.clone(), &namespace);
        match api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(change)).await {
            Ok(written) => {
                self.pods.caught_up(written.metadata.resource_version.as_deref().unwrap_or_default()).await;
                Ok(())
            }
            // Gone, or another pod of this name.
            Err(error) if [404, 409].contains(&code(&error)) => Ok(()),
            Err(error) => {
                Err(Error::request("update the status of", format!("pod {namespace}/{name}"))(error))
            }
        }
    }

    /// The pod uses a claim that was allocated without it.
    async fn reserve(&self, pod: &Pod, name: &str) -> Result<(), Error> {
        let Key { namespace, .. } = Key::of(pod);
        let Some(claim) = self.claims.get(&namespace, name) else { return Ok(()) };
        let mut claim = claim.as_ref().clone();
        let status = claim.status.get_or_insert_default();
        status.reserved_for.get_or_insert_default().push(consumer(pod));
        let written = self.api(&namespace).replace_status(name, &PostParams::default(), &claim).await;
        let written = written.map_err(Error::request("reserve claim", format!("{namespace}/{name}")))?;
        self.claims.caught_up(written.metadata.resource_version.as_deref().unwrap_or_default()).await;
        Ok(())
    }

    /// A claim: takes back what is not used any more.
    async fn reconcile_claim(&self, key: &Key) -> Result<(), Error> {
        let Some(claim) = self.claims.get_key(key) else { return Ok(()) };
        let users = self.users(&claim).await?;
        let owner = owned::controller_key::<Pod, _>(claim.as_ref());
        let owner = owner.and_then(|owner| self.pods.get_key(&owner));
        let uses = |consumer: &ResourceClaimConsumerReference| users.contains(&consumer.uid);
        let plan = plan::of_a_claim(&claim, uses, owner.as_deref());
        self.carry_out(claim, plan).await
    }

    /// The identities of those that use a claim, of those of whom it says so.
    async fn users(&self, claim: &ResourceClaim) -> Result<BTreeSet<String>, Error> {
        let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
        let mut users = BTreeSet::new();
        let reserved = claim.status.as_ref().and_then(|status| status.reserved_for.as_deref());
        for consumer in reserved.unwrap_or_default() {
            let is_pod =
                consumer.api_group.as_deref().unwrap_or_default().is_empty() && consumer.resource == "pods";
            let uses = |pod: &Pod| pod.metadata.uid.as_ref() == Some(&consumer.uid) && !plan::is_done(pod);
            let is_used = match self.pods.get(namespace, &consumer.name) {
                _ if !is_pod => true,
                Some(pod) => uses(&pod),
                // It may be newer than what is known here.
                None => {
                    let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
                    let pod = api.get_opt(&consumer.name).await;
                    let what = format!("pod {namespace}/{}", consumer.name);
                    pod.map_err(Error::request("get", what))?.is_some_and(|pod| uses(&pod))
                }
            };
            if is_used {
                users.insert(consumer.uid.clone());
            }
        }
        Ok(users)
    }

    async fn carry_out(&self, claim: Arc<ResourceClaim>, plan: ClaimPlan) -> Result<(), Error> {
        let Key { namespace, name } = Key::of(claim.as_ref());
        let api = self.api(&namespace);
        let failed = |verb, error| match is_conflict(&error) || code(&error) == 404 {
            // A change that is not known yet comes by itself.
            true => Ok(()),
            false => Err(Error::request(verb, format!("claim {namespace}/{name}"))(error)),
        };
        let mut claim = claim.as_ref().clone();
        if plan.reserved_for.is_some() || plan.deallocate {
            let status = claim.status.get_or_insert_default();
            if let Some(reserved) = plan.reserved_for {
                status.reserved_for = Some(reserved);
            }
            if plan.deallocate {
                status.allocation = None;
            }
            match api.replace_status(&name, &PostParams::default(), &claim).await {
                Ok(written) => claim = written,
                Err(error) => return failed("update the status of", error),
            }
        }
        if plan.let_go {
            claim.metadata.finalizers.get_or_insert_default().retain(|present| present != FINALIZER);
            match api.replace(&name, &PostParams::default(), &claim).await {
                Ok(written) => claim = written,
                Err(error) => return failed("update", error),
            }
        }
        if plan.delete {
            let same = Preconditions { uid: claim.metadata.uid.clone(), resource_version: None };
            let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
            if let Err(error) = api.delete(&name, &params).await {
                return failed("delete", error);
            }
        }
        Ok(())
    }
}
