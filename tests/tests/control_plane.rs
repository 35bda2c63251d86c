//! The components of a cluster as pods of `kube-system`.

use component_base::logging::Tail;
use component_base::{Clock, Context};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, LogParams};
use minik::Cluster;
use tests::DEADLINE;

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_are_pods_with_health_and_logs() {
    let context = Context::system();
    let log = Tail::new(Clock::system());
    let cluster = Cluster::builder().context(context).control_plane(log.clone()).start().await;
    let cluster = cluster.expect("it starts");
    cluster.nodes_ready(1, DEADLINE).await.expect("its node is Ready");
    let pods: Api<Pod> = Api::namespaced(cluster.client(), "kube-system");
    // Without containers there are neither rules nor names.
    for name in ["kube-apiserver", "etcd", "kube-scheduler", "kube-controller-manager"] {
        let name = format!("{name}-minik");
        let pod = testkit::eventually_some(DEADLINE, || async {
            pods.get_opt(&name).await.expect("the API answers").filter(is_ready)
        })
        .await;
        let status = pod.status.expect("a status");
        assert_eq!(status.phase.as_deref(), Some("Running"), "{name}");
        assert_eq!(status.qos_class.as_deref(), Some("BestEffort"), "{name}");
        assert_eq!(pod.spec.and_then(|spec| spec.priority), Some(2_000_001_000), "{name}");
    }
    let etcd = pods.get("etcd-minik").await.expect("a pod");
    assert_eq!(etcd.spec.as_ref().expect("a spec").containers[0].name, "memory", "it is named for the store");

    log.keep("scheduler", b"a line of the scheduler\n");
    log.keep("apiserver", b"another's\n");
    let said = pods.logs("kube-scheduler-minik", &LogParams::default()).await.expect("a log");
    assert!(said.contains("a line of the scheduler") && !said.contains("another's"), "{said}");
    let last = LogParams { tail_lines: Some(1), ..LogParams::default() };
    assert_eq!(pods.logs("kube-scheduler-minik", &last).await.expect("a log"), "a line of the scheduler\n");

    let uid = |pod: &Pod| pod.metadata.uid.clone();
    pods.delete("etcd-minik", &DeleteParams::default()).await.expect("it may be deleted");
    testkit::eventually_some(DEADLINE, || async {
        let now = pods.get_opt("etcd-minik").await.expect("the API answers")?;
        (uid(&now) != uid(&etcd) && is_ready(&now)).then_some(())
    })
    .await;
    let all = pods.list(&ListParams::default()).await.expect("pods").items;
    assert_eq!(all.len(), 4, "{all:?}");
    cluster.stop().await;
}
