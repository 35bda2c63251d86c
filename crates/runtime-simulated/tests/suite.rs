//! The suite on the simulated runtime, with a paused clock, and what only it does.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use runtime::testing::{Harness, pod};
use runtime::*;
use runtime_simulated::{
    CPU_MILLIS, EXIT_CODE, MEMORY_BYTES, RUN_FOR, SERVES, SimulatedConfig, SimulatedRuntime,
};

fn simulated() -> SimulatedRuntime {
    let now = Timestamp::from_second(1_767_225_600).expect("a valid time");
    SimulatedRuntime::new(SimulatedConfig { now, pod_cidr: (Ipv4Addr::new(10, 244, 0, 0), 16), seed: 1 })
}

async fn harness() -> Harness {
    let simulated = Arc::new(simulated());
    Harness {
        runtime: simulated.clone(),
        images: simulated,
        image: "minik/steps:test".to_owned(),
        missing_image: "minik/missing:v1".to_owned(),
        unique: String::new(),
        cleanup: Box::new(|| Box::pin(async {})),
    }
}

runtime::runtime_suite!(harness, start_paused = true);

/// Moves the paused clock, and lets whoever waited for it have a turn.
async fn pass(time: Duration) {
    tokio::task::yield_now().await;
    tokio::time::advance(time).await;
    tokio::task::yield_now().await;
}

fn container() -> ContainerConfig {
    ContainerConfig {
        metadata: ContainerMetadata { name: "main".into(), attempt: 0 },
        image: "nginx:alpine".into(),
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn annotations_end_a_pod() {
    let runtime = simulated();
    let mut pod = pod("job");
    pod.annotations.insert(RUN_FOR.into(), "90s".into());
    pod.annotations.insert(EXIT_CODE.into(), "4".into());
    let sandbox = runtime.run_pod_sandbox(&pod).await.expect("a sandbox");
    let id = runtime.create_container(&sandbox, &container(), &pod).await.expect("a container");
    runtime.start_container(&id).await.expect("started");
    pass(Duration::from_secs(89)).await;
    assert_eq!(runtime.container_status(&id).await.expect("a status").state, ContainerState::Running);
    pass(Duration::from_secs(2)).await;
    let status = runtime.container_status(&id).await.expect("a status");
    assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 4));
}

#[tokio::test(start_paused = true)]
async fn annotations_say_what_a_pod_uses_and_serves() {
    let runtime = simulated();
    let mut pod = pod("busy");
    pod.annotations.insert(CPU_MILLIS.into(), "250".into());
    pod.annotations.insert(MEMORY_BYTES.into(), "1048576".into());
    pod.annotations.insert(SERVES.into(), "80, 443".into());
    let sandbox = runtime.run_pod_sandbox(&pod).await.expect("a sandbox");
    let id = runtime.create_container(&sandbox, &container(), &pod).await.expect("a container");
    runtime.start_container(&id).await.expect("started");
    pass(Duration::from_secs(8)).await;
    let stats =
        runtime.container_stats(&ContainerFilter::default(), StatsDetail::Compute).await.expect("stats");
    assert_eq!((stats[0].cpu_nanos, stats[0].memory.working_set), (2_000_000_000, 1 << 20));
    runtime.port_forward(&sandbox, 443).await.expect("served");
    assert!(runtime.port_forward(&sandbox, 8443).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_shell_runs_what_it_reads() {
    let runtime = simulated();
    let pod = pod("shell");
    let sandbox = runtime.run_pod_sandbox(&pod).await.expect("a sandbox");
    let id = runtime.create_container(&sandbox, &container(), &pod).await.expect("a container");
    runtime.start_container(&id).await.expect("started");
    let (mut stdout, out) = tokio::io::duplex(1024);
    let input: &[u8] = b"echo one\necho two; echo three\nexit\necho four\n";
    let streams = Streams { stdin: Some(Box::new(input)), stdout: Some(Box::new(out)), ..Default::default() };
    assert_eq!(runtime.exec(&id, &["sh".to_owned()], streams).await, Ok(0));
    let mut text = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stdout, &mut text).await.expect("text");
    assert_eq!(text, "one\ntwo\nthree\n");
}

#[tokio::test(start_paused = true)]
async fn thousands_of_pods_are_cheap() {
    let runtime = simulated();
    let mut addresses = std::collections::HashSet::new();
    for n in 0..5000 {
        let pod = pod(&format!("p{n}"));
        let sandbox = runtime.run_pod_sandbox(&pod).await.expect("a sandbox");
        let id = runtime.create_container(&sandbox, &container(), &pod).await.expect("a container");
        runtime.start_container(&id).await.expect("started");
        addresses.extend(runtime.pod_sandbox_status(&sandbox).await.expect("a status").ips);
    }
    assert_eq!(addresses.len(), 5000);
    let running = ContainerFilter { state: Some(ContainerState::Running), ..Default::default() };
    assert_eq!(runtime.list_containers(&running).await.expect("a list").len(), 5000);
}
