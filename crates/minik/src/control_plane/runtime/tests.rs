//! Components beside an engine: apart from it, with their health, their ends and their logs.

use super::*;
use crate::control_plane::{Check, Supervised};
use component_base::{Clock, Context};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

const UID: &str = "of-a-component";

struct Setup {
    runtime: WithComponents,
    engine: Memory,
    healthy: Arc<AtomicBool>,
    fail: Arc<Notify>,
    tail: Tail,
}

/// An engine, and one component that fails when it is told to.
fn setup() -> Setup {
    let tail = Tail::new(Clock::system());
    let engine = Memory::new(MemoryConfig::new("engine", tail.now()));
    let (healthy, fail) = (Arc::new(AtomicBool::new(true)), Arc::new(Notify::new()));
    let told = fail.clone();
    let task = Supervised::new("thing", Context::system(), move || {
        let told = told.clone();
        Box::pin(async move {
            told.notified().await;
            Err("told to".to_owned())
        })
    });
    let is = healthy.clone();
    let check: Check = Arc::new(move || {
        let good = is.load(Ordering::Relaxed).then_some(()).ok_or("ill".to_owned());
        Box::pin(std::future::ready(good))
    });
    let component =
        Component { name: "kube-thing", container: "thing", crates: &["thing"], check, task: Some(task) };
    let shared = Arc::new(engine.clone());
    let components = HashMap::from([(UID.to_owned(), component)]);
    let runtime = WithComponents::new(shared.clone(), shared, components, tail.clone());
    Setup { runtime, engine, healthy, fail, tail }
}

impl Setup {
    async fn start(&self, uid: &str, attempt: u32) -> ContainerId {
        let metadata = PodSandboxMetadata {
            name: uid.to_owned(),
            uid: uid.to_owned(),
            namespace: "n".to_owned(),
            attempt: 0,
        };
        let sandbox = PodSandboxConfig { metadata, ..PodSandboxConfig::default() };
        let id = self.runtime.run_pod_sandbox(&sandbox).await.expect("a sandbox");
        let config = ContainerConfig {
            metadata: ContainerMetadata { name: "thing".to_owned(), attempt },
            image: "image".to_owned(),
            ..ContainerConfig::default()
        };
        let id = self.runtime.create_container(&id, &config, &sandbox).await.expect("a container");
        self.runtime.start_container(&id).await.expect("it starts");
        id
    }

    async fn log(&self, id: &ContainerId) -> String {
        let lines = self.runtime.container_logs(id, &LogOptions::default()).await.expect("a log");
        let lines: Vec<_> = lines.collect().await;
        lines
            .into_iter()
            .map(|line| String::from_utf8_lossy(&line.expect("a line").bytes).into_owned())
            .collect()
    }
}

#[tokio::test]
async fn components_are_apart_from_the_engine() {
    let setup = setup();
    let runtime = &setup.runtime;
    let (own, other) = (setup.start(UID, 0).await, setup.start("of-a-user", 0).await);
    assert_eq!(runtime.list_containers(&ContainerFilter::default()).await.expect("listed").len(), 2);
    assert_eq!(runtime.list_pod_sandboxes(&PodSandboxFilter::default()).await.expect("listed").len(), 2);
    let of_engine = setup.engine.list_containers(&ContainerFilter::default()).await.expect("listed");
    assert_eq!(of_engine.iter().map(|c| &c.id).collect::<Vec<_>>(), [&other]);
    for id in [&own, &other] {
        assert_eq!(runtime.container_status(id).await.expect("known").state, ContainerState::Running);
    }
    let health = [HEALTH_COMMAND.to_owned()];
    let ask = || runtime.exec_sync(&own, &health, Duration::ZERO);
    assert_eq!(ask().await.expect("an answer").exit_code, 0);
    setup.healthy.store(false, Ordering::Relaxed);
    let answer = ask().await.expect("an answer");
    assert_eq!((answer.exit_code, &answer.stdout[..]), (1, &b"ill"[..]));
    let refused = runtime.exec_sync(&own, &["sh".to_owned()], Duration::ZERO).await.expect_err("refused");
    assert!(refused.to_string().contains("minik's own process"), "{refused}");
    let stats = runtime.container_stats(&ContainerFilter::default(), StatsDetail::Compute).await;
    assert_eq!(stats.expect("counted").len(), 1, "what a component uses nobody knows");
}

#[tokio::test]
async fn a_component_that_fails_has_ended_and_is_started_again() {
    let setup = setup();
    let mut events = setup.runtime.events().await.expect("events");
    let first = setup.start(UID, 0).await;
    setup.tail.keep("thing", b"one\n");
    setup.tail.keep("else", b"not its own\n");
    setup.fail.notify_one();
    loop {
        let event = events.next().await.expect("an event").expect("no error");
        if event.kind == RuntimeEventKind::Stopped {
            assert_eq!((event.exit_code, event.container_id.as_ref()), (Some(1), Some(&first)));
            break;
        }
    }
    let second = setup.start(UID, 1).await;
    setup.tail.keep("thing", b"two\n");
    assert_eq!((setup.log(&first).await, setup.log(&second).await), ("one\n".to_owned(), "two\n".to_owned()));
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    let mut following = setup.runtime.container_logs(&second, &follow).await.expect("a log");
    assert_eq!(&following.next().await.expect("a line").expect("no error").bytes[..], b"two\n");
    setup.tail.keep("thing", b"three\n");
    assert_eq!(&following.next().await.expect("a line").expect("no error").bytes[..], b"three\n");
    setup.fail.notify_one();
    assert!(following.next().await.is_none(), "the log ends with the component");
}

#[tokio::test]
async fn the_engines_end_is_the_end_of_all_events() {
    let setup = setup();
    let mut events = setup.runtime.events().await.expect("events");
    setup.engine.break_events(&Error::Unavailable { message: "gone".to_owned() });
    assert!(events.next().await.expect("an event").is_err());
    assert!(events.next().await.is_none());
}
