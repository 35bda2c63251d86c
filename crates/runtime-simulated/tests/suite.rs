//! The suite on the simulated runtime, with a paused clock, and what only it does.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use runtime::testing::{Harness, pod};
use runtime::*;
use runtime_simulated::{EXIT_CODE, RUN_FOR, SimulatedConfig, SimulatedRuntime};

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
    tokio::time::sleep(Duration::from_secs(89)).await;
    assert_eq!(runtime.container_status(&id).await.expect("a status").state, ContainerState::Running);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let status = runtime.container_status(&id).await.expect("a status");
    assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 4));
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
