//! The suite that every runtime passes, as a library.
//!
//! Contract: a runtime's tests call [`runtime_suite!`](crate::runtime_suite) with a function that makes a [`Harness`]:
//! a runtime with nothing in it and an image whose program `/steps` speaks the language of
//! [`Script::from_command`](crate::script::Script::from_command). Each case gets a harness of its own, which is cleaned
//! up also when the case fails.
//!
//! Not here: what only one runtime can do (mounts, users, limits); that is in the runtime's own tests.

pub mod containers;
pub mod events;
pub mod logs;
pub mod sandboxes;
pub mod stats;
pub mod streams;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::*;

/// No wait of the suite is longer.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A runtime to test.
pub struct Harness {
    /// Its sandboxes and containers.
    pub runtime: Arc<dyn RuntimeService>,
    /// Its images.
    pub images: Arc<dyn ImageService>,
    /// An image with the program `/steps`.
    pub image: String,
    /// A well-formed reference that is neither present nor to be had.
    pub missing_image: String,
    /// Told apart from all other harnesses that share an engine: part of every pod's UID.
    pub unique: String,
    /// Removes what a case has left.
    pub cleanup: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}

impl std::fmt::Debug for Harness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Harness").field("image", &self.image).finish_non_exhaustive()
    }
}

/// Runs one case and cleans up, whatever happens.
pub async fn run(harness: Harness, case: impl for<'a> FnOnce(&'a Harness) -> BoxFuture<'a, ()>) {
    let outcome = AssertUnwindSafe(case(&harness)).catch_unwind().await;
    (harness.cleanup)().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// One test for each case of the suite. `$make` is an async function without arguments that returns a [`Harness`];
/// attributes for `tokio::test` may follow.
#[macro_export]
macro_rules! runtime_suite {
    ($make:path $(, $($arguments:tt)+)?) => {
        $crate::runtime_suite!(@cases $make, ($($($arguments)+)?),
            sandboxes: runs_and_ends, same_attempt_is_the_same_sandbox, ended_attempt_is_refused,
            removal_removes_what_is_inside, lists_by_label_and_state, refuses_a_taken_host_port,
            host_network_has_no_address, distinct_sandboxes_have_distinct_addresses, reports_itself;
            containers: lives_and_dies, same_attempt_is_refused_with_its_id, next_attempt_is_another_container,
            exit_codes_become_reasons, stops_within_grace, kills_after_grace, kills_at_once_without_grace,
            stop_and_remove_may_be_repeated, unknown_ids_are_not_found, missing_image_is_typed,
            invalid_image_is_typed, command_that_cannot_start, executes_commands, exec_has_a_limit,
            containers_share_the_sandboxs_network, lists_containers, keeps_labels_and_annotations;
            events: tell_a_whole_life, begin_with_the_subscription;
            logs: have_both_streams_in_order, tail_limit_and_timestamps, since_leaves_out_what_is_older,
            follow_until_the_end, follow_only_new_lines, remain_after_the_end;
            streams: connect_a_command, end_input, carry_a_terminal, refuse_what_does_not_run, attach_until_the_end,
            reach_a_port_of_loopback, report_a_closed_port, keep_a_flood_apart;
            stats: tell_what_runs;
        );
    };
    (@cases $make:path, $arguments:tt, $($module:ident: $($case:ident),+;)+) => {
        $(mod $module {
            use super::*;
            $($crate::runtime_suite!(@one $make, $arguments, $module, $case);)+
        })+
    };
    (@one $make:path, ($($arguments:tt)*), $module:ident, $case:ident) => {
        #[tokio::test($($arguments)*)]
        async fn $case() {
            let harness = $make().await;
            $crate::testing::run(harness, |harness| Box::pin($crate::testing::$module::$case(harness))).await;
        }
    };
}

/// A pod named for its test.
pub fn pod(name: &str) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            namespace: "default".to_owned(),
            attempt: 0,
        },
        hostname: name.to_owned(),
        labels: StringMap::from([("app".to_owned(), name.to_owned())]),
        annotations: StringMap::from([("note".to_owned(), "kept".to_owned())]),
        ..PodSandboxConfig::default()
    }
}

impl Harness {
    /// A pod of this harness.
    pub fn pod(&self, name: &str) -> PodSandboxConfig {
        let mut config = pod(name);
        config.metadata.uid = format!("{}-{}", config.metadata.uid, self.unique);
        config
    }

    /// A container that plays steps.
    pub fn container(&self, name: &str, steps: &[&str]) -> ContainerConfig {
        let words = std::iter::once("/steps").chain(steps.iter().copied());
        ContainerConfig {
            metadata: ContainerMetadata { name: name.to_owned(), attempt: 0 },
            image: self.image.clone(),
            command: words.map(str::to_owned).collect(),
            ..ContainerConfig::default()
        }
    }

    /// A running sandbox.
    pub async fn sandbox(&self, config: &PodSandboxConfig) -> SandboxId {
        self.runtime.run_pod_sandbox(config).await.expect("a sandbox")
    }

    /// A started container in a new sandbox.
    pub async fn start(&self, pod_name: &str, steps: &[&str]) -> ContainerId {
        let pod = self.pod(pod_name);
        let sandbox = self.sandbox(&pod).await;
        self.start_in(&sandbox, &pod, &self.container("main", steps)).await
    }

    /// A started container.
    pub async fn start_in(
        &self,
        sandbox: &SandboxId,
        pod: &PodSandboxConfig,
        container: &ContainerConfig,
    ) -> ContainerId {
        let id = self.runtime.create_container(sandbox, container, pod).await.expect("a container");
        self.runtime.start_container(&id).await.expect("started");
        id
    }

    /// A container's status.
    pub async fn status(&self, id: &ContainerId) -> ContainerStatus {
        self.runtime.container_status(id).await.expect("a status")
    }

    /// The status once the container has ended.
    pub async fn ended(&self, id: &ContainerId) -> ContainerStatus {
        let wait = async {
            loop {
                let status = self.status(id).await;
                if status.state == ContainerState::Exited {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("the container ends")
    }
}
