//! What the fake can do besides being a runtime.

use std::time::Duration;

use futures::StreamExt;
use runtime::fake::{FakeRuntime, ImageBehaviour, Operation, Script};
use runtime::testing::pod;
use runtime::*;

/// Moves the paused clock, and lets whoever waited for it have a turn.
async fn pass(time: Duration) {
    tokio::task::yield_now().await;
    tokio::time::advance(time).await;
    tokio::task::yield_now().await;
}

fn container(name: &str, image: &str) -> ContainerConfig {
    ContainerConfig {
        metadata: ContainerMetadata { name: name.into(), attempt: 0 },
        image: image.into(),
        ..Default::default()
    }
}

async fn started(fake: &FakeRuntime, image: &str) -> ContainerId {
    let pod = pod("p");
    let sandbox = fake.run_pod_sandbox(&pod).await.expect("a sandbox");
    let id = fake.create_container(&sandbox, &container("c", image), &pod).await.expect("a container");
    fake.start_container(&id).await.expect("started");
    id
}

#[tokio::test(start_paused = true)]
async fn records_calls_and_answers_faults() {
    let fake = FakeRuntime::default();
    let error = Error::Unavailable { message: "engine down".into() };
    fake.inject(Operation::RunPodSandbox, error.clone(), 2);
    for _ in 0..2 {
        assert_eq!(fake.run_pod_sandbox(&pod("p")).await, Err(error.clone()));
    }
    fake.run_pod_sandbox(&pod("p")).await.expect("the faults are used up");
    let calls = fake.calls_of(Operation::RunPodSandbox);
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[2].subject, "default/p");
    assert_eq!(calls[2].sandbox_config, Some(pod("p")));
    fake.clear_calls();
    assert!(fake.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn scripts_decide_by_name_or_image() {
    let fake = FakeRuntime::default();
    fake.set_script("crash:1", Script::exit_after(Duration::from_secs(60), 9));
    let id = started(&fake, "crash:1").await;
    pass(Duration::from_secs(59)).await;
    assert_eq!(fake.container_status(&id).await.expect("a status").state, ContainerState::Running);
    pass(Duration::from_secs(1)).await;
    let status = fake.container_status(&id).await.expect("a status");
    assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 9));
    let ran = status.finished_at.expect("an end").duration_since(status.started_at.expect("a start"));
    assert_eq!(ran.as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn ends_containers_from_outside() {
    let fake = FakeRuntime::default();
    let mut events = fake.events().await.expect("events");
    let id = started(&fake, "x").await;
    assert_eq!(fake.find_container("p", "c").await.expect("there").id, id);
    assert!(fake.oom_kill_container(&id));
    assert!(!fake.exit_container(&id, 0), "it has ended already");
    let status = fake.container_status(&id).await.expect("a status");
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    fake.break_events();
    let mut kinds = Vec::new();
    while let Some(Ok(event)) = events.next().await {
        kinds.push(event.kind);
    }
    use RuntimeEventKind::{Created, OomKilled, Started, Stopped};
    assert_eq!(kinds, [Created, Started, Created, Started, OomKilled, Stopped]);
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn images_are_there_pulled_or_not_to_be_had() {
    let fake = FakeRuntime::default();
    fake.set_image("slow", ImageBehaviour::Pullable(Duration::from_secs(3)));
    fake.set_image("gone", ImageBehaviour::missing("gone"));
    assert_eq!(fake.image_status("slow").await.expect("an answer"), None);
    let before = fake.now();
    let id = fake.pull_image("docker.io/library/slow:latest", None).await.expect("pulled");
    assert_eq!(fake.now().duration_since(before).as_secs(), 3);
    assert_eq!(fake.image_status("slow").await.expect("an answer").expect("present").id, id);
    assert!(fake.pull_image("gone", None).await.expect_err("missing").is_not_found());
    fake.remove_image("slow").await.expect("removed");
    assert_eq!(fake.image_status("slow").await.expect("an answer"), None);
}
