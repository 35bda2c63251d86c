//! How many pods of a PodDisruptionBudget may be away just now.
//!
//! **Contract**: who spends from a budget (an eviction) writes the pod into `disruptedPods`; it counts as away until it is
//! deleted, two minutes at most. Whenever the count cannot be had, nothing is allowed.
//! **Not here**: refusing evictions (the API server).
//! **Upstream**: `pkg/controller/disruption`.

mod owners;
mod plan;
mod stale;
mod target;
mod victim;

pub(in crate::controllers) use target::conditions;
pub(in crate::controllers) use victim::delete;

use crate::workload::{is_conflict, message, owned};
use crate::{Error, Manager};
use client::events::Type;
use client::{Action, Informer, Key, Queue, Recorder, controller};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use kube::api::{Api, PostParams};
use owners::Owners;
use std::sync::Arc;
use std::time::Duration;

/// As upstream calls it.
pub const NAME: &str = "disruption-controller";

/// Budgets worked on at a time.
const WORKERS: usize = 1;

struct Shell {
    manager: Manager,
    recorder: Recorder,
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    owners: Owners,
}

/// Runs until the manager's context ends.
pub async fn run(manager: Manager) {
    let queue = Queue::new(&manager.context.clock);
    let budgets = manager.informers.of::<PodDisruptionBudget>();
    let pods = manager.informers.of::<Pod>();
    let owners = Owners::new(&manager);
    budgets.feed(&manager.context, &queue, |budget| [Key::of(budget)]);
    let known = budgets.clone();
    pods.feed(&manager.context, &queue, move |pod| covering(&known, pod));
    budgets.synced().await;
    pods.synced().await;
    owners.synced().await;
    let recorder = Recorder::new(manager.client.clone(), "controllermanager", None, &manager.context);
    let context = manager.context.clone();
    let stale = stale::run(manager.clone());
    let shell = Arc::new(Shell { manager, recorder, budgets, pods, owners });
    let counting = controller::run(NAME, &context, WORKERS, queue, move |key: Key| {
        let shell = shell.clone();
        async move { shell.reconcile(&key).await }
    });
    futures::join!(stale, counting);
}

/// The budgets of a pod.
fn covering(budgets: &Informer<PodDisruptionBudget>, pod: &Pod) -> Vec<Key> {
    let budgets = budgets.list_in(pod.metadata.namespace.as_deref().unwrap_or_default());
    budgets.iter().filter(|budget| selects(budget, pod)).map(|budget| Key::of(budget.as_ref())).collect()
}

/// Whether a budget is about a pod; one without a selector is about none.
fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| owned::selects(&owned::selector(selector), pod.metadata.labels.as_ref()))
}

impl Shell {
    async fn reconcile(&self, key: &Key) -> Result<Action, Error> {
        let Some(budget) = self.budgets.get_key(key) else { return Ok(Action::Done) };
        let mut pods = self.pods.list_in(&key.namespace);
        pods.retain(|pod| selects(&budget, pod));
        if pods.is_empty() {
            self.recorder.on(budget.as_ref(), Type::Normal, "NoPods", "No matching pods found");
        }
        let now = self.manager.context.clock.now();
        let expected = match plan::needs_owners(&budget) {
            false => Ok(plan::Expected::of_pods(&pods)),
            true => self.owners.expected(&pods).await,
        };
        let (status, again) = match expected {
            Ok(expected) => {
                if expected.unmanaged > 0 {
                    self.recorder.on(
                        budget.as_ref(),
                        Type::Warning,
                        "UnmanagedPods",
                        plan::unmanaged(&budget),
                    );
                }
                let away = plan::away(&budget, &pods, now);
                for pod in &away.overdue {
                    let why = format!("Pod was expected by PDB {} to be deleted but it wasn't", key);
                    self.recorder.on(pod.as_ref(), Type::Warning, "NotDeleted", why);
                }
                (plan::status(&budget, &pods, &expected, &away, now), away.again)
            }
            Err(why) => {
                let told = format!("Failed to calculate the number of expected pods: {why}");
                self.recorder.on(budget.as_ref(), Type::Warning, "CalculateExpectedPodCountFailed", told);
                (plan::failed(&budget, &why, now), Some(plan::RETRY))
            }
        };
        if budget.status.as_ref() != Some(&status) {
            self.write(&budget, status).await?;
        }
        Ok(again.map_or(Action::Done, |again: Duration| Action::RequeueAfter(again)))
    }

    async fn write(
        &self,
        budget: &PodDisruptionBudget,
        status: PodDisruptionBudgetStatus,
    ) -> Result<(), Error> {
        let Key { namespace, name } = Key::of(budget);
        let api = Api::<PodDisruptionBudget>::namespaced(self.manager.client.clone(), &namespace);
        let changed = PodDisruptionBudget { status: Some(status), ..budget.clone() };
        match api.replace_status(&name, &PostParams::default(), &changed).await {
            Ok(written) => {
                let revision = written.metadata.resource_version.unwrap_or_default();
                self.budgets.caught_up(&revision).await;
                Ok(())
            }
            Err(error) if is_conflict(&error) || crate::error::code(&error) == 404 => {
                tracing::debug!(%namespace, name, error = message(&error), "a budget changed meanwhile");
                Ok(())
            }
            Err(error) => {
                let what = format!("the status of pod disruption budget {namespace}/{name}");
                Err(Error::request("update", what)(error))
            }
        }
    }
}
