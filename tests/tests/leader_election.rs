//! Several copies of scheduler and controllers: one of each works; when it crashes another takes over, and nothing is
//! doubled.

use component_base::Context;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams};
use minik::Cluster;
use serde_json::json;
use std::time::Duration;
use testkit::eventually;
use tests::workloads::{DEADLINE, create, names, ready, selected, template, watch_pods};

const COMPONENTS: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];
/// A lease holds for 15 s from the last change that a copy saw, at most 4.4 s ago, and is tried for as often.
const TAKEN_OVER: Duration = Duration::from_secs(25);

async fn holder(cluster: &Cluster, component: &str) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(cluster.client(), "kube-system");
    leases
        .get_opt(component)
        .await
        .expect("an answer")?
        .spec?
        .holder_identity
        .filter(|holder| !holder.is_empty())
}

fn copy(holder: &str) -> usize {
    let number = holder.strip_prefix("copy-").and_then(|rest| rest.split('_').next());
    number.and_then(|number| number.parse().ok()).expect("the number of a copy")
}

#[tokio::test(start_paused = true)]
async fn another_copy_takes_over_and_nothing_is_doubled() {
    let builder = Cluster::builder().context(Context::simulated(7)).nodes(0).simulated_nodes(2);
    let cluster = builder.control_planes(3).start().await.expect("it starts");
    ready(&cluster, 2).await;
    let moments = watch_pods(&cluster, "app in (web,work)");
    let web = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 10, "selector": {"matchLabels": {"app": "web"}}, "template": template("web", "app")}});
    create::<Deployment>(&cluster, web).await;
    let running = async |app: &str| {
        let pods = selected::<Pod>(&cluster, app).await;
        pods.iter().filter(|pod| api::pod::is_ready(pod)).count()
    };
    eventually(DEADLINE, async || running("web").await == 10).await;

    // The leaders crash, be they of one copy or of two.
    let mut crashed = Vec::new();
    for component in COMPONENTS {
        let leader = holder(&cluster, component).await.expect("somebody leads");
        crashed.push(copy(&leader));
        cluster.crash(copy(&leader));
    }
    let clock = cluster.context().clock.clone();
    let at = clock.instant();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    for name in names(&selected::<Pod>(&cluster, "web").await).iter().take(4) {
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.expect("deleted");
    }
    let mut work = json!({"metadata": {"name": "work"}, "spec": {
        "completions": 6, "parallelism": 3, "template": template("work", "busybox")}});
    work["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    work["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["sleep", "2"]);
    create::<Job>(&cluster, work).await;

    for component in COMPONENTS {
        let next = async || holder(&cluster, component).await.map(|holder| copy(&holder));
        eventually(DEADLINE, async || next().await.is_some_and(|copy| !crashed.contains(&copy))).await;
    }
    assert!(clock.instant() - at <= TAKEN_OVER, "{:?}", clock.instant() - at);
    eventually(DEADLINE, async || running("web").await == 10).await;
    let jobs: Api<Job> = Api::default_namespaced(cluster.client());
    eventually(DEADLINE, async || {
        let status = jobs.get("work").await.expect("a job").status.unwrap_or_default();
        status.completion_time.is_some()
    })
    .await;
    let worked = selected::<Pod>(&cluster, "work").await;
    assert_eq!(worked.len(), 6, "each completion has one pod: {:?}", names(&worked));
    for moment in moments.moments() {
        let living = moment.iter().filter(|pod| {
            pod.metadata.deletion_timestamp.is_none()
                && pod.metadata.labels.as_ref().is_some_and(|labels| labels["app"] == "web")
        });
        let names: Vec<_> = living.filter_map(|pod| pod.metadata.name.clone()).collect();
        assert!(names.len() <= 10, "{names:?}");
    }
    cluster.stop().await;
}
