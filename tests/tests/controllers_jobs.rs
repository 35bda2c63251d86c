//! Jobs and CronJobs in whole clusters on simulated nodes.

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use minik::Cluster;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use testkit::eventually;
use tests::workloads::{DEADLINE, cluster, controller, create};

fn job(name: &str, command: &[&str], more: Value) -> Value {
    let mut spec = json!({"template": {"spec": {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": command}],
    }}});
    for (key, value) in more.as_object().expect("fields") {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

fn jobs(cluster: &Cluster) -> Api<Job> {
    Api::default_namespaced(cluster.client())
}

/// Waits until a Job has ended; its condition, reason, and the Job.
async fn ended(cluster: &Cluster, name: &str) -> (String, String, Job) {
    let jobs = jobs(cluster);
    let end = testkit::eventually_some(DEADLINE, async || {
        let job = jobs.get(name).await.expect("a job");
        let conditions = job.status.as_ref()?.conditions.clone()?;
        let end = conditions.into_iter().find(|c| ["Complete", "Failed"].contains(&c.type_.as_str()))?;
        Some((end.type_, end.reason.unwrap_or_default(), job))
    });
    end.await
}

async fn pods_of(cluster: &Cluster, job: &str) -> Vec<Pod> {
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let selector = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
    pods.list(&selector).await.expect("a list").items
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_to_completion_and_each_pod_counts_once() {
    let cluster = cluster(2).await;
    create::<Job>(&cluster, job("work", &["sleep", "5"], json!({"completions": 7, "parallelism": 3}))).await;
    let (end, reason, job) = ended(&cluster, "work").await;
    assert_eq!((end.as_str(), reason.as_str()), ("Complete", "CompletionsReached"));
    let status = job.status.expect("a status");
    assert_eq!((status.succeeded, status.failed, status.active), (Some(7), None, None));
    assert!(status.completion_time.is_some());
    let pods = pods_of(&cluster, "work").await;
    assert_eq!(pods.len(), 7);
    eventually(DEADLINE, async || {
        pods_of(&cluster, "work").await.iter().all(|pod| pod.metadata.finalizers.is_none())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_indexed_job_gives_each_pod_its_index_and_hostname() {
    let cluster = cluster(2).await;
    let indexed = json!({"completions": 4, "parallelism": 2, "completionMode": "Indexed"});
    create::<Job>(&cluster, job("work", &["sleep", "3"], indexed)).await;
    let (end, _, job) = ended(&cluster, "work").await;
    assert_eq!(end, "Complete");
    assert_eq!(job.status.and_then(|status| status.completed_indexes).as_deref(), Some("0-3"));
    let hostnames: BTreeSet<_> =
        pods_of(&cluster, "work").await.into_iter().filter_map(|pod| pod.spec?.hostname).collect();
    assert_eq!(hostnames, ["work-0", "work-1", "work-2", "work-3"].map(str::to_owned).into());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_waits_longer_each_time_and_gives_up() {
    let cluster = cluster(1).await;
    let start = cluster.context().clock.now();
    create::<Job>(&cluster, job("work", &["exit", "1"], json!({"backoffLimit": 2}))).await;
    let (end, reason, job) = ended(&cluster, "work").await;
    assert_eq!((end.as_str(), reason.as_str()), ("Failed", "BackoffLimitExceeded"));
    assert_eq!(job.status.and_then(|status| status.failed), Some(3));
    let took = cluster.context().clock.now().duration_since(start).as_secs();
    assert!((30..=40).contains(&took), "10 s and 20 s of back-off: {took} s");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_failure_policy_ends_a_job_early_by_exit_code() {
    let cluster = cluster(1).await;
    let rule = json!({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}});
    let policy = json!({"podFailurePolicy": {"rules": [rule]}, "backoffLimit": 6});
    create::<Job>(&cluster, job("work", &["exit", "42"], policy)).await;
    let (end, reason, job) = ended(&cluster, "work").await;
    assert_eq!((end.as_str(), reason.as_str()), ("Failed", "PodFailurePolicy"));
    assert_eq!(job.status.and_then(|status| status.failed), Some(1));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn all_indexes_run_although_some_fail() {
    let cluster = cluster(1).await;
    let spec = json!({
        "completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1,
        "podFailurePolicy": {"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [3]}}]},
    });
    create::<Job>(&cluster, job("work", &["exit", "3"], spec)).await;
    let (end, reason, job) = ended(&cluster, "work").await;
    assert_eq!((end.as_str(), reason.as_str()), ("Failed", "FailedIndexes"));
    let status = job.status.expect("a status");
    assert_eq!((status.failed_indexes.as_deref(), status.failed), (Some("0,1"), Some(2)), "no second tries");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_success_policy_ends_a_job_before_all_indexes_do() {
    let cluster = cluster(1).await;
    let spec = json!({
        "completions": 5, "parallelism": 2, "completionMode": "Indexed",
        "successPolicy": {"rules": [{"succeededCount": 2}]},
    });
    create::<Job>(&cluster, job("work", &["sleep", "2"], spec)).await;
    let (end, reason, job) = ended(&cluster, "work").await;
    assert_eq!((end.as_str(), reason.as_str()), ("Complete", "SuccessPolicy"));
    assert!(job.status.and_then(|status| status.succeeded).is_some_and(|done| (2..5).contains(&done)));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_is_suspended_resumed_and_has_a_deadline() {
    let cluster = cluster(1).await;
    let jobs = jobs(&cluster);
    create::<Job>(&cluster, job("work", &["sleep", "9999"], json!({"suspend": true}))).await;
    let suspended = async |expected: &str| {
        let conditions = jobs.get("work").await.expect("a job").status.and_then(|status| status.conditions);
        conditions.into_iter().flatten().any(|c| c.type_ == "Suspended" && c.status == expected)
    };
    eventually(DEADLINE, async || suspended("True").await).await;
    assert!(pods_of(&cluster, "work").await.is_empty());
    let resume = Patch::Merge(json!({"spec": {"suspend": false, "activeDeadlineSeconds": 60}}));
    jobs.patch("work", &PatchParams::default(), &resume).await.expect("resumed");
    eventually(DEADLINE, async || suspended("False").await && pods_of(&cluster, "work").await.len() == 1)
        .await;
    let (end, reason, _) = ended(&cluster, "work").await;
    assert_eq!((end.as_str(), reason.as_str()), ("Failed", "DeadlineExceeded"));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_adopts_matching_orphans_and_releases_others() {
    let cluster = cluster(1).await;
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    create::<Job>(&cluster, job("work", &["sleep", "9999"], json!({}))).await;
    eventually(DEADLINE, async || pods_of(&cluster, "work").await.len() == 1).await;
    let name = pods_of(&cluster, "work").await[0].metadata.name.clone().expect("a name");
    let owner = async || controller(&pods.get(&name).await.expect("a pod")).map(|owner| owner.name);
    let orphan = Patch::Merge(json!({"metadata": {"ownerReferences": null}}));
    pods.patch(&name, &PatchParams::default(), &orphan).await.expect("patched");
    eventually(DEADLINE, async || owner().await.as_deref() == Some("work")).await;
    let labels = pods.get(&name).await.expect("a pod").metadata.labels.unwrap_or_default();
    let none: serde_json::Map<_, _> = labels.keys().map(|key| (key.clone(), Value::Null)).collect();
    let relabel = Patch::Merge(json!({"metadata": {"labels": none}}));
    pods.patch(&name, &PatchParams::default(), &relabel).await.expect("patched");
    eventually(DEADLINE, async || owner().await.is_none()).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_job_takes_its_pods_along_and_a_finished_one_goes_when_its_time_is_over() {
    let cluster = cluster(1).await;
    let jobs = jobs(&cluster);
    create::<Job>(&cluster, job("running", &["sleep", "9999"], json!({"parallelism": 2}))).await;
    eventually(DEADLINE, async || pods_of(&cluster, "running").await.len() == 2).await;
    jobs.delete("running", &DeleteParams::background()).await.expect("deleted");
    eventually(DEADLINE, async || pods_of(&cluster, "running").await.is_empty()).await;
    create::<Job>(&cluster, job("done", &["true"], json!({"ttlSecondsAfterFinished": 20}))).await;
    ended(&cluster, "done").await;
    let start = cluster.context().clock.now();
    eventually(DEADLINE, async || jobs.get_opt("done").await.expect("an answer").is_none()).await;
    let kept = cluster.context().clock.now().duration_since(start).as_secs();
    assert!((18..=25).contains(&kept), "{kept} s");
    eventually(DEADLINE, async || pods_of(&cluster, "done").await.is_empty()).await;
    cluster.stop().await;
}

fn cron(name: &str, command: &[&str], more: Value) -> Value {
    let mut spec =
        json!({"schedule": "* * * * *", "jobTemplate": {"spec": job("x", command, json!({}))["spec"]}});
    for (key, value) in more.as_object().expect("fields") {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn children(cluster: &Cluster, cron: &str) -> Vec<Job> {
    let all = jobs(cluster).list(&ListParams::default()).await.expect("a list").items;
    all.into_iter().filter(|job| controller(job).is_some_and(|owner| owner.name == cron)).collect()
}

fn running(jobs: &[Job]) -> usize {
    let active = |job: &&Job| job.status.as_ref().and_then(|status| status.active).unwrap_or(0) > 0;
    jobs.iter().filter(active).count()
}

#[tokio::test(start_paused = true)]
async fn cron_jobs_run_side_by_side_replace_or_wait() {
    let cluster = cluster(2).await;
    for (name, policy) in [("allow", "Allow"), ("forbid", "Forbid"), ("replace", "Replace")] {
        let policy = json!({"concurrencyPolicy": policy});
        create::<CronJob>(&cluster, cron(name, &["sleep", "9999"], policy)).await;
    }
    create::<CronJob>(&cluster, cron("suspended", &["true"], json!({"suspend": true}))).await;
    eventually(DEADLINE, async || running(&children(&cluster, "allow").await) >= 3).await;
    assert_eq!(children(&cluster, "forbid").await.len(), 1);
    eventually(DEADLINE, async || running(&children(&cluster, "replace").await) == 1).await;
    let crons: Api<CronJob> = Api::default_namespaced(cluster.client());
    let first = children(&cluster, "replace").await.pop().expect("a job").metadata.uid;
    eventually(DEADLINE, async || {
        let now = children(&cluster, "replace").await;
        now.len() == 1 && now[0].metadata.uid != first
    })
    .await;
    assert!(children(&cluster, "suspended").await.is_empty());
    let status = crons.get("allow").await.expect("a cron job").status.expect("a status");
    assert!(status.active.is_some_and(|active| active.len() >= 3) && status.last_schedule_time.is_some());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cron_job_keeps_so_many_that_ended() {
    let cluster = cluster(1).await;
    let limits = json!({"successfulJobsHistoryLimit": 2});
    create::<CronJob>(&cluster, cron("tick", &["true"], limits)).await;
    let crons: Api<CronJob> = Api::default_namespaced(cluster.client());
    let start = cluster.context().clock.now();
    eventually(DEADLINE, async || {
        cluster.context().clock.now().duration_since(start).as_secs() > 300
            && children(&cluster, "tick").await.len() == 2
    })
    .await;
    let status = crons.get("tick").await.expect("a cron job").status.expect("a status");
    assert!(status.last_successful_time.is_some());
    cluster.stop().await;
}
