//! Cases about sandboxes.

#![allow(missing_docs)]

use super::Harness;
use crate::*;

pub async fn runs_and_ends(h: &Harness) {
    let config = h.pod("life");
    let id = h.sandbox(&config).await;
    let status = h.runtime.pod_sandbox_status(&id).await.expect("a status");
    assert_eq!(status.metadata, config.metadata);
    assert_eq!(status.state, SandboxState::Ready);
    assert_eq!(status.ips.len(), 1, "{:?}", status.ips);
    assert_eq!(status.annotations, config.annotations);
    h.runtime.stop_pod_sandbox(&id).await.expect("stopped");
    let status = h.runtime.pod_sandbox_status(&id).await.expect("a status");
    assert_eq!((status.state, status.ips.len()), (SandboxState::NotReady, 0));
    h.runtime.stop_pod_sandbox(&id).await.expect("stopped again");
    h.runtime.remove_pod_sandbox(&id).await.expect("removed");
    assert!(h.runtime.pod_sandbox_status(&id).await.expect_err("gone").is_not_found());
    h.runtime.remove_pod_sandbox(&id).await.expect("removed again");
    h.runtime.stop_pod_sandbox(&id).await.expect("stopped when gone");
}

pub async fn same_attempt_is_the_same_sandbox(h: &Harness) {
    let config = h.pod("twice");
    let id = h.sandbox(&config).await;
    assert_eq!(h.sandbox(&config).await, id);
    let all = h.runtime.list_pod_sandboxes(&PodSandboxFilter::default()).await.expect("a list");
    assert_eq!(all.len(), 1);
}

pub async fn ended_attempt_is_refused(h: &Harness) {
    let mut config = h.pod("again");
    let id = h.sandbox(&config).await;
    h.runtime.stop_pod_sandbox(&id).await.expect("stopped");
    match h.runtime.run_pod_sandbox(&config).await {
        Err(Error::AlreadyExists { id: holder, .. }) => assert_eq!(holder, id.as_str()),
        other => panic!("{other:?}"),
    }
    config.metadata.attempt = 1;
    assert_ne!(h.sandbox(&config).await, id);
}

pub async fn removal_removes_what_is_inside(h: &Harness) {
    let config = h.pod("full");
    let sandbox = h.sandbox(&config).await;
    let running = h.start_in(&sandbox, &config, &h.container("running", &["forever"])).await;
    let ended = h.start_in(&sandbox, &config, &h.container("ended", &["exit=1"])).await;
    h.ended(&ended).await;
    h.runtime.stop_pod_sandbox(&sandbox).await.expect("stopped");
    assert_eq!(h.status(&running).await.state, ContainerState::Exited);
    h.runtime.remove_pod_sandbox(&sandbox).await.expect("removed");
    let left = h.runtime.list_containers(&ContainerFilter::default()).await.expect("a list");
    assert_eq!(left, []);
}

pub async fn lists_by_label_and_state(h: &Harness) {
    let (one, two) = (h.pod("one"), h.pod("two"));
    let first = h.sandbox(&one).await;
    let second = h.sandbox(&two).await;
    h.runtime.stop_pod_sandbox(&second).await.expect("stopped");
    let list = async |filter: PodSandboxFilter| {
        let mut found = h.runtime.list_pod_sandboxes(&filter).await.expect("a list");
        found.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        found.into_iter().map(|sandbox| sandbox.id).collect::<Vec<_>>()
    };
    assert_eq!(list(PodSandboxFilter::default()).await, [first.clone(), second.clone()]);
    let by = |labels: &[(&str, &str)]| PodSandboxFilter {
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..PodSandboxFilter::default()
    };
    assert_eq!(list(by(&[("app", "two")])).await, std::slice::from_ref(&second));
    assert_eq!(list(by(&[(labels::POD_UID, &one.metadata.uid)])).await, std::slice::from_ref(&first));
    assert_eq!(list(by(&[("app", "two"), (labels::POD_UID, &one.metadata.uid)])).await, []);
    let in_state = |state| PodSandboxFilter { state: Some(state), ..PodSandboxFilter::default() };
    assert_eq!(list(in_state(SandboxState::Ready)).await, std::slice::from_ref(&first));
    assert_eq!(list(in_state(SandboxState::NotReady)).await, [second]);
    let only = PodSandboxFilter { id: Some(first.clone()), ..PodSandboxFilter::default() };
    assert_eq!(list(only).await, [first]);
}

pub async fn refuses_a_taken_host_port(h: &Harness) {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let host_port = probe.local_addr().expect("an address").port();
    drop(probe);
    let with_port = |name: &str| PodSandboxConfig {
        port_mappings: vec![PortMapping { container_port: 80, host_port, ..PortMapping::default() }],
        ..h.pod(name)
    };
    let first = h.sandbox(&with_port("first")).await;
    match h.runtime.run_pod_sandbox(&with_port("second")).await {
        Err(Error::PortInUse { message }) => assert!(message.contains(&host_port.to_string()), "{message}"),
        other => panic!("{other:?}"),
    }
    let left = h.runtime.list_pod_sandboxes(&PodSandboxFilter::default()).await.expect("a list");
    assert_eq!(left.len(), 1, "a sandbox that did not start is left behind");
    h.runtime.remove_pod_sandbox(&first).await.expect("removed");
    h.sandbox(&with_port("second")).await;
}

pub async fn host_network_has_no_address(h: &Harness) {
    let mut config = h.pod("host");
    config.namespaces.network = NamespaceMode::Node;
    let id = h.sandbox(&config).await;
    let status = h.runtime.pod_sandbox_status(&id).await.expect("a status");
    assert!(status.ips.is_empty(), "{:?}", status.ips);
    assert_eq!(status.namespaces.network, NamespaceMode::Node);
}

pub async fn distinct_sandboxes_have_distinct_addresses(h: &Harness) {
    let (one, two) = (h.sandbox(&h.pod("a")).await, h.sandbox(&h.pod("b")).await);
    let one = h.runtime.pod_sandbox_status(&one).await.expect("a status").ips;
    let two = h.runtime.pod_sandbox_status(&two).await.expect("a status").ips;
    assert_ne!(one, two);
}

pub async fn reports_itself(h: &Harness) {
    let version = h.runtime.version().await.expect("a version");
    assert!(!version.runtime_name.is_empty() && !version.runtime_version.is_empty(), "{version:?}");
    let status = h.runtime.status().await.expect("a status");
    assert!(status.is_ready(), "{status:?}");
    assert_eq!(status.conditions.len(), 2);
}
