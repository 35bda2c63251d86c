//! Jobs and CronJobs in whole clusters on simulated nodes.

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use minik::Cluster;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use testkit::eventually;
use tests::workloads::{DEADLINE, cluster, controller, create, names};

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
async fn job_should_create_pods_for_an_indexed_job_with_completion_indexes_and_specified_hostname() {
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
async fn job_should_allow_to_use_the_pod_failure_policy_on_exit_code_to_fail_the_job_early() {
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
async fn job_should_mark_indexes_as_failed_when_the_fail_index_action_is_matched_in_pod_failure_policy() {
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
async fn job_with_success_policy_succeeded_count_rule_should_succeed_even_when_some_indexes_remain_pending() {
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
async fn job_with_success_policy_succeeded_indexes_rule_should_succeed_even_when_some_indexes_remain_pending()
{
    let cluster = cluster(1).await;
    let spec = json!({
        "completions": 5, "parallelism": 1, "completionMode": "Indexed",
        "successPolicy": {"rules": [{"succeededIndexes": "0"}]},
    });
    create::<Job>(&cluster, job("work", &["sleep", "2"], spec)).await;
    let (end, reason, job) = ended(&cluster, "work").await;
    assert_eq!((end.as_str(), reason.as_str()), ("Complete", "SuccessPolicy"));
    assert_eq!(job.status.and_then(|status| status.completed_indexes).as_deref(), Some("0"));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn job_should_terminate_job_execution_when_the_number_of_failed_indexes_exceeds_max_failed_indexes() {
    let cluster = cluster(1).await;
    let spec = json!({
        "completions": 6, "parallelism": 1, "completionMode": "Indexed", "backoffLimitPerIndex": 0,
        "maxFailedIndexes": 1,
    });
    create::<Job>(&cluster, job("work", &["exit", "1"], spec)).await;
    let (end, reason, job) = ended(&cluster, "work").await;
    assert_eq!((end.as_str(), reason.as_str()), ("Failed", "MaxFailedIndexesExceeded"));
    let status = job.status.expect("a status");
    assert_eq!((status.failed_indexes.as_deref(), status.failed), (Some("0,1"), Some(2)));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn job_should_allow_to_use_a_pod_failure_policy_to_ignore_failure_matching_on_disruption_target_condition()
 {
    let cluster = cluster(1).await;
    let rule = json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]});
    let spec = json!({"backoffLimit": 0, "podFailurePolicy": {"rules": [rule]}});
    create::<Job>(&cluster, job("work", &["sleep", "60"], spec)).await;
    let running = async || {
        let pods = pods_of(&cluster, "work").await;
        pods.iter()
            .filter(|pod| ::api::pod::phase(pod) == "Running")
            .filter_map(|pod| pod.metadata.name.clone())
            .next()
    };
    let victim = testkit::eventually_some(DEADLINE, running).await;
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    pods.evict(&victim, &kube::api::EvictParams::default()).await.expect("evicted");
    let (end, reason, job) = ended(&cluster, "work").await;
    assert_eq!((end.as_str(), reason.as_str()), ("Complete", "CompletionsReached"));
    let status = job.status.expect("a status");
    assert_eq!((status.succeeded, status.failed), (Some(1), None));
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
async fn job_should_adopt_matching_orphans_and_release_non_matching_pods() {
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
async fn job_should_delete_a_job() {
    let cluster = cluster(1).await;
    let jobs = jobs(&cluster);
    create::<Job>(&cluster, job("work", &["sleep", "9999"], json!({"parallelism": 2}))).await;
    eventually(DEADLINE, async || pods_of(&cluster, "work").await.len() == 2).await;
    jobs.delete("work", &DeleteParams::background()).await.expect("deleted");
    eventually(DEADLINE, async || pods_of(&cluster, "work").await.is_empty()).await;
    assert!(jobs.get_opt("work").await.expect("an answer").is_none());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_finished_job_goes_when_its_time_is_over() {
    let cluster = cluster(1).await;
    let jobs = jobs(&cluster);
    create::<Job>(&cluster, job("done", &["true"], json!({"ttlSecondsAfterFinished": 20}))).await;
    ended(&cluster, "done").await;
    let start = cluster.context().clock.now();
    eventually(DEADLINE, async || jobs.get_opt("done").await.expect("an answer").is_none()).await;
    let kept = cluster.context().clock.now().duration_since(start).as_secs();
    assert!((18..=25).contains(&kept), "{kept} s");
    eventually(DEADLINE, async || pods_of(&cluster, "done").await.is_empty()).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn job_should_run_a_job_to_completion_when_tasks_sometimes_fail_and_are_locally_restarted() {
    let cluster = cluster(2).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    create::<ConfigMap>(&cluster, json!({"metadata": {"name": "fate"}, "data": {"code": "1"}})).await;
    let spec = json!({"completions": 4, "parallelism": 2, "backoffLimit": 100});
    let mut work = job("work", &["exit", "$(CODE)"], spec);
    let template = &mut work["spec"]["template"]["spec"];
    template["restartPolicy"] = json!("OnFailure");
    template["containers"][0]["env"] =
        json!([{"name": "CODE", "valueFrom": {"configMapKeyRef": {"name": "fate", "key": "code"}}}]);
    create::<Job>(&cluster, work).await;
    let restarts = async || {
        let pods = pods_of(&cluster, "work").await;
        pods.iter().map(|pod| (pod.uid(), ::api::pod::restarts(pod))).collect::<Vec<_>>()
    };
    eventually(DEADLINE, async || restarts().await.iter().filter(|(_, count)| *count > 0).count() == 2).await;
    let first: BTreeSet<_> = restarts().await.into_iter().map(|(uid, _)| uid).collect();
    let luck = Patch::Merge(json!({"data": {"code": "0"}}));
    maps.patch("fate", &PatchParams::default(), &luck).await.expect("patched");
    let (end, reason, job) = ended(&cluster, "work").await;
    assert_eq!((end.as_str(), reason.as_str()), ("Complete", "CompletionsReached"));
    let status = job.status.expect("a status");
    assert_eq!((status.succeeded, status.failed), (Some(4), None));
    // Those that failed have succeeded themselves; nobody came in their place.
    let all = restarts().await;
    assert_eq!(all.len(), 4);
    assert_eq!(all.iter().filter(|(uid, count)| first.contains(uid) && *count > 0).count(), 2);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn job_should_execute_all_indexes_despite_some_failing_when_using_backoff_limit_per_index() {
    let cluster = cluster(2).await;
    let spec = json!({
        "completions": 3, "parallelism": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 1,
    });
    // Index 0 succeeds; the others fail, each with one more try.
    create::<Job>(&cluster, job("work", &["exit", "$(JOB_COMPLETION_INDEX)"], spec)).await;
    let (end, reason, job) = ended(&cluster, "work").await;
    assert_eq!((end.as_str(), reason.as_str()), ("Failed", "FailedIndexes"));
    let status = job.status.expect("a status");
    assert_eq!(
        (status.completed_indexes.as_deref(), status.failed_indexes.as_deref()),
        (Some("0"), Some("1,2"))
    );
    assert_eq!((status.succeeded, status.failed), (Some(1), Some(4)));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn job_with_success_policy_should_succeed_when_all_indexes_succeeded() {
    let cluster = cluster(2).await;
    let spec = json!({
        "completions": 3, "parallelism": 3, "completionMode": "Indexed",
        "successPolicy": {"rules": [{"succeededIndexes": "0-2", "succeededCount": 3}]},
    });
    create::<Job>(&cluster, job("work", &["sleep", "2"], spec)).await;
    let (end, reason, job) = ended(&cluster, "work").await;
    assert_eq!((end.as_str(), reason.as_str()), ("Complete", "SuccessPolicy"));
    let status = job.status.expect("a status");
    assert_eq!((status.succeeded, status.completed_indexes.as_deref()), (Some(3), Some("0-2")));
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
async fn cron_job_should_schedule_multiple_jobs_concurrently() {
    let cluster = cluster(1).await;
    let allow = json!({"concurrencyPolicy": "Allow"});
    create::<CronJob>(&cluster, cron("tick", &["sleep", "9999"], allow)).await;
    eventually(DEADLINE, async || running(&children(&cluster, "tick").await) >= 3).await;
    let crons: Api<CronJob> = Api::default_namespaced(cluster.client());
    eventually(DEADLINE, async || {
        let status = crons.get("tick").await.expect("a cron job").status.unwrap_or_default();
        status.active.is_some_and(|active| active.len() >= 3) && status.last_schedule_time.is_some()
    })
    .await;
    cluster.stop().await;
}

/// Waits until some turns of a schedule are over.
async fn some_turns(cluster: &Cluster) {
    let clock = &cluster.context().clock;
    let start = clock.instant();
    eventually(DEADLINE, async || start.elapsed().as_secs() > 200).await;
}

#[tokio::test(start_paused = true)]
async fn cron_job_should_not_schedule_jobs_when_suspended() {
    let cluster = cluster(1).await;
    create::<CronJob>(&cluster, cron("tick", &["true"], json!({"suspend": true}))).await;
    some_turns(&cluster).await;
    assert!(children(&cluster, "tick").await.is_empty());
    // It is the suspension that held it back.
    let crons: Api<CronJob> = Api::default_namespaced(cluster.client());
    let resume = Patch::Merge(json!({"spec": {"suspend": false}}));
    crons.patch("tick", &PatchParams::default(), &resume).await.expect("resumed");
    eventually(DEADLINE, async || !children(&cluster, "tick").await.is_empty()).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn cron_job_should_not_schedule_new_jobs_when_forbid_concurrent() {
    let cluster = cluster(1).await;
    let forbid = json!({"concurrencyPolicy": "Forbid"});
    create::<CronJob>(&cluster, cron("tick", &["sleep", "9999"], forbid)).await;
    eventually(DEADLINE, async || running(&children(&cluster, "tick").await) == 1).await;
    let first = names(&children(&cluster, "tick").await);
    some_turns(&cluster).await;
    assert_eq!(names(&children(&cluster, "tick").await), first);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn cron_job_should_replace_jobs_when_replace_concurrent() {
    let cluster = cluster(1).await;
    let replace = json!({"concurrencyPolicy": "Replace"});
    create::<CronJob>(&cluster, cron("tick", &["sleep", "9999"], replace)).await;
    eventually(DEADLINE, async || running(&children(&cluster, "tick").await) == 1).await;
    let first = names(&children(&cluster, "tick").await);
    eventually(DEADLINE, async || {
        let now = children(&cluster, "tick").await;
        now.len() == 1 && running(&now) == 1 && names(&now) != first
    })
    .await;
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
